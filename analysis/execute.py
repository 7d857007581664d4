"""Turn notebook sources into executed notebooks, headless, with nbclient: the same data give the same bytes."""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from analysis import load
from reproduce.errors import UserError

SOURCES = load.ROOT / "analysis" / "notebooks"
TIMEOUT = 600  # seconds for one cell
KERNELS = 2  # at a time
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


def execute(notebooks: dict[str, str], environment: dict[str, str], target: Path) -> list[Path]:
    """Execute notebooks and save them as target/<name>.ipynb, all or none. Returns the paths.

    The same data give the same bytes: one thread, no user start-up files, fixed cell ids, no timestamps, no stderr.

    Args:
        notebooks: Name to source, such as {"table1": "table"} for analysis/notebooks/table.py. A source with a cell
            tagged "parameters" gets `TABLE`, the name without "table".
        environment: Variables of the kernels beside `ENVIRONMENT`.

    Raises:
        UserError: What a cell raised as such, or that a notebook took too long or lost its kernel.
    """
    with executing(notebooks, environment, target) as finish:
        return finish()


@contextmanager
def executing(
    notebooks: dict[str, str], environment: dict[str, str], target: Path
) -> Iterator[Callable[[], list[Path]]]:
    """`execute` beside the caller's own work: what it yields waits for the end, saves, and returns the paths.

    An error of the caller's, Ctrl-C too, ends the kernels: nothing goes on behind the command's back.
    """
    managers = []
    with tempfile.TemporaryDirectory(prefix="reproduce-") as scratch, ThreadPoolExecutor(KERNELS) as pool:
        variables = os.environ | ENVIRONMENT | environment | {"IPYTHONDIR": scratch}
        work = [pool.submit(_run, *item, variables, Path(scratch), managers) for item in notebooks.items()]
        try:
            yield lambda: _save(target, dict(zip(notebooks, [one.result() for one in work], strict=True)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for manager in managers:
                if manager.provisioner and manager.provisioner.has_process:
                    manager.provisioner.process.kill()
            raise


def _save(target: Path, texts: dict[str, str]) -> list[Path]:
    target.mkdir(parents=True, exist_ok=True)
    paths = [target / f"{name}.ipynb" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    return paths


def _run(name: str, source: str, variables: dict[str, str], scratch: Path, managers: list) -> str:
    """The executed notebook as text. managers: gets the kernel's."""
    import jupytext
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    notebook = jupytext.read(SOURCES / f"{source}.py", fmt="py:percent")
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = f'TABLE = "{name.removeprefix("table")}"'
    # No kernel directories: the kernel is this interpreter, whatever "python3" means in the user's Jupyter.
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    managers.append(manager)
    at = [0]
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=TIMEOUT,
        record_timing=False,
        on_cell_start=lambda cell, cell_index: at.append(cell_index),
    )
    with (scratch / f"{name}.log").open("w+", errors="replace") as log:
        try:
            client.execute(env=variables, cwd=str(load.ROOT), stderr=log, cleanup_kc=True)
        except (RuntimeError, CellExecutionError, CellTimeoutError) as error:
            where = f"notebook {name}, cell {at[-1]}"
            if isinstance(error, CellTimeoutError):
                raise UserError(f"{where}: took longer than {TIMEOUT} s") from None
            if not isinstance(error, CellExecutionError):  # the kernel died
                log.seek(0)
                reason = " ".join([str(error), *log.read().split("\n")[-2:]]).strip()
                raise UserError(f"{where}: was stopped before its end ({reason}); build again") from error
            if error.ename == "UserError":
                raise UserError(f"{where}: {error.evalue}") from None
            raise RuntimeError(f"{where}: {error}") from None
    return _text(notebook)


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
