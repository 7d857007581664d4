"""The published table against the user's own runs, cell by cell."""

from dataclasses import astuple, dataclass

import numpy as np
import pandas as pd

from analysis import format, machines, style, text_table
from analysis.load import Source
from analysis.statistics import UNDEFINED, Estimate
from analysis.table import COSTS, K, Spec, Table
from analysis.text_table import MISSING, TextTable

SAME, HIGHER, LOWER = "the same within noise", "higher than noise explains", "lower than noise explains"
IDENTICAL, NO_PANEL, ALONE = "identical, answer by answer", "other questions, not judged", "not published"
DEFINITION = (
    "The same within noise: the 95 % intervals of the two values overlap (costs: over seeds; one seed: a point). "
    "This is "
    "is a loose test: it says that the two tables do not contradict each other, not that they are equal."
)
IDENTITY = (
    "Same seeds: the share of (question, sample) outcomes that are equal on the seeds which both tables hold. With the "
    "same code, config, type of processor and libraries it is 100 %."
)


@dataclass(frozen=True)
class Comparison:
    """`stem`: of its files; `frame`: a row per method and cell; `table`: a row per method in words; `cells`: every
    cell, with the definition of agreement."""

    stem: str
    frame: pd.DataFrame
    table: TextTable
    cells: TextTable

    @property
    def text(self) -> str:
        """For a terminal."""
        return text_table.text(self.table)

    def files(self) -> dict[str, str]:
        """Name -> text of table<n>_comparison.{md,csv}."""
        csv = self.frame.to_csv(index=False, float_format="%.4f")
        pages = "\n".join(map(text_table.markdown, (self.table, self.cells)))
        return {f"{self.stem}.md": pages, f"{self.stem}.csv": csv}


def _cells(built: Table) -> list[str]:
    every = [*built.parts, "pass_1", f"pass_{K}", "difference_1", *COSTS]
    return every if built.spec.compared is None else list(built.spec.compared)


def _label(column: str, spec: Spec) -> str:
    labels = {
        "pass_1": "average pass@1",
        f"pass_{K}": f"average pass@{K}",
        "difference_1": f"against {spec.base_name}",
    } | COSTS
    return labels.get(column) or format.part_label(column).lower()


def _estimate(frame: pd.DataFrame, method: str, column: str) -> Estimate:
    names = (column, f"{column}_low", f"{column}_high")
    if method not in frame.index or any(n not in frame.columns for n in names):
        return UNDEFINED
    return Estimate(*(float(frame.loc[method, n]) for n in names))


def _overlap(a: Estimate, b: Estimate) -> bool:
    """Whether the intervals overlap; a value without an interval (costs of one seed) is a point."""
    (low_a, high_a), (low_b, high_b) = ((e.value, e.value) if np.isnan(e.low) else (e.low, e.high) for e in (a, b))
    return bool(low_a <= high_b and low_b <= high_a)


def _shown(found: Estimate, column: str) -> str:
    if column not in COSTS or not np.isfinite(found.value):
        return format.estimate(found, sign=column.startswith("difference"))
    value, low, high = map(format.human, astuple(found))
    return f"{value} [{low}, {high}]" if np.isfinite(found.low) else value


def _difference(published: Estimate, yours: Estimate, column: str) -> str:
    """Yours minus the published one: points, and percent of the published one for costs."""
    if column not in COSTS:
        return format.number(yours.value - published.value, sign=True)
    ratio = yours.value / published.value if published.value else np.nan
    return f"{format.number(100 * (ratio - 1), sign=True)} %" if np.isfinite(ratio) else MISSING


def _same_panel(published: Source, yours: Source) -> bool:
    a, b = (next(iter(s.scores.values())) for s in (published, yours))
    return a.questions == b.questions and a.correct_SQN.shape[2] == b.correct_SQN.shape[2]


def equal_outcomes(published: Source, yours: Source, method: str) -> tuple[list[int], float]:
    """The seeds of a row that both hold, and the share of their (question, sample) outcomes that are equal."""
    a, b = published.scores[method], yours.scores[method]
    common = [s for s in b.seeds if s in a.seeds]
    pairs = [(a.correct_SQN[a.seeds.index(s)], b.correct_SQN[b.seeds.index(s)]) for s in common]
    return common, float(np.mean([np.mean(x == y) for x, y in pairs])) if pairs else float("nan")


