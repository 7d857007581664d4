"""Table 5: one grid of learning rate x updates per rollout for every method, and each method at a chosen setting.

Where every run of the grid was evaluated on the validation panel after its last RL step, a method's setting is the cell
with the highest validation success, mean over seeds; of equals the one with the lower learning rate, then with fewer
updates. No test answer enters this choice.

Elsewhere the setting is chosen by cross-fitting, without the results that it is scored on: for seed s and one half of
the questions, the cell with the highest pass@1 of the *other* seeds on the *other* half is taken (one seed: the other
half alone), and its answers of seed s on this half count. So no answer is used twice, and a method with more cells that
happen to be lucky gains nothing. The scores of the seeds depend on each other through the choices, so the difference of
two methods has an interval that is somewhat short and no p-value.
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from analysis import format, heatmap, pairing, provenance, statistics, style, table
from analysis.load import Scores, Source
from analysis.statistics import Effect
from analysis.text_table import MISSING, TextTable
from reproduce.errors import UserError

NOTE = (
    "Cells: pass@1, %, mean over seeds, under learning rate · updates per rollout. Chosen by cross-fitting: for every "
    "seed and half of the questions, the cell that is best on the other seeds and the other half (one seed: on the "
    "other half); no answer helps to choose the cell that it counts in. This is what a choice from few seeds and half "
    "of the questions is worth, less than the best cell where choices differ. A cell should be chosen on the "
    "validation panel, on which the committed runs were not evaluated. Mean of the grid: all cells alike."
)


VALIDATED = (
    "Cells: pass@1 on the test panel, %, mean over seeds, under learning rate · updates per rollout. Chosen on the "
    "validation panel, after the last RL step: the cell with the highest mean over seeds (column Validation, %), "
    "of equals the one with the lower learning rate, then with fewer updates. No answer on the test panel entered the "
    "choice. The runs that chose are those that are scored, so other seeds of the chosen cell would score a little "
    "lower. Mean of the grid: all cells alike."
)


@dataclass(frozen=True)
class Choice:
    """How cells are chosen, in words: heading of the column, and what the notes of both tables say about the choice and
    about the difference to the baseline."""

    heading: str
    note: str
    short: str
    difference: str
    short_difference: str


CROSS_FITTED = Choice(
    "Chosen by cross-fitting",
    NOTE,
    "Chosen setting: by cross-fitting, on other seeds and other questions than those it is scored on.",
    "difference of the cross-fitted choices, points. Seeds hang together by the choices: with three of them this "
    "interval covers about 90 %, and there is no p-value.",
    "points; with three seeds this interval covers about 90 %, so there is no p-value.",
)
ON_VALIDATION = Choice(
    "Chosen on validation",
    VALIDATED,
    "Chosen setting: by success on the validation panel after the last RL step; no test answer entered the choice.",
    "difference of the chosen cells, points. The interval takes the choice as given, so there is no p-value.",
    "points; the interval takes the choice as given, so there is no p-value.",
)


def grid(source: Source) -> pd.DataFrame:
    """A row per cell that has results: index variant; method, learning_rate, updates (per rollout batch)."""
    rows, epochs = source.config.get("rows"), (source.config.get("training") or {}).get("epochs")
    if not rows or epochs is None:
        raise UserError(f"{source.folder}: config.yaml has no rows of a grid; publish or run table 5 again")
    found = {}
    for name in source.scores:
        if name == style.WARM_START:
            continue
        changes = rows.get(name, {}).get("training", {})
        if not {"learning_rate", "minibatches"} <= changes.keys():
            raise UserError(f"{source.folder}: '{name}' is not a cell of the grid; publish or run table 5 again")
        updates = epochs * changes["minibatches"]
        found[name] = (rows[name]["method"], changes["learning_rate"], updates)
    frame = pd.DataFrame.from_dict(found, orient="index", columns=["method", "learning_rate", "updates"])
    rank = {method: i for i, method in enumerate(style.order(frame["method"]))}
    return frame.assign(_rank=frame["method"].map(rank)).sort_values(["_rank", "updates", "learning_rate"]).iloc[:, :3]


def halves(strata_Q: np.ndarray) -> np.ndarray:
    """0 or 1 for every question: the questions of a stratum alternate, so both halves hold the same of each."""
    half_Q = np.zeros(len(strata_Q), dtype=int)
    for stratum in np.unique(strata_Q):
        members = np.flatnonzero(strata_Q == stratum)
        half_Q[members] = np.arange(len(members)) % 2
    return half_Q


def cross_fitted(scores_CSQ: np.ndarray, half_Q: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """(S x Q scores of the chosen cells, the chosen cell of every seed and half) from cells x seeds x questions."""
    _, n_seeds, _ = scores_CSQ.shape
    best_SQ, chosen = np.empty(scores_CSQ.shape[1:]), []
    for s in range(n_seeds):
        others = [i for i in range(n_seeds) if i != s] or [s]
        for half in (0, 1):
            means_C = scores_CSQ[:, others][:, :, half_Q != half].mean(axis=(1, 2))
            chosen.append(int(np.argmax(np.round(means_C, 9))))
            best_SQ[s, half_Q == half] = scores_CSQ[chosen[-1], s, half_Q == half]
    return best_SQ, chosen


@lru_cache(maxsize=4)
def validated(source: Source) -> dict[tuple[str, int], float]:
    """(row, seed) -> validation success after the last RL step; {} unless every run of every cell has it.

    Raises:
        UserError: the runs were evaluated on different questions.
    """
    last = source.steps.groupby(["method", "seed"])["step"].max()
    found, panels = {}, {}
    for run, rows in source.validation.groupby(["method", "seed"]):
        rows = rows[rows["checkpoint"] == f"step {last.get(run, 0)}"]
        if len(rows):
            found[run] = float(rows["correct"].mean())
            panels[run] = tuple(sorted(zip(rows["question_id"], rows["sample"], strict=True)))
    wanted = {(name, seed) for name in grid(source).index for seed in source.scores[name].seeds}
    if not wanted or not wanted <= found.keys():
        return {}
    if len({panels[run] for run in wanted}) > 1:
        raise UserError(
            f"{source.folder}: its runs were evaluated on different validation panels, so no cell can be chosen; train "
            "all with one evaluation.validation"
        )
    return {run: found[run] for run in wanted}


def choice(source: Source) -> Choice:
    """How the cells of these runs are chosen."""
    return ON_VALIDATION if validated(source) else CROSS_FITTED


def best_on_validation(cells_of: pd.DataFrame, means: dict[tuple[str, int], float], seeds: tuple[int, ...]) -> str:
    """The cell of the highest mean over `seeds`; of equals the lowest learning rate, then the fewest updates."""
    success = {name: np.round(np.mean([means[name, seed] for seed in seeds]), 9) for name in cells_of.index}
    return min(success, key=lambda n: (-success[n], cells_of.loc[n, "learning_rate"], cells_of.loc[n, "updates"]))


def best(source: Source) -> pd.DataFrame:
    """A row per method, index method: its grid's choice, mean and worst cell, difference to GRPO (points).

    Where the choice is made on the validation panel, also `validation_1`, the chosen cell's success there, %.

    Undefined where a cell of the grid has no runs: a smaller grid would be another comparison.
    """
    found, means = grid(source), validated(source)
    width = found.groupby("method").size().max() if len(found) else 0
    arrays: dict[str, tuple[tuple[int, ...], np.ndarray, np.ndarray]] = {}
    rows: dict[str, dict] = {}
    for method, cells_of in found.groupby("method", sort=False):
        names = list(cells_of.index)
        seeds = tuple(s for s in source.scores[names[0]].seeds if all(s in source.scores[n].seeds for n in names))
        rows[method] = {"n_seeds": len(seeds), "chosen": MISSING}
        if len(names) < width or not seeds:
            continue
        scores = source.scores[names[0]]
        scores_CSQ = np.stack([_at(source.scores[n], seeds) for n in names])
        if means:
            name = best_on_validation(cells_of, means, seeds)
            best_SQ, shown = scores_CSQ[names.index(name)], _setting(found.loc[name])
            rows[method]["validation_1"] = 100 * float(np.mean([means[name, seed] for seed in seeds]))
        else:
            best_SQ, chosen = cross_fitted(scores_CSQ, halves(scores.strata_Q))
            shown = _chosen(found.loc[names], chosen)
        arrays[method] = (seeds, best_SQ, scores.strata_Q)
        for column, of_SQ in (("best_1", best_SQ), ("grid_mean_1", scores_CSQ.mean(axis=0))):
            table.put(rows[method], column, statistics.crossed(of_SQ, scores.strata_Q).interval().within(0, 1))
        rows[method]["worst_1"] = 100 * scores_CSQ.mean(axis=(1, 2)).min()
        rows[method]["chosen"] = shown
    baseline = style.BASELINE
    for method in arrays if baseline in arrays else ():
        if method != baseline:
            table.put(rows[method], "difference_1", _difference(arrays[method], arrays[baseline]).interval())
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def _at(scores: Scores, seeds: tuple[int, ...]) -> np.ndarray:
    return pairing.scores_at(scores)[[scores.seeds.index(seed) for seed in seeds]]


def _chosen(cells_of: pd.DataFrame, chosen: list[int]) -> str:
    """`0.0005 · 8 (4 of 6)` for the settings in order of how often they were chosen."""
    counts = Counter(_setting(cells_of.iloc[i]) for i in chosen)
    return ", ".join(f"{setting} ({n} of {len(chosen)})" for setting, n in counts.most_common())


def _setting(cell: pd.Series) -> str:
    return f"{cell['learning_rate']:g} · {int(cell['updates'])}"


def _difference(mine: tuple, theirs: tuple) -> Effect:
    (seeds, a_SQ, strata_Q), (others, b_SQ, _) = mine, theirs
    if seeds == others and len(seeds) > 1:
        return statistics.crossed(a_SQ - b_SQ, strata_Q)
    return statistics.two_rows(a_SQ, b_SQ, strata_Q)


def main_table(built: table.Table, more_notes: list[str]) -> TextTable:
    """A row per method: pass@1 of every cell, the choice, its difference to GRPO, the mean of the grid."""
    found, frame = grid(built.source), best(built.source)
    settings = found.drop_duplicates(["learning_rate", "updates"]).sort_values(["updates", "learning_rate"])
    baseline, how = style.name(style.BASELINE), choice(built.source)
    cells = [_setting(c) for _, c in settings.iterrows()]
    header = ["Method", *cells, how.heading, f"Against {baseline}", "Mean of the grid", "Worst cell"]
    header += ["Validation"] if how is ON_VALIDATION else []
    header += ["Chosen", "Seeds"]
    rows = []
    for method, row in frame.iterrows():
        mine = found[found["method"] == method]
        values = {_setting(c): built.frame.loc[name, "pass_1"] for name, c in mine.iterrows()}
        line = [style.name(method), *(f"{values[h]:.1f}" if h in values else MISSING for h in cells)]
        line += [format.cell(row, "best_1"), format.cell(row, "difference_1", sign=True)]
        line += [format.cell(row, "grid_mean_1"), format.number(row.get("worst_1", np.nan))]
        line += [format.number(row.get("validation_1", np.nan))] if how is ON_VALIDATION else []
        line += [str(row["chosen"]), str(int(row["n_seeds"]))]
        rows.append(line)
    lines = [
        how.note,
        f"{format.interval('questions')}. Against {baseline}: {how.difference}",
        *provenance.lines(built.source, SPEC.name),
        *more_notes,
    ]
    words = frozenset({0, len(header) - 2})
    return TextTable(f"{format.title(built)}: all cells", header, rows, notes=lines, words=words, wide=True)


def short_table(built: table.Table) -> TextTable:
    """Each method at its chosen setting, the mean of its grid and its worst cell."""
    baseline, rows, how = style.name(style.BASELINE), [], choice(built.source)
    for method, row in best(built.source).iterrows():
        cells = [
            format.short(row, "best_1"),
            format.short(row, "difference_1", sign=True),
            format.short(row, "grid_mean_1"),
        ]
        worst = format.number(row.get("worst_1", np.nan))
        setting = [str(row["chosen"])] if how is ON_VALIDATION else []
        rows.append([style.name(method), *setting, *cells, worst, str(int(row["n_seeds"]))])
    header = [
        "Method",
        *(["Setting"] if how is ON_VALIDATION else []),
        "Chosen setting",
        f"Against {baseline}",
        "Mean of the grid",
        "Worst cell",
        "Seeds",
    ]
    notes = [
        "pass@1 in percent; ±: half of the 95 % interval over seeds × questions; all runs start from one warm start.",
        how.short,
        f"Against {baseline}: {how.short_difference}",
    ]
    more = ("Every cell, how settings are chosen, seeds, commits", "table5_appendix.md")
    return TextTable(format.title(built), header, rows, notes=notes, more=more)


def answer(built: table.Table) -> str:
    """Which methods differ from the baseline at their chosen settings."""
    found, base = best(built.source), style.name(style.BASELINE)
    if "difference_1_low" not in found:
        return f"No method stands beside {base} at a chosen setting."
    above = [style.name(m) for m, row in found.iterrows() if row["difference_1_low"] > 0]
    below = [style.name(m) for m, row in found.iterrows() if row["difference_1_high"] < 0]
    return (
        f"Each at the setting chosen for it, above {base} with the whole interval: {', '.join(above) or 'none'}; "
        f"below it: "
        f"{', '.join(below) or 'none'}."
    )


SPEC = table.Spec(
    table="5",
    subject="One grid for every method on {sets}",
    columns="level",
    rows=(),
    compared=("pass_1",),
    main_table=main_table,
    short_table=short_table,
    answer=answer,
    frames=lambda source: {"best": best(source).reset_index()},
    figures=lambda built: {
        "heat": heatmap.figure_heat(built, grid(built.source)),
        "training": heatmap.figure_curves(built, grid(built.source)),
    },
)
