"""Turn notebook sources into executed notebooks, headless, with nbclient: the same data give the same bytes."""

import json
import os
import tempfile
from collections import deque
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from analysis import load
from reproduce.errors import UserError

SOURCES = load.ROOT / "analysis" / "notebooks"
TIMEOUT = 600  # seconds for one cell
KERNELS = 2  # each executes one notebook after the other, so that imports are paid for twice, not per notebook
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
ENVIRONMENT = ONE_THREAD | {
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
LAST = """
import sys
notebook = sys.modules.get("analysis.notebook")
print(notebook.report() if notebook else '{"files": [], "text": []}')
get_ipython().run_line_magic("reset", "-sf")
"""
"""A cell that is not saved: it says what the notebook wrote, and leaves no names to the next one."""


def execute(notebooks: dict[str, str], environment: dict[str, str], target: Path) -> dict[str, dict]:
    """Execute notebooks and save them as target/<name>.ipynb, all or none.

    The same data give the same bytes: one thread, no user start-up files, fixed cell ids, no timestamps, no stderr.
    An error, Ctrl-C too, ends the kernels: nothing goes on behind the command's back.

    Args:
        notebooks: Name to source, such as {"table1": "table"} for analysis/notebooks/table.py. A source with a cell
            tagged "parameters" gets `TABLE`, the name without "table".
        environment: Variables of the kernels beside `ENVIRONMENT`.

    Returns:
        Name to what the notebook reports (`notebook.report`).

    Raises:
        UserError: What a cell raised as such, or that a notebook took too long or lost its kernel.
    """
    pending, texts, reports, managers = deque(notebooks.items()), {}, {}, []
    with tempfile.TemporaryDirectory(prefix="reproduce-") as scratch, ThreadPoolExecutor(KERNELS) as pool:
        variables = os.environ | ENVIRONMENT | environment | {"IPYTHONDIR": scratch}
        kernels = [Path(scratch) / f"kernel{i}.log" for i in range(min(KERNELS, len(notebooks)))]
        work = [pool.submit(_kernel, pending, texts, reports, variables, log, managers) for log in kernels]
        try:
            for one in wait(work, return_when=FIRST_EXCEPTION).done:
                one.result()
        except BaseException:
            pending.clear()
            for manager in managers:
                if manager.provisioner and manager.provisioner.has_process:
                    manager.provisioner.process.kill()
            raise
    target.mkdir(parents=True, exist_ok=True)
    for name in notebooks:
        temporary = target / f"{name}.tmp"
        temporary.write_text(texts[name], encoding="utf-8")
        temporary.replace(target / f"{name}.ipynb")
    return {name: reports[name] for name in notebooks}


def _kernel(pending: deque, texts: dict, reports: dict, variables: dict[str, str], log: Path, managers: list) -> None:
    """One kernel executes pending notebooks until none is left. managers: gets the kernel's; log: of its errors."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    # No kernel directories: the kernel is this interpreter, whatever "python3" means in the user's Jupyter.
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    managers.append(manager)
    client = NotebookClient(nbformat.v4.new_notebook(), km=manager, timeout=TIMEOUT, record_timing=False)
    with log.open("w+", errors="replace") as errors:
        start = {"env": variables, "cwd": str(load.ROOT), "stderr": errors}
        with client.setup_kernel(**start, cleanup_kc=True):
            while found := _next(pending):
                name, source = found
                client.nb = _read(name, source)
                client.nb.cells.append(nbformat.v4.new_code_cell(LAST))
                _run(client, name, errors)
                reports[name] = json.loads("".join(o.text for o in client.nb.cells.pop().outputs if o.name == "stdout"))
                texts[name] = _text(client.nb)


def _next(pending: deque) -> tuple[str, str] | None:
    """The next notebook. One step, since several threads take them."""
    try:
        return pending.popleft()
    except IndexError:
        return None


def _read(name: str, source: str):
    import jupytext

    notebook = jupytext.read(SOURCES / f"{source}.py", fmt="py:percent")
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = f'TABLE = "{name.removeprefix("table")}"'
    return notebook


def _run(client, name: str, errors) -> None:
    """Executes the client's notebook; an error names it with the cell."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    at = [0]
    client.on_cell_start = lambda cell, cell_index: at.append(cell_index)
    try:
        client.execute()
    except (RuntimeError, CellExecutionError, CellTimeoutError) as error:
        where = f"notebook {name}, cell {at[-1]}"
        if isinstance(error, CellTimeoutError):
            raise UserError(f"{where}: took longer than {client.timeout} s") from None
        if not isinstance(error, CellExecutionError):  # the kernel died
            errors.seek(0)
            reason = " ".join([str(error), *errors.read().split("\n")[-2:]]).strip()
            raise UserError(f"{where}: was stopped before its end ({reason}); build again") from error
        if error.ename == "UserError":
            raise UserError(f"{where}: {error.evalue}") from None
        raise RuntimeError(f"{where}: {error}") from None


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
