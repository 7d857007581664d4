"""Table 5: one grid of learning rate x updates per rollout for every method, and each method at a chosen setting.

The setting is chosen by cross-fitting, without the results that it is scored on: for seed s and one half of the
questions, the cell with the highest pass@1 of the *other* seeds on the *other* half is taken (one seed: the other half
alone), and its answers of seed s on this half count. So no answer is used twice, and a method with more cells that
happen to be lucky gains nothing. The scores of the seeds depend on each other through the choices, so the difference of
two methods has an interval that is somewhat short and no p-value.
"""

from collections import Counter

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


def best(source: Source) -> pd.DataFrame:
    """A row per method, index method: its grid's cross-fitted choice, mean and worst cell, difference to GRPO (points).

    Undefined where a cell of the grid has no runs: a smaller grid would be another comparison.
    """
    found = grid(source)
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
        best_SQ, chosen = cross_fitted(scores_CSQ, halves(scores.strata_Q))
        arrays[method] = (seeds, best_SQ, scores.strata_Q)
        for column, of_SQ in (("best_1", best_SQ), ("grid_mean_1", scores_CSQ.mean(axis=0))):
            table.put(rows[method], column, statistics.crossed(of_SQ, scores.strata_Q).interval().within(0, 1))
        rows[method]["worst_1"] = 100 * scores_CSQ.mean(axis=(1, 2)).min()
        rows[method]["chosen"] = _chosen(found.loc[names], chosen)
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
    """A row per method: pass@1 of every cell, the cross-fitted choice, its difference to GRPO, the mean of the grid."""
    found, frame = grid(built.source), best(built.source)
    settings = found.drop_duplicates(["learning_rate", "updates"]).sort_values(["updates", "learning_rate"])
    baseline = style.name(style.BASELINE)
    header = [
        "Method",
        *(_setting(c) for _, c in settings.iterrows()),
        "Chosen by cross-fitting",
        f"Against {baseline}",
        "Mean of the grid",
        "Worst cell",
        "Chosen",
        "Seeds",
    ]
    rows = []
    for method, row in frame.iterrows():
        mine = found[found["method"] == method]
        values = {_setting(c): built.frame.loc[name, "pass_1"] for name, c in mine.iterrows()}
        line = [style.name(method), *(f"{values[h]:.1f}" if h in values else MISSING for h in header[1:-6])]
        line += [format.cell(row, "best_1"), format.cell(row, "difference_1", sign=True)]
        line += [format.cell(row, "grid_mean_1"), format.number(row.get("worst_1", np.nan))]
        line += [str(row["chosen"]), str(int(row["n_seeds"]))]
        rows.append(line)
    lines = [
        NOTE,
        f"{format.interval('questions')}. Against {baseline}: difference of the cross-fitted choices, points. "
        "Seeds hang together by the choices: with three of them this interval covers about 90 %, and there is no "
        "p-value.",
        *provenance.lines(built.source, SPEC.name),
        *more_notes,
    ]
    words = frozenset({0, len(header) - 2})
    return TextTable(f"{format.title(built)}: all cells", header, rows, notes=lines, words=words, wide=True)


def short_table(built: table.Table) -> TextTable:
    """Each method at its chosen setting, the mean of its grid and its worst cell."""
    baseline, rows = style.name(style.BASELINE), []
    for method, row in best(built.source).iterrows():
        cells = [
            format.short(row, "best_1"),
            format.short(row, "difference_1", sign=True),
            format.short(row, "grid_mean_1"),
        ]
        worst = format.number(row.get("worst_1", np.nan))
        rows.append([style.name(method), *cells, worst, str(int(row["n_seeds"]))])
    header = ["Method", "Chosen setting", f"Against {baseline}", "Mean of the grid", "Worst cell", "Seeds"]
    notes = [
        "pass@1 in percent; ±: half of the 95 % interval over seeds × questions; all runs start from one warm start.",
        "Chosen setting: by cross-fitting, on other seeds and other questions than those it is scored on.",
        f"Against {baseline}: points; with three seeds this interval covers about 90 %, so there is no p-value.",
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
