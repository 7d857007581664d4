"""Build tables and figures from published results or from your own runs, then the notebooks that show them."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import matplotlib

from analysis import comparison, load, readme, style, text_table, write
from analysis.execute import executing
from analysis.load import Source
from analysis.reported import load_reported
from reproduce.errors import UserError

FIGURES = {
    "1": {"figure_stability": "stability"},
    "2": {"figure_entropy": "entropy", "figure_diversity": "diversity"},
    "3": {"figure_epo_dynamics": "epo", "figure_epo_ablation": "epo"},
}
"""Table -> its figure notebooks -> the module of analysis/ whose `figures(source)` draws them."""

STANDALONE = {"fidelity": "fidelity", "success_rules": "scienceworld"}
"""Notebooks that belong to no table -> the folder of data that each needs: what papers and released code disagree
about, measured on one committed batch; what ScienceWorld's success rules are worth, on scripted episodes."""

KINDS = ("tables", "figures")
DEFAULT_PROFILE = "mini"


class BuildResult(NamedTuple):
    """`files`: every file written; `text`: the tables (and the comparison with the published one) for a terminal."""

    files: list[Path]
    text: str


def build(
    table: int | str = 2,
    profile: str = DEFAULT_PROFILE,
    source: str = load.RESULTS,
    runs_root: str | Path = "runs",
    only: str | None = None,
    figures: str | Path | None = None,
    data_root: str | Path | None = None,
    settings: str = "",
) -> BuildResult:
    """Compute `table`, write its files and figures, and execute its notebooks.

    source: "results" reads data/results/<profile>; "runs" reads `runs_root`/<profile> and, if results of the same table
    are published, compares with them. only: "tables" or "figures"; None builds both.
    figures: where files go; default <runs_root>/<profile>/table<n>/figures/ for runs, for results figures/ (profile
    mini) or figures/<profile>/. settings: of the command line, as the runs' folder names them; such runs are not
    compared with published ones.
    Notebooks are saved in place, with output, for the published results of mini in the default folder; otherwise in a
    folder `notebooks` beside the runs or the figures, so that committed notebooks never hold other numbers.
    Raises UserError for an unknown argument and for missing or broken input.
    """
    name = write.spec(table).table
    if source not in (load.RESULTS, "runs"):
        raise UserError(f"source {source!r} is unknown; choose results or runs")
    own, data_folder = source == "runs", _data_folder(data_root)
    root = Path(runs_root).resolve() if own else load.RESULTS
    loaded = load.load_source(profile, f"table{name}.{settings}".removesuffix("."), root, data_folder)
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
    for name in write.SPECS:
        if (base / f"table{name}").is_dir():
            loaded.append(load.load_source(profile, f"table{name}", load.RESULTS, data_folder))
        else:
            lines.append(f"Table {name}: no published results for profile {profile}, skipped.")
    if not loaded:
        raise UserError(f"{base} does not exist or holds no table: run `make reproduce-table2`, then `make publish`")
    result = _build(loaded, profile, load.RESULTS, only, figures, data_folder)
    return BuildResult(result.files, "\n".join([result.text, *lines]) if lines else result.text)


def _data_folder(data_root: str | Path | None) -> Path:
    return Path(data_root).resolve() if data_root else load.ROOT / "data"


