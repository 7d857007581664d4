"""Every number of a table: scores with intervals, differences to a baseline, costs.

Each table is defined by a `Spec` (table1.py, table2.py, ...); `format` prints its numbers, `write` writes the files.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from analysis import families, pairing, statistics, style
from analysis.load import Scores, Source
from analysis.reported import Reported
from analysis.statistics import Estimate
from analysis.text_table import TextTable

K = 5
ALPHA = 0.05
_AXES = {"level": "levels", "family": "families", "split": "splits"}
COSTS = {
    "sampled_tokens": "Sampled tokens",
    "trained_tokens": "Trained tokens",
    "tool_calls": "Tool calls",
    "trajectories": "Trajectories",
}
SEARCH_COSTS = {
    "search_requests": "Search requests",
    "search_errors": "Failed searches",
    "page_requests": "Page requests",
    "summary_requests": "Summaries",
}
"""Costs of runs that search for real; a table shows those that any of its runs has."""


@dataclass(frozen=True)
class Spec:
    """Definition of one table.

    table: its name, such as "2". subject: the rest of its title, with {sets} for the question sets that it shows and
    {world} for the world of its episodes. columns: "level", "family" or "split", what the score
    columns stand for. rows: shown even without runs. core: rows that stand first; the others are folded away. ranking:
    the order of the rows. baseline: the row that differences are to. bases: row -> the row that it is compared with
    instead. names: how rows are called where `style.name` does not know. reported: the papers' numbers beside it, or
    None. compared: the columns that published and own results are compared in; None: all.

    Hooks of tables that show more; None: what every table shows. complete: the `Table` with further columns.
    short_table(table): its text cells in one glance. main_table(table, notes): all of them. answer(table): a sentence.
    more_tables(source): text tables below the main one. frames(source): ending of a CSV file's name -> its frame.
    figures(table): ending of a figure's name -> what is drawn.
    """

    table: str
    subject: str
    columns: str
    rows: tuple[str, ...] = style.CORE
    core: tuple[str, ...] = style.MAIN
    ranking: tuple[str, ...] = style.ORDER
    baseline: str = style.BASELINE
    bases: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    reported: Reported | None = None
    compared: tuple[str, ...] | None = None
    complete: Callable[["Table"], "Table"] | None = None
    main_table: Callable[["Table", list[str]], TextTable] | None = None
    short_table: Callable[["Table"], TextTable] | None = None
    answer: Callable[["Table"], str] | None = None
    more_tables: Callable[[Source], list[TextTable]] | None = None
    frames: Callable[[Source], dict[str, pd.DataFrame]] | None = None
    figures: Callable[["Table"], dict[str, style.Drawn]] | None = None

    def name(self, row: str) -> str:
        """How a row is called in print."""
        return self.names.get(row) or style.name(row)

    def base(self, row: str) -> str:
        """The row that `row` is compared with."""
        return self.bases.get(row, self.baseline)

    @property
    def base_name(self) -> str:
        """The rows that others are compared with, in print."""
        return "its base" if self.bases else self.name(self.baseline)

    def order(self, rows) -> list[str]:
        """The rows in the order of `ranking`, all others after them; without repeats."""
        return [r for r in self.ranking if r in set(rows)] + [r for r in style.order(rows) if r not in self.ranking]


@dataclass(frozen=True, eq=False)
class Table:
    """`frame`: index method, columns as in the glossary of analysis/README.md (scores in percent, differences in
    points, `<column>_low`, `<column>_high`, `<column>_bold`). adjusted: p-values of the differences to the bases."""

    spec: Spec
    frame: pd.DataFrame
    source: Source
    adjusted: families.Adjusted = families.Adjusted({}, (), 0)

    @property
    def parts(self) -> list[str]:
        """The score columns of single levels or families."""
        return [c for c in self.frame.columns if c in part_columns(self.spec, self.source.scores)]

    @property
    def costs(self) -> dict[str, str]:
        """Cost column -> its header."""
        return cost_columns(self.source)


def part_columns(spec: Spec, scores: Mapping[str, Scores]) -> dict[str, np.ndarray]:
    """The questions of every level, family or split that has a column of its own.

    Args:
        spec: says by which of these the table is divided.
        scores: row -> its scores; all are of one panel.

    Returns:
        Column, such as `level_1` -> keep_Q, True at its questions.
    """
    if not scores:
        return {}
    first = next(iter(scores.values()))
    several = len(np.unique(first.families_Q)) > 1  # levels of different sets of questions are not one scale
    kind = "family" if spec.columns == "level" and several else spec.columns
    labels_Q = getattr(first, f"{_AXES[kind]}_Q")
    return {f"{kind}_{label}": labels_Q == label for label in np.unique(labels_Q)}


def build(source: Source, spec: Spec) -> Table:
    """Compute every number of a table.

    Args:
        source: the runs.
        spec: the table's rows, columns and baseline. A row without runs stays empty (NaN).

    Raises:
        UserError: rows were evaluated on different panels, or a row lacks evaluations.
    """
    scores = source.scores
    names = spec.order([style.WARM_START, *spec.rows, *scores])
    rows = {name: {"n_seeds": len(scores[name].seeds) if name in scores else 0} for name in names}
    columns = {column: (1, keep_Q) for column, keep_Q in part_columns(spec, scores).items()}
    columns |= {"pass_1": (1, None), f"pass_{K}": (K, None)}
    twins = families.same_runs(source)
    for column, (k, keep_Q) in columns.items():
        for name in scores:
            put(rows[name], column, pairing.estimate(scores[name], k, keep_Q))
        best = _best(scores, k, keep_Q, twins)
        for name in scores:
            rows[name][f"{column}_bold"] = name in best
    for name in scores:
        put(rows[name], "iqm_1", statistics.iqm_over_seeds(pairing.scores_at(scores[name]).mean(axis=1)))
    adjusted = _against_baseline(rows, source, spec)
    for name in names:
        rows[name] |= _costs(source, name)
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    for column in ("p_1", "adjusted_1", *cost_columns(source)):
        if column not in frame:
            frame[column] = np.nan
    return Table(spec, frame, source, adjusted)


def put(row: dict, column: str, estimate: Estimate) -> None:
    """Write an estimate into a row as `<column>`, `<column>_low` and `<column>_high`, in percent or points.

    Args:
        row: column -> value; it is changed.
        estimate: a share, or a difference of shares.
    """
    ends = (estimate.value, estimate.low, estimate.high)
    row[column], row[f"{column}_low"], row[f"{column}_high"] = (100 * x for x in ends)


def _best(scores: Mapping[str, Scores], k: int, keep_Q: np.ndarray | None, twins: Mapping[str, str]) -> frozenset[str]:
    """The trained row whose difference to every other row lies above 0, and rows that are the same runs.

    Only the row of the largest mean can be it. twins: of `families.same_runs`.
    """
    trained = {m: pairing.estimate(s, k, keep_Q).value for m, s in scores.items() if m != style.WARM_START}
    if len(scores) < 2 or not np.isfinite(list(trained.values())).any():
        return frozenset()
    top = max(trained, key=lambda m: (np.nan_to_num(trained[m], nan=-1.0), m))
    alike = {m for m in scores if twins.get(m, m) == twins.get(top, top)}
    others = [other for m, other in scores.items() if m not in alike]
    wins = all(pairing.difference(scores[top], other, k, keep_Q).interval().low > 0 for other in others)
    return frozenset(alike) if wins and others else frozenset()


def _against_baseline(rows: dict, source: Source, spec: Spec) -> families.Adjusted:
    """Differences of every row to its base, with p-values of the trained rows as their families adjust them."""
    scores, effects = source.scores, {}
    for name, mine in scores.items():
        if name == spec.base(name) or spec.base(name) not in scores:
            continue
        baseline = scores[spec.base(name)]
        found = {k: pairing.difference(mine, baseline, k) for k in (1, K)}
        for k, effect in found.items():
            put(rows[name], f"difference_{k}", effect.interval())
        if name != style.WARM_START:
            rows[name]["improvement_1"] = 100 * pairing.share_of_wins(mine, baseline)
            effects[name, spec.base(name)] = found[1]
    adjusted = families.adjust(source, effects)
    put_adjusted(rows, {name: effect.p() for (name, _), effect in effects.items()}, adjusted)
    return adjusted


def put_adjusted(rows: dict, p_values: Mapping[str, float], adjusted: families.Adjusted) -> None:
    """Write the p-values of the rows' `difference_1`; bold where the adjusted one is below `ALPHA`.

    Args:
        rows: name -> row; those that `p_values` names are changed.
        p_values: name -> two-sided p of the difference to the baseline.
        adjusted: of the families that the differences belong to.
    """
    for name, p in p_values.items():
        together = adjusted.p[name]
        rows[name] |= {"p_1": p, "adjusted_1": together, "difference_1_bold": bool(together < ALPHA)}


def cost_columns(source: Source) -> dict[str, str]:
    """Cost column -> its header: what every run has, and what the searches of these runs cost."""
    steps = source.steps
    return COSTS | {c: name for c, name in SEARCH_COSTS.items() if c in steps and steps[c].fillna(0).any()}


def _costs(source: Source, method: str) -> dict:
    steps = source.steps[source.steps["method"] == method]
    columns = [c for c in cost_columns(source) if c in steps.columns]
    totals = steps.groupby("seed")[columns].sum()
    row = {}
    for column in columns if len(totals) else ():
        estimate = statistics.over_seeds(totals[column].to_numpy()).interval()
        row[column], row[f"{column}_low"], row[f"{column}_high"] = estimate.value, estimate.low, estimate.high
    return row


def pairs(source: Source, k: int = 1) -> pd.DataFrame:
    """Difference of average pass@k in points for every pair of rows (method minus against), with its interval.

    Rows that are the same runs have no difference to each other and are no pair.

    Returns:
        Columns method, against, difference, difference_low, difference_high (points), p (of the single difference) and
        adjusted_p (for the false discovery rate over all pairs of the table). Each pair stands in both directions.
    """
    twins = families.same_runs(source)
    names = [(a, b) for a, b in itertools.combinations(source.scores, 2) if twins.get(a, a) != twins.get(b, b)]
    effects = [pairing.difference(source.scores[a], source.scores[b], k) for a, b in names]
    adjusted = statistics.discoveries([effect.p() for effect in effects])
    rows = []
    for (a, b), effect, together in zip(names, effects, adjusted, strict=True):
        for method, against, sign in ((a, b, 1), (b, a, -1)):
            row = {"method": method, "against": against}
            put(row, "difference", replace(effect, value=sign * effect.value).interval())
            rows.append(row | {"p": effect.p(), "adjusted_p": together})
    columns = ["method", "against", "difference", "difference_low", "difference_high", "p", "adjusted_p"]
    place = {name: i for i, name in enumerate(source.scores)}
    rows.sort(key=lambda row: (place[row["method"]], place[row["against"]]))
    return pd.DataFrame(rows, columns=columns)


def runs(source: Source) -> pd.DataFrame:
    """A row per run: the points behind the intervals and where each came from.

    Columns: method, seed, code_commit, code_dirty, config_hash, pass_1, pass_5 (percent), and the cost columns.
    """
    rows = []
    totals = source.steps.groupby(["method", "seed"])[[c for c in cost_columns(source) if c in source.steps]].sum()
    for method, scores in source.scores.items():
        by_seed = {int(m["seed"]): m for m in source.manifest(method)}
        for seed, correct_QN in zip(scores.seeds, scores.correct_SQN, strict=True):
            manifest = by_seed.get(seed, {})
            row = {"method": method, "seed": seed} | {
                c: manifest.get(c) for c in ("code_commit", "code_dirty", "config_hash")
            }
            row |= {f"pass_{k}": 100 * statistics.pass_at_k_scores(correct_QN[None], k).mean() for k in (1, K)}
            rows.append(row | (totals.loc[(method, seed)].to_dict() if (method, seed) in totals.index else {}))
    return pd.DataFrame(rows)
