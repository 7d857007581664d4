"""Build the tables and figures: execute the notebooks, headless, on published results or on the user's own runs."""

from pathlib import Path
from typing import NamedTuple

from analysis import load, readme, write
from analysis.execute import execute
from analysis.load import Source
from reproduce.errors import UserError

NOTEBOOKS = {
    "tables": {name: (f"table{name}",) for name in write.SPECS},
    "figures": {
        "1": ("figure_stability",),
        "2": ("figure_entropy", "figure_diversity"),
        "3": ("figure_epo_dynamics", "figure_epo_ablation"),
    },
}
"""Kind of output -> table -> its notebooks. A table's own notebook also draws its training curves."""

STANDALONE = {"fidelity": "fidelity", "success_rules": "scienceworld"}
"""Notebooks that belong to no table -> the folder of data that each needs: what papers and released code disagree
about, measured on one committed batch; what ScienceWorld's success rules are worth, on scripted episodes."""

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
    """Execute the notebooks of `table` and write its files.

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
    if only not in (None, *NOTEBOOKS):
        raise UserError(f"only={only!r} is unknown; choose tables or figures")
    own = root != load.RESULTS
    base = Path(root) / profile / loaded[0].experiment if own else None
    folder = _folder(base, profile, figures)
    in_place = not own and profile == DEFAULT_PROFILE and figures is None
    target = load.ROOT / "analysis" if in_place else (base if own else folder) / "notebooks"
    for source in loaded:
        source.scores  # noqa: B018  broken input is reported here, in one line, before any notebook starts
    kinds = [only] if only else list(NOTEBOOKS)
    names = tuple(n for kind in kinds for source in loaded for n in NOTEBOOKS[kind].get(source.table, ()))
    if not own and only != "figures":
        names += tuple(name for name, needed in STANDALONE.items() if (data_folder / needed).is_dir())
    environment = {
        "REPRODUCE_PROFILE": profile,
        "REPRODUCE_SOURCE": str(root),
        "REPRODUCE_FIGURES": str(folder),
        "REPRODUCE_DATA": str(data_folder),
        "REPRODUCE_SETTINGS": loaded[0].settings,
    }
    before = _stamps(folder)
    files = execute(names, environment, target)
    text = []
    for source in loaded if only != "figures" else ():
        more, lines = _finish_table(source, own, data_folder, folder)
        files, text = files + more, text + lines
        if in_place:
            stem, path = source.experiment, load.ROOT / "README.md"
            if readme.insert(path, stem, readme.shown((folder / f"{stem}.md").read_text("utf-8"), stem)):
                files.append(path)
    files = list(dict.fromkeys(files))
    files += sorted(path for path, stamp in _stamps(folder).items() if before.get(path) != stamp and path not in files)
    return BuildResult(files, "\n".join(text))


def _folder(base: Path | None, profile: str, figures: str | Path | None) -> Path:
    if figures is not None:
        return Path(figures).resolve()
    if base is not None:
        return base / "figures"
    return load.ROOT / "figures" if profile == DEFAULT_PROFILE else load.ROOT / "figures" / profile


def _finish_table(source: Source, own: bool, data_folder: Path, folder: Path) -> tuple[list[Path], list[str]]:
    """The table for the terminal; with own runs, compared with the published one. (files, texts)"""
    from analysis import comparison, text_table

    files, text = [], [text_table.text(t) for t in write.terminal_tables(write.build(source))]
    if own and source.settings:
        text.append("These runs have settings of the command line, so they are not compared with the published ones.\n")
    elif own:
        if (data_folder / "results" / source.profile / source.experiment).is_dir():
            published = load.load_source(source.profile, source.experiment, load.RESULTS, data_folder)
            compared = comparison.compare(published, source)
            files = comparison.save(compared, folder)
            text.append(compared.text)
        else:
            text.append(f"No published results for profile {source.profile}, so there is nothing to compare with.\n")
    return files, text


def _stamps(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} if folder.is_dir() else {}