def same_seeds(published: Source, yours: Source, name=style.name) -> list[str]:
    """One line per row that both hold: common seeds, equal outcomes, equal settings. name: how rows are called."""
    lines = []
    for method in yours.scores:
        if method not in published.scores:
            continue
        common, equal = equal_outcomes(published, yours, method)
        if not common:
            lines.append(f"{name(method)}: no common seed.")
            continue
        settings = [
            {m["seed"]: m.get("config_hash") for m in source.manifest(method) if m.get("seed") in common}
            for source in (published, yours)
        ]
        same = "same config" if settings[0] == settings[1] else "ANOTHER CONFIG"
        outcome = "all outcomes equal" if equal == 1 else f"{100 * equal:.1f} % of outcomes equal"
        lines.append(f"{name(method)}: seeds {','.join(map(str, common))}, {same}, {outcome}.")
    return lines


def other_machine(published: Source, yours: Source) -> list[str]:
    """Differences between the machines of the runs that both hold; see `machines.differences`."""
    known = {(m.get("method"), m.get("seed")): m for m in published.manifests}
    runs = ((known.get((m.get("method"), m.get("seed"))), m) for m in yours.manifests)
    return machines.differences((theirs, own) for theirs, own in runs if theirs is not None)


def words(published: Estimate, yours: Estimate, comparable: bool) -> str:
    """A newcomer's reading of two values."""
    if not comparable:
        return NO_PANEL
    if not np.isfinite(published.value) or not np.isfinite(yours.value):
        return ALONE
    if _overlap(published, yours):
        return SAME
    return HIGHER if yours.value > published.value else LOWER


def compare(published_table: Table, your_table: Table) -> Comparison:
    """Published value and interval, yours, and what to think of it, for every row and cell that either table holds.

    Rows that only the published table holds are in `frame`, and named in one line of `text`.
    """
    tables = published_table, your_table
    published, yours = (t.source for t in tables)
    spec, comparable = published_table.spec, _same_panel(published, yours)
    names = [f"{whose}{end}" for whose in ("published", "yours") for end in ("", "_low", "_high")]
    rows, printed, short, others = [], [], [], []
    for method in spec.order([*published_table.frame.index, *your_table.frame.index]):
        for column in dict.fromkeys(_cells(published_table) + _cells(your_table)):
            a, b = (_estimate(t.frame, method, column) for t in tables)
            if not np.isfinite(a.value) and not np.isfinite(b.value):
                continue
            said = words(a, b, comparable)
            agree = None if said in (NO_PANEL, ALONE) else said == SAME
            numbers = dict(zip(names, astuple(a) + astuple(b), strict=True))
            rows.append({"method": method, "cell": column, **numbers, "agree": agree})
            if method not in yours.scores:
                continue
            difference = _difference(a, b, column) if comparable else MISSING
            shown = [_shown(b, column), _shown(a, column), difference]
            printed.append([spec.name(method), _label(column, spec), *shown, said])
            if column == "pass_1":
                equal = method in published.scores and comparable and equal_outcomes(published, yours, method)[1] == 1
                short.append([spec.name(method), *shown, IDENTICAL if equal else said])
            elif agree is False:
                others.append(f"{spec.name(method)}, {_label(column, spec)}: {said}")
    frame = pd.DataFrame(rows)
    judged = frame["agree"].dropna().astype(bool)
    notes = [DEFINITION]
    if missing := [spec.name(m) for m in published.scores if m not in yours.scores]:
        notes.append(f"Published, but not run by you: {', '.join(missing)}.")
    if comparable:
        notes += [IDENTITY, *same_seeds(published, yours, spec.name), *other_machine(published, yours)]
    title = f"Table {spec.table}, yours beside the published one"
    cells = TextTable(
        f"{title}: every cell",
        ["Method", "Cell", "Yours", "Published", "Difference", ""],
        printed,
        notes=notes,
        words=frozenset({0, 1, 5}),
    )
    stem = f"table{spec.table}_comparison"
    summary = [_summary(judged, others, comparable), *(other_machine(published, yours) if comparable else [])]
    more = ("Every cell, the seeds that both hold, and what the words mean", f"{stem}.md")
    header = ["Method", "Yours", "Published", "Difference", "In words"]
    return Comparison(
        stem, frame, TextTable(title, header, short, notes=summary, words=frozenset({0, 4}), more=more), cells
    )


def _summary(judged: pd.Series, others: list[str], comparable: bool) -> str:
    """One sentence on all cells; the first ones that differ by name."""
    if not comparable:
        return "The two were evaluated on different panels, so nothing is judged; use the profile's own config."
    if not others:
        return (
            f"All {len(judged)} numbers that both tables hold are {SAME}; scores above are average pass@1 in percent."
        )
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    same = int(judged.sum())
    named = "; ".join(others[:5])
    return f"{same} of {len(judged)} numbers that both hold are {SAME}; beside the scores not: {named}{more}."
