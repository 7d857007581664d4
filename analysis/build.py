"""Build tables and figures from published results or from your own runs, by executing the notebooks that write them."""

from pathlib import Path
from typing import NamedTuple

from analysis import load, readme, text_table
from analysis.execute import execute
from reproduce.arguments import DEFAULT_PROFILE
from reproduce.errors import UserError

FIGURES = {
    "1": ("figure_stability",),
    "2": ("figure_entropy", "figure_entropy_family", "figure_diversity"),
    "3": ("figure_epo_dynamics", "figure_epo_ablation"),
    "4": (),
    "5": (),
    "6": (),
}
"""Table -> the notebooks of its figures. The table itself is the notebook `table`."""

STANDALONE = {
    "fidelity": "fidelity",
    "success_rules": "scienceworld",
    "claims": "results/history",
    "lm_premises": "results/lm/premises",
}
"""Notebooks that belong to no table -> the folder of data that each needs: what papers and released code disagree
about, measured on one committed batch; what ScienceWorld's success rules are worth, on scripted episodes; the ledger of
the papers' claims, and every regime whose test results were seen; the papers' premises on a real language model."""

KINDS = ("tables", "figures")


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
    """Execute the notebooks of `table`, which compute and write its files and figures.

    source: "results" reads data/results/<profile>; "runs" reads `runs_root`/<profile> and, if results of the same table
    are published, compares with them. only: "tables" or "figures"; None builds both.
    figures: where files go; default <runs_root>/<profile>/table<n>/figures/ for runs, for results figures/ (profile
    mini) or figures/<profile>/. settings: of the command line, as the runs' folder names them; such runs are not
    compared with published ones.
    Notebooks are saved in place, with output, for the published results of mini in the default folder; otherwise in a
    folder `notebooks` beside the runs or the figures, so that committed notebooks never hold other numbers.
    Raises UserError for an unknown argument and for missing or broken input.
    """
    if str(table) not in FIGURES:
        raise UserError(f"table {table} is not part of this version; choose one of {', '.join(FIGURES)}")
    if source not in (load.RESULTS, "runs"):
        raise UserError(f"source {source!r} is unknown; choose results or runs")
    root = Path(runs_root).resolve() if source == "runs" else load.RESULTS
    loaded = load.load_source(profile, f"table{table}.{settings}".removesuffix("."), root, _data_folder(data_root))
    return _build([loaded], root, only, figures, _data_folder(data_root))


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
    base = data_folder / "results" / profile
    there = [name for name in FIGURES if (base / f"table{name}").is_dir()]
    if not there:
        raise UserError(f"{base} does not exist or holds no table: run `make reproduce-table2`, then `make publish`")
    loaded = [load.load_source(profile, f"table{name}", load.RESULTS, data_folder) for name in there]
    files, text = _build(loaded, load.RESULTS, only, figures, data_folder)
    absent = [f"Table {n}: no published results for profile {profile}, skipped." for n in FIGURES if n not in there]
    return BuildResult(files, "\n".join([text, *absent]) if absent else text)


def _data_folder(data_root: str | Path | None) -> Path:
    return Path(data_root).resolve() if data_root else load.ROOT / "data"


def _build(
    loaded: list[load.Source], root: Path | str, only: str | None, figures: str | Path | None, data_folder: Path
) -> BuildResult:
    """Executes the notebooks of `loaded`, sources of one profile. root: the runs' root, or load.RESULTS."""
    if only not in (None, *KINDS):
        raise UserError(f"only={only!r} is unknown; choose {' or '.join(KINDS)}")
    own, profile = root != load.RESULTS, loaded[0].profile
    default = load.ROOT / "figures" / ("" if profile == DEFAULT_PROFILE else profile)
    folder = Path(figures).resolve() if figures else loaded[0].folder / "figures" if own else default
    in_place = not own and profile == DEFAULT_PROFILE and figures is None
    target = load.ROOT / "analysis" if in_place else (loaded[0].folder if own else folder) / "notebooks"
    notebooks = {}
    if only != "figures":
        notebooks |= {source.experiment.partition(".")[0]: "table" for source in loaded}
        if not own:
            notebooks |= {name: name for name, needed in STANDALONE.items() if (data_folder / needed).is_dir()}
    if only != "tables":
        notebooks |= {name: name for source in loaded for name in FIGURES[source.table]}
    environment = {
        "REPRODUCE_PROFILE": profile,
        "REPRODUCE_SOURCE": str(root),
        "REPRODUCE_DATA": str(data_folder),
        "REPRODUCE_SETTINGS": loaded[0].settings,
        "REPRODUCE_FIGURES": str(folder),
    }
    reports = execute(notebooks, environment, target)
    files = [Path(file) for report in reports.values() for file in report["files"]]
    files += [target / f"{name}.ipynb" for name in notebooks]
    if only != "figures":
        found = (sorted(folder.glob(f"table[0-9]{end}.tex")) for end in ("", "_appendix"))
        tables = [path.stem for paths in found for path in paths]
        files += text_table.save({"tables.tex": text_table.document(tables)}, folder)
    if in_place:
        changed = [_in_results(name, folder) for name, source in notebooks.items() if source == "table"]
        files += [load.ROOT / readme.RESULTS] if any(changed) else []
        if "claims" in notebooks and readme.insert(load.ROOT / "README.md", "overview", _read(folder, "overview")):
            files.append(load.ROOT / "README.md")
    return BuildResult(files, "\n".join(text for report in reports.values() for text in report["text"]))


def _in_results(table: str, folder: Path) -> bool:
    """Puts the table into RESULTS.md. Returns whether it changed."""
    return readme.insert(load.ROOT / readme.RESULTS, table, readme.shown(_read(folder, table), table))


def _read(folder: Path, name: str) -> str:
    return (folder / f"{name}.md").read_text(encoding="utf-8")
