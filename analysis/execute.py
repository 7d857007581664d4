"""Turns notebook sources into executed notebooks, headless: the same data give the same bytes."""

import asyncio
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from analysis import data
from reproduce.errors import UserError

TIMEOUT = 600  # seconds for one cell
KERNELS = 2  # notebooks executed at a time


def execute(names: tuple[str, ...], environment: dict[str, str], target: Path) -> list[Path]:
    """Turn analysis/notebooks/<name>.py into executed target/<name>.ipynb, one kernel each, and return the paths.

    The same data give the same bytes: one thread, no user start-up files, fixed cell ids, no timestamps, no stderr.
    A `UserError` in a notebook is raised again here; nothing is saved unless all notebooks succeed.
    """
    with tempfile.TemporaryDirectory(prefix="reproduce-") as scratch:
        environment = os.environ | environment | {
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0",
            "IPYTHONDIR": scratch, "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }  # fmt: skip
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
    turns = asyncio.Semaphore(KERNELS)

    async def run(name):
        async with turns:
            return await _run(name, environment, scratch)

    results = await asyncio.gather(*map(run, names), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


async def _run(name: str, environment: dict[str, str], scratch: Path):
    import jupytext
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    notebook = jupytext.read(data.ROOT / "analysis" / "notebooks" / f"{name}.py", fmt="py:percent")
    # No kernel directories: the kernel is this interpreter, whatever "python3" means in the user's Jupyter. Messages go
    # through sockets in the scratch folder, which other users cannot read, unless its name is too long for a socket.
    sockets = str(scratch / name)
    private = os.name == "posix" and len(sockets) < 90
    manager = AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        connection_file=str(scratch / f"{name}.json"),
        transport="ipc" if private else "tcp",
        ip=sockets if private else "127.0.0.1",
    )
    client = NotebookClient(
        notebook, km=manager, timeout=TIMEOUT, record_timing=False, resources={"metadata": {"path": str(data.ROOT)}}
    )
    log = scratch / f"{name}.log"
    try:
        with log.open("wb") as stderr:
            await client.async_execute(env=environment, stderr=stderr, cleanup_kc=True)
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
