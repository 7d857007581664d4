"""A table's numbers as text cells, ready for a file or a terminal."""

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis import provenance, statistics
from analysis.data import Source
from analysis.render import MISSING, TextTable
from analysis.table import ALPHA, COSTS, K, Table


def human(number: float) -> str:
    """1234567 -> `1.23 M`; NaN -> `–`."""
    if not np.isfinite(number):
        return MISSING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g} {unit}" if number < 999.5 * size else f"{number / size:.0f} {unit}"
    return f"{number:.0f}"


def signed(number: float) -> str:
    """+1.2 or −1.2, with a true minus sign."""
    return f"{number:+.1f}".replace("-", "−")


def p_value(number: float) -> str:
    """0.031; below a thousandth `< 0.001`; NaN -> `–`."""
    if not np.isfinite(number):
        return MISSING
    return "< 0.001" if number < 0.001 else f"{number:.3f}"


def counted(comparisons: int) -> str:
    """`the 1 comparison`, `the 7 comparisons`."""
    return f"the {comparisons} comparison{'' if comparisons == 1 else 's'}"


def cell(row: pd.Series, column: str, sign: bool = False, bounds: bool = True) -> str:
    """`41.2 [38.0, 44.5]`, or `–` where there is no number."""
    if column not in row or not np.isfinite(row[column]):
        return MISSING
    show = signed if sign else "{:.1f}".format
    if not bounds or not np.isfinite(row[f"{column}_low"]):
        return show(row[column])
    return f"{show(row[column])} [{show(row[f'{column}_low'])}, {show(row[f'{column}_high'])}]"


def part_label(column: str) -> str:
    """`level_1` -> `Level 1`; `family_mini-math` -> `mini-math`; `split_iid` -> `IID`; `best_iid` -> `IID, best`."""
    kind, _, label = column.partition("_")
    shown = {"level": f"Level {label}", "split": label.upper(), "best": f"{label.upper()}, best of training"}
    return shown.get(kind, label)


WORLDS = {"minihouse": "MiniHouse", "alfworld": "ALFWorld", "scienceworld": "ScienceWorld"}
"""World of episodes -> its name in print."""


def title(table: Table) -> str:
    """`Table 2. mini-deepsearch, profile mini`; with the settings of the command line, if the runs have any."""
    subject = table.spec.subject.format(
        sets=sets(table.source), world=WORLDS.get(world(table.source), world(table.source))
    )
    settings = f", under {table.source.settings}" if table.source.settings else ""
    return f"Table {table.spec.table}. {subject}, profile {table.source.profile}{settings}"


def world(source: Source) -> str:
    """The world of episodes that the runs played."""
    return (source.config.get("task") or {}).get("world", "minihouse")


def sets(source: Source) -> str:
    """The question sets that the runs were evaluated on, in the order of their config: `gaia, webwalker and xbench`."""
    shown = {family for scores in source.scores.values() for family in scores.families_Q}
    ordered = (source.config.get("task") or {}).get("families") or []
    names = [name for name in ordered if name in shown] + sorted(shown - set(ordered))
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def text_table(table: Table, more_notes: list[str] | None = None) -> TextTable:
    """The table as text cells: scores, paired difference and its p-value, costs, number of seeds."""
    scored = [(c, part_label(c), len(table.parts) < 3) for c in table.parts]
    scored += [("pass_1", "Average pass@1", True), (f"pass_{K}", f"Average pass@{K}", True)]
    baseline = table.spec.name(table.spec.baseline)
    header = ["Method", *(h for _, h, _ in scored), f"Against {baseline}", "Holm p", *table.costs.values(), "Seeds"]
    rows, bold = [], set()
    for i, (method, row) in enumerate(table.frame.iterrows()):
        cells = [table.spec.name(method)]
        for column, _, bounds in scored:
            if row.get(f"{column}_bold") in (True, 1):
                bold.add((i, len(cells)))
            cells.append(cell(row, column, bounds=bounds))
        if row.get("difference_1_bold") in (True, 1):
            bold.add((i, len(cells)))
        cells += [cell(row, "difference_1", sign=True), p_value(row["p_1"])]
        cells += [human(row[c]) for c in table.costs]
        cells.append(str(int(row["n_seeds"])) if row["n_seeds"] else MISSING)
        rows.append(cells)
    return TextTable(title(table), header, rows, frozenset(bold), [*notes(table), *(more_notes or [])])


def notes(table: Table) -> list[str]:
    """How to read the table, what it was trained with, and where it came from."""
    baseline = table.spec.name(table.spec.baseline)
    absent = [table.spec.name(m) for m in table.frame.index if table.frame.loc[m, "n_seeds"] == 0]
    return [
        "Scores in percent. Average is over all questions. [a, b]: 95 % stratified bootstrap interval over seeds × "
        f"questions ({statistics.N_DRAWS} draws); one seed: over questions only. pass@k: unbiased estimator. Bold: the "
        "paired interval against every other row excludes 0.",
        f"Against {baseline}: paired difference of average pass@1 in points, same seeds and questions. Holm p: its "
        f"bootstrap p-value adjusted for {counted(table.comparisons)} of this column; bold: below {ALPHA}.",
        "Costs: mean over seeds of the whole training (evaluation not counted).",
        *([f"No runs of: {', '.join(absent)}."] if absent else []),
        *provenance.lines(table.source, table.spec.name),
    ]


def robust_table(table: Table) -> TextTable:
    """Interquartile mean of pass@1 over seeds, pass@5 difference and probability of improvement over the baseline."""
    baseline = table.spec.name(table.spec.baseline)
    header = ["Method", "IQM pass@1, %", f"pass@{K} against {baseline}, points", f"P(run beats a run of {baseline}), %"]
    rows = [
        [table.spec.name(m), cell(r, "iqm_1"), cell(r, f"difference_{K}", sign=True), cell(r, "improvement_1")]
        for m, r in table.frame.iterrows()
    ]
    return TextTable("Over runs", header, rows)


def terminal_tables(table: Table, whole: TextTable | None = None) -> list[TextTable]:
    """The table in three narrow blocks for a terminal: scores, costs, time; the notes under the second one."""
    whole = whole or text_table(table)
    first_cost = whole.header.index(next(iter(COSTS.values())))

    def block(columns: list[int], **changes) -> TextTable:
        bold = frozenset((i, columns.index(j)) for i, j in whole.bold if j in columns)
        rows = [[row[j] for j in columns] for row in whole.rows]
        return replace(whole, header=[whole.header[j] for j in columns], rows=rows, bold=bold, **changes)

    stars = ["*a* is bold in the files."] if whole.bold else []
    return [
        block(list(range(first_cost)), notes=stars),
        block([0, *range(first_cost, len(whole.header))], title="Costs of a run", notes=whole.notes),
        provenance.time_table(table.source, table.spec.name),
    ]
