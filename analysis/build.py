"""Build the tables and figures: execute the notebooks, headless, on published results or on the user's own runs."""

import asyncio
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from analysis import data, readme
from reproduce.errors import UserError

NOTEBOOKS = {"tables": ("table2",), "figures": ("figure_entropy", "figure_diversity")}
DEFAULT_PROFILE = "mini"
TIMEOUT = 600  # seconds for one cell
KERNELS = 2  # notebooks executed at a time


class BuildResult(NamedTuple):
    """`files`: every file written; `text`: the table (and the comparison with the published one) for a terminal."""

    files: list[Path]
    text: str


def build(
    table: int = 2,
    profile: str = DEFAULT_PROFILE,
    source: str = data.RESULTS,
    runs_root: str | Path = "runs",
    only: str | None = None,
    figures: str | Path | None = None,
    data_root: str | Path | None = None,
) -> BuildResult:
    """Execute the notebooks of `table` and write its files.

    source: "results" reads data/results/<profile>; "runs" reads `runs_root`/<profile> and, if results of the same table
    are published, compares with them. only: "tables" or "figures"; None builds both.
    figures: where files go; default figures/ for the profile mini, else figures/<profile>/ (results) or
    <runs_root>/<profile>/table2/figures/ (runs).
    Notebooks are saved in place, with output, for the published results of mini in the default folder; otherwise in a
    folder `notebooks` beside the runs or the figures, so that committed notebooks never hold other numbers.
    Raises UserError for an unknown argument and for missing or broken input.
    """
    if table != 2:
        raise UserError(f"table {table} is not part of this version; choose table 2")
    if source not in (data.RESULTS, "runs"):
        raise UserError(f"source {source!r} is unknown; choose results or runs")
    if only not in (None, *NOTEBOOKS):
        raise UserError(f"only={only!r} is unknown; choose tables or figures")
    data_folder = Path(data_root).resolve() if data_root else data.ROOT / "data"
    own = source == "runs"
    base = Path(runs_root).resolve() / profile / "table2"
    folder = _folder(own, profile, base, figures)
    in_place = not own and profile == DEFAULT_PROFILE and figures is None
    target = data.ROOT / "analysis" if in_place else (base if own else folder) / "notebooks"

    loaded = data.load(profile, "table2", Path(runs_root).resolve() if own else data.RESULTS, data_folder)
    loaded.scores  # noqa: B018  broken input is reported here, in one line, before any notebook starts
    names = NOTEBOOKS[only] if only else tuple(n for group in NOTEBOOKS.values() for n in group)
    environment = {
        "REPRODUCE_PROFILE": profile,
        "REPRODUCE_SOURCE": str(Path(runs_root).resolve()) if own else data.RESULTS,
        "REPRODUCE_FIGURES": str(folder),
        "REPRODUCE_DATA": str(data_folder),
    }
    before = _stamps(folder)
    files = execute(names, environment, target)
    text = []
    if only != "figures":
        files, text = _finish_tables(loaded, profile, own, data_folder, folder, files)
        if in_place and readme.insert(data.ROOT / "README.md", (folder / "table2.md").read_text(encoding="utf-8")):
            files.append(data.ROOT / "README.md")
    files += sorted(path for path, stamp in _stamps(folder).items() if before.get(path) != stamp and path not in files)
    return BuildResult(files, "\n".join(text))


def _folder(own: bool, profile: str, base: Path, figures: str | Path | None) -> Path:
    if figures is not None:
        return Path(figures).resolve()
    if profile == DEFAULT_PROFILE:
        return data.ROOT / "figures"
    return base / "figures" if own else data.ROOT / "figures" / profile


def _finish_tables(loaded, profile, own, data_folder, folder, files):
    from analysis import comparison, render, table2

    text = [render.text(t) for t in table2.terminal_tables(table2.build(loaded))]
    if own:
        if (data_folder / "results" / profile / "table2").is_dir():
            compared = comparison.compare(data.load(profile, "table2", data.RESULTS, data_folder), loaded)
            files = files + comparison.write(compared, folder)
            text.append(compared.text)
        else:
            text.append(f"No published results for profile {profile}, so there is nothing to compare with.\n")
    return files, text


def _stamps(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} if folder.is_dir() else {}


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
