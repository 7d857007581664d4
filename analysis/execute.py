"""Turns notebook sources into executed notebooks, headless: the same data give the same bytes."""

import asyncio
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from analysis import load
from reproduce.errors import UserError

TIMEOUT = 600  # seconds for one cell
KERNELS = 2  # at a time; each executes one notebook after another, for imports cost more than many of them
AFRESH = """
import sys
import matplotlib.pyplot
matplotlib.pyplot.close("all")
matplotlib.rcdefaults()
get_ipython().run_line_magic("matplotlib", "inline")
for name in [name for name in sys.modules if name.split(".")[0] in ("analysis", "reproduce")]:
    del sys.modules[name]
get_ipython().reset(new_session=True)
"""
"""Run before each notebook of a kernel: every one finds the state of a new kernel, but for imported libraries."""


def execute(names: tuple[str, ...], environment: dict[str, str], target: Path) -> list[Path]:
    """Turn analysis/notebooks/<name>.py into executed target/<name>.ipynb and return the paths.

    The same data give the same bytes: one thread, a clean state for each, no user start-up files, fixed cell ids, no
    timestamps, no stderr. A `UserError` in a notebook is raised again here; nothing is saved unless all succeed.
    """
    with tempfile.TemporaryDirectory(prefix="reproduce-") as scratch:
        environment = (
            os.environ
            | environment
            | {
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "MKL_NUM_THREADS": "1",
                "PYTHONHASHSEED": "0",
                "IPYTHONDIR": scratch,
                "MPLBACKEND": "module://matplotlib_inline.backend_inline",
                "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            }
        )
        notebooks = _in_thread(_run_all(names, environment, Path(scratch)))
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, notebook in zip(names, notebooks, strict=True):
        path = target / f"{name}.ipynb"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(_text(notebook), encoding="utf-8")
        temporary.replace(path)
        paths.append(path)
    return paths


def _in_thread(work):
    """Run a coroutine to its end in a thread of its own; Ctrl-C stops its kernels and is raised here.

    nbclient would catch Ctrl-C in the main thread, and `asyncio.run` there would refuse to run inside Jupyter.
    """
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(loop.run_until_complete, task)
        try:
            return done.result()
        except KeyboardInterrupt:
            loop.set_exception_handler(lambda *_: None)  # what the stopped kernels leave behind says nothing new
            loop.call_soon_threadsafe(task.cancel)
            raise
        finally:
            wait([done])
            loop.run_until_complete(_cancel_rest())
            loop.close()


async def _cancel_rest():
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


async def _run_all(names, environment, scratch):
    waiting, results = list(enumerate(names)), [None] * len(names)

    async def work(number):
        kernel, log = _kernel(f"kernel{number}", scratch), scratch / f"kernel{number}.log"
        client = kernel.client()
        try:
            with log.open("wb") as stderr:
                await kernel.start_kernel(env=environment, stderr=stderr, cwd=str(load.ROOT))
                client.load_connection_info(kernel.get_connection_info())
                client.start_channels()
                await client.wait_for_ready(timeout=TIMEOUT)
                while waiting:
                    i, name = waiting.pop(0)
                    results[i] = await _run(name, kernel, client, log)
        finally:
            client.stop_channels()
            if kernel.has_kernel:
                await kernel.shutdown_kernel(now=True)

    done = await asyncio.gather(*map(work, range(min(KERNELS, len(names)))), return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
    return results


def _kernel(name: str, scratch: Path):
    """A manager of a kernel that is not started yet.

    No kernel directories: the kernel is this interpreter, whatever "python3" means in the user's Jupyter. Messages go
    through sockets in the scratch folder, which other users cannot read, unless its name is too long for a socket.
    """
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    sockets = str(scratch / name)
    private = os.name == "posix" and len(sockets) < 90
    return AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        connection_file=str(scratch / f"{name}.json"),
        transport="ipc" if private else "tcp",
        ip=sockets if private else "127.0.0.1",
    )


async def _run(name: str, kernel, client, log: Path):
    """The notebook, executed by this kernel. log: what the kernel writes to its stderr."""
    import jupytext
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    notebook = jupytext.read(load.ROOT / "analysis" / "notebooks" / f"{name}.py", fmt="py:percent")
    runner = NotebookClient(notebook, km=kernel, timeout=TIMEOUT, record_timing=False)
    runner.kc = client
    try:
        await client.execute_interactive(AFRESH, silent=True, timeout=TIMEOUT)
        await runner.async_execute(cleanup_kc=False)
    except CellExecutionError as error:
        if error.ename == "UserError":
            raise UserError(error.evalue) from None
        raise
    except (DeadKernelError, RuntimeError) as error:
        reason = " ".join([str(error), *log.read_text(errors="replace").split("\n")[-2:]]).strip()
        raise UserError(f"notebook {name} was stopped before its end ({reason}); build again") from error
    return notebook


def _text(notebook) -> str:
    import nbformat

    notebook.metadata = nbformat.NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:02d}"
        cell.metadata = nbformat.NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    return nbformat.writes(notebook) + "\n"
