"""Build the tables and figures: execute the notebooks, headless, on published results or on the user's own runs."""

import asyncio
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from analysis import data, output, readme
from analysis.data import Source
from reproduce.errors import UserError

NOTEBOOKS = {
    "tables": {name: (f"table{name}",) for name in output.SPECS},
    "figures": {"2": ("figure_entropy", "figure_diversity")},
}
"""What is built -> table -> its notebooks. A table's own notebook also draws its training curves."""

DEFAULT_PROFILE = "mini"
TIMEOUT = 600  # seconds for one cell
KERNELS = 2  # notebooks executed at a time


class BuildResult(NamedTuple):
    """`files`: every file written; `text`: the tables (and the comparison with the published one) for a terminal."""

    files: list[Path]
    text: str


def build(
    table: int | str = 2,
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
    <runs_root>/<profile>/table<n>/figures/ (runs).
    Notebooks are saved in place, with output, for the published results of mini in the default folder; otherwise in a
    folder `notebooks` beside the runs or the figures, so that committed notebooks never hold other numbers.
    Raises UserError for an unknown argument and for missing or broken input.
    """
    name = output.spec(table).table
    if source not in (data.RESULTS, "runs"):
        raise UserError(f"source {source!r} is unknown; choose results or runs")
    own, data_folder = source == "runs", _data_folder(data_root)
    root = Path(runs_root).resolve() if own else data.RESULTS
    loaded = data.load(profile, f"table{name}", root, data_folder)
    return _build([loaded], profile, root, only, figures, data_folder)


def build_all(
    profile: str = DEFAULT_PROFILE,
    only: str | None = None,
    figures: str | Path | None = None,
    data_root: str | Path | None = None,
) -> BuildResult:
    """As `build`, for every table with published results; a table without any is one line of `text`, not an error.

    Raises UserError if no table has any.
    """
    data_folder = _data_folder(data_root)
    base, lines, loaded = data_folder / "results" / profile, [], []
    for name in output.SPECS:
        if (base / f"table{name}").is_dir():
            loaded.append(data.load(profile, f"table{name}", data.RESULTS, data_folder))
        else:
            lines.append(f"Table {name}: no published results for profile {profile}, skipped.")
    if not loaded:
        raise UserError(f"{base} does not exist or holds no table: run `make reproduce-table2`, then `make publish`")
    result = _build(loaded, profile, data.RESULTS, only, figures, data_folder)
    return BuildResult(result.files, "\n".join([result.text, *lines]) if lines else result.text)


def _data_folder(data_root: str | Path | None) -> Path:
    return Path(data_root).resolve() if data_root else data.ROOT / "data"


def _build(
    loaded: list[Source],
    profile: str,
    root: Path | str,
    only: str | None,
    figures: str | Path | None,
    data_folder: Path,
) -> BuildResult:
    """The tables of `loaded`, all in the same folders. root: the runs' root, or data.RESULTS."""
    if only not in (None, *NOTEBOOKS):
        raise UserError(f"only={only!r} is unknown; choose tables or figures")
    own = root != data.RESULTS
    base = Path(root) / profile / loaded[0].experiment if own else None
    folder = _folder(base, profile, figures)
    in_place = not own and profile == DEFAULT_PROFILE and figures is None
    target = data.ROOT / "analysis" if in_place else (base if own else folder) / "notebooks"
    for source in loaded:
        source.scores  # noqa: B018  broken input is reported here, in one line, before any notebook starts
    kinds = [only] if only else list(NOTEBOOKS)
    names = tuple(n for kind in kinds for source in loaded for n in NOTEBOOKS[kind].get(source.table, ()))
    environment = {
        "REPRODUCE_PROFILE": profile,
        "REPRODUCE_SOURCE": str(root),
        "REPRODUCE_FIGURES": str(folder),
        "REPRODUCE_DATA": str(data_folder),
    }
    before = _stamps(folder)
    files = execute(names, environment, target)
    text = []
    for source in loaded if only != "figures" else ():
        more, lines = _finish_table(source, own, data_folder, folder)
        files, text = files + more, text + lines
        stem = source.experiment
        if in_place and readme.insert(data.ROOT / "README.md", stem, (folder / f"{stem}.md").read_text("utf-8")):
            files.append(data.ROOT / "README.md")
    files = list(dict.fromkeys(files))
    files += sorted(path for path, stamp in _stamps(folder).items() if before.get(path) != stamp and path not in files)
    return BuildResult(files, "\n".join(text))


def _folder(base: Path | None, profile: str, figures: str | Path | None) -> Path:
    if figures is not None:
        return Path(figures).resolve()
    if profile == DEFAULT_PROFILE:
        return data.ROOT / "figures"
    return base / "figures" if base else data.ROOT / "figures" / profile


def _finish_table(source: Source, own: bool, data_folder: Path, folder: Path) -> tuple[list[Path], list[str]]:
    """The table for the terminal; with own runs, compared with the published one. (files, texts)"""
    from analysis import comparison, render

    files, text = [], [render.text(t) for t in output.terminal_tables(output.build(source))]
    if own:
        if (data_folder / "results" / source.profile / source.experiment).is_dir():
            published = data.load(source.profile, source.experiment, data.RESULTS, data_folder)
            compared = comparison.compare(published, source)
            files = comparison.write(compared, folder)
            text.append(compared.text)
        else:
            text.append(f"No published results for profile {source.profile}, so there is nothing to compare with.\n")
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