def _build(
    loaded: list[Source],
    profile: str,
    root: Path | str,
    only: str | None,
    figures: str | Path | None,
    data_folder: Path,
) -> BuildResult:
    """The tables of `loaded`, all in the same folders. root: the runs' root, or load.RESULTS."""
    if only not in (None, *KINDS):
        raise UserError(f"only={only!r} is unknown; choose {' or '.join(KINDS)}")
    own = root != load.RESULTS
    base = Path(root) / profile / loaded[0].experiment if own else None
    folder = _folder(base, profile, figures)
    in_place = not own and profile == DEFAULT_PROFILE and figures is None
    target = load.ROOT / "analysis" if in_place else (base if own else folder) / "notebooks"
    environment = {
        "REPRODUCE_PROFILE": profile,
        "REPRODUCE_SOURCE": str(root),
        "REPRODUCE_DATA": str(data_folder),
        "REPRODUCE_SETTINGS": loaded[0].settings,
    }
    tables = loaded if only != "figures" else []
    drawn = [(source, FIGURES.get(source.table, {})) for source in loaded if only != "tables"]
    alone = [n for n, needed in STANDALONE.items() if tables and not own and (data_folder / needed).is_dir()]
    notebooks = {f"table{source.table}": "table" for source in tables}
    notebooks |= {name: name for names in [*(names for _, names in drawn), alone] for name in names}
    files, text = [], []
    with executing(notebooks, environment, target) as finish, repeatable():
        for source in tables:
            more, lines = _table(source, data_folder, folder)
            files, text = files + more, text + lines
            if in_place and _in_readme(source.experiment, folder):
                files.append(load.ROOT / "README.md")
        for source, names in drawn:
            for module in dict.fromkeys(names.values()):
                made = importlib.import_module(f"analysis.{module}").figures(source)
                files += style.save_all(made, folder)
        for name in alone:
            files += _standalone(name, data_folder, folder)
        return BuildResult(list(dict.fromkeys(files + finish())), "\n".join(text))


@contextmanager
def repeatable() -> Iterator[None]:
    """Sums of one thread and figures without a window: the same data give the same bytes on any number of cores."""
    import torch
    from threadpoolctl import threadpool_limits

    threads, backend = torch.get_num_threads(), matplotlib.get_backend(auto_select=False)
    matplotlib.use("agg")
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
        if backend:  # a notebook that called us goes on with its own
            matplotlib.use(backend)


def _folder(base: Path | None, profile: str, figures: str | Path | None) -> Path:
    if figures is not None:
        return Path(figures).resolve()
    if base is not None:
        return base / "figures"
    return load.ROOT / "figures" if profile == DEFAULT_PROFILE else load.ROOT / "figures" / profile


def _table(source: Source, data_folder: Path, folder: Path) -> tuple[list[Path], list[str]]:
    """Writes a table and its figures, and compares own runs with the published ones. (files, texts for a terminal)"""
    built = write.build(source)
    files = text_table.save(write.files(built, load_reported(data_folder / "papers")), folder)
    files += style.save_all(write.figures(built), folder)
    text = [text_table.text(t) for t in write.terminal_tables(built)]
    if source.origin == load.RESULTS:
        return files, text
    if source.settings:
        text.append("These runs have settings of the command line, so they are not compared with the published ones.\n")
    elif (data_folder / "results" / source.profile / source.experiment).is_dir():
        published = load.load_source(source.profile, source.experiment, load.RESULTS, data_folder)
        compared = comparison.compare(write.build(published), built)
        files += text_table.save(compared.files(), folder)
        text.append(compared.text)
    else:
        text.append(f"No published results for profile {source.profile}, so there is nothing to compare with.\n")
    return files, text


def _standalone(name: str, data_folder: Path, folder: Path) -> list[Path]:
    """Writes what belongs to no table."""
    if name == "fidelity":
        from analysis.fidelity.audit import load_audit

        measured = load_audit(data_folder)
        files, figures = measured.files(), measured.figures()
    else:
        from analysis import scripted_policies

        measured = scripted_policies.load(data_folder / STANDALONE[name])
        files, figures = scripted_policies.files(measured), scripted_policies.figures(measured)
    return [*text_table.save(files, folder), *style.save_all(figures, folder)]


def _in_readme(stem: str, folder: Path) -> bool:
    """Puts the table into README.md. Returns whether it changed."""
    return readme.insert(load.ROOT / "README.md", stem, readme.shown((folder / f"{stem}.md").read_text("utf-8"), stem))
