"""A table's numbers as text cells, ready for a file or a terminal."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis import families, provenance, style, training_steps
from analysis.load import Source
from analysis.statistics import Estimate
from analysis.table import ALPHA, K, Spec, Table
from analysis.text_table import MISSING, TextTable


def human(number: float) -> str:
    """1234567 -> `1.23 M`; NaN -> `–`."""
    if not np.isfinite(number):
        return MISSING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g} {unit}" if number < 999.5 * size else f"{number / size:.0f} {unit}"
    return f"{number:.0f}"


def number(value: float, digits: int = 1, sign: bool = False) -> str:
    """1.2, with `sign` +1.2, below zero −1.2 with a true minus sign; NaN -> `–`."""
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−") if np.isfinite(value) else MISSING


def p_value(number: float) -> str:
    """0.031; below a thousandth `< 0.001`; NaN -> `–`."""
    if not np.isfinite(number):
        return MISSING
    return "< 0.001" if number < 0.001 else f"{number:.3f}"


BOLD = "Bold: the difference to every other row lies above 0 with its interval."
PAIRED = "Rows of the same seeds are paired, others compared with all runs of both (Welch)."


def interval(units: str) -> str:
    """How the intervals are made. units: `questions` or `tasks`."""
    return (
        f"[a, b]: 95 % interval over seeds × {units} (two-way random effects, t with Satterthwaite's degrees of "
        f"freedom); one seed: over {units} only, and none for differences"
    )


def adjusted(found: families.Adjusted, name=style.name) -> str:
    """How the p-values of a column of differences are adjusted. name: how rows are called."""
    parts = []
    if found.confirmed:
        parts.append(f"{' and '.join(map(name, found.confirmed))} by Holm, see the confirmatory comparisons")
    if found.exploratory or not parts:
        others = "the other" if parts else "all"
        parts.append(f"{others} {found.exploratory} explore, false discovery rate (Benjamini-Hochberg)")
    return f"{PAIRED} Adjusted p: {'; '.join(parts)}. Bold: below {ALPHA}."


def confirmatory_tables(source: Source, name=style.name) -> list[TextTable]:
    """The comparisons that test a paper's claim, as one table; none where the table has no such claim."""
    frame, family = families.tested(source), families.confirmatory(source.table)
    if family is None or frame.empty:
        return []
    rows, bold = [], set()
    for i, row in enumerate(frame.to_dict("records")):
        single = row["against"] == row["best"]
        against = name(row["best"]) if single else f"{row['against']} ({name(row['best'])})"
        found = Estimate(*(row[f"difference{end}"] for end in ("", "_low", "_high")))
        shown = [estimate(found, sign=True), *(p_value(row[c]) for c in ("p", "p_holm", "p_within"))]
        rows.append([name(row["method"]), against, *shown, f"{row['n_seeds']}, {row['n_against']}"])
        if row["p_holm"] < ALPHA:
            bold.add((i, 2))
    header = ["Method", "Against", "Difference", "p", "Holm p", f"p of {family.margin:g} points or more", "Seeds"]
    count = len(family.comparisons)
    missing = "" if len(frame) == count else f" {count - len(frame)} more lack rows."
    notes = [
        f"What {family.paper} claims: written down {family.written}.{missing}",
        f"Points. Holm p over these {len(frame)}, bold below {ALPHA}. p of {family.margin:g} points or more: small "
        f"where an "
        f"effect of {family.margin:g} points either way is excluded (two one-sided tests).",
    ]
    if not (frame["against"] == frame["best"]).all():
        notes.append(
            "Best of several: above it if above each (intersection-union), below it if below any (Bonferroni); in "
            "brackets the highest mean."
        )
    return [
        TextTable("Confirmatory comparisons", header, rows, frozenset(bold), notes, frozenset({0, 1})),
        *_start_tables(source, name),
    ]


def _start_tables(source: Source, name) -> list[TextTable]:
    """The confirmatory comparisons at each warm start, and over warm starts as a sample; none where there is one."""
    frame = families.at_starts(source)
    if frame.empty:
        return []
    frame["shown"] = [estimate(Estimate(*row), sign=True) for row in frame[["difference", "low", "high"]].to_numpy()]
    wide = frame.pivot(index=["method", "best"], columns="start", values="shown").fillna(MISSING)
    wide = wide.reindex(frame[["method", "best"]].drop_duplicates().apply(tuple, axis=1))
    wide = wide[[*sorted(wide.columns.drop(families.SAMPLE), key=int), families.SAMPLE]]
    rows = [
        [name(method), name(best), *shown] for (method, best), shown in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    notes = [
        "Points, 95 % interval. At one: over its runs and the questions. As a sample: each warm start counts once. The "
        "table above holds for these warm starts; where the last column alone includes 0, another may differ."
    ]
    header = ["Method", "Against", *map(str.capitalize, map(_start_name, wide.columns))]
    return [TextTable("The same by warm start", header, rows, notes=notes, words=frozenset({0, 1}))]


def _start_name(start: str) -> str:
    return "as a sample" if start == families.SAMPLE else f"warm start {start}"


def estimate(found: Estimate, digits: int = 1, sign: bool = False) -> str:
    """`41.2 [38.0, 44.5]`, the value alone where the interval is undefined, or `–`."""
    value, low, high = (number(n, digits, sign) for n in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]" if MISSING not in (value, low) else value


def short(row: pd.Series, column: str, sign: bool = False) -> str:
    """`54.2 ± 5.2`, the mean and half of its interval; with both ends where they are not equally far from it."""
    value, low, high = (float(row.get(name, np.nan)) for name in (column, f"{column}_low", f"{column}_high"))
    if not np.isfinite(low) or abs((low + high) / 2 - value) > 0.05:
        return estimate(Estimate(value, low, high), sign=sign)
    return f"{number(value, sign=sign)} ± {(high - low) / 2:.1f}"


def cell(row: pd.Series, column: str, sign: bool = False) -> str:
    """The estimate of a column, from its `_low` and `_high`; `–` where the row has none."""
    values = (row.get(name, np.nan) for name in (column, f"{column}_low", f"{column}_high"))
    return estimate(Estimate(*values), sign=sign)


def part_label(column: str) -> str:
    """`level_1` -> `Level 1`; `family_mini-math` -> `mini-math`; `split_iid` -> `IID`; `best_iid` -> `IID, best`."""
    kind, _, label = column.partition("_")
    shown = {"level": f"Level {label}", "split": label.upper(), "best": f"{label.upper()}, best of training"}
    return shown.get(kind, label)


WORLDS = {"minihouse": "MiniHouse", "alfworld": "ALFWorld", "scienceworld": "ScienceWorld"}
"""World of episodes -> its name in print."""


def title(table: Table) -> str:
    """`Table 2. mini-deepsearch, profile mini`; with the settings of the command line, if the runs have any."""
    return subject(table.source, table.spec)


def subject(source: Source, spec: Spec) -> str:
    """`title` of the table that `spec` makes of `source`."""
    shown = spec.subject.format(sets=sets(source), world=WORLDS.get(world(source), world(source)))
    settings = f", under {source.settings}" if source.settings else ""
    return f"Table {spec.table}. {shown}, profile {source.profile}{settings}"


def world(source: Source) -> str:
    """The world of episodes that the runs played."""
    return (source.config.get("task") or {}).get("world", "minihouse")


def sets(source: Source) -> str:
    """The question sets that the runs were evaluated on, in the order of their config: `gaia, webwalker and xbench`."""
    shown = {family for scores in source.scores.values() for family in scores.families_Q}
    ordered = (source.config.get("task") or {}).get("families") or []
    names = [name for name in ordered if name in shown] + sorted(shown - set(ordered))
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def score_table(
    table: Table,
    scored: dict[str, str],
    notes: list[str],
    further: dict[str, str] | None = None,
    costs: dict[str, str] | None = None,
    plain: tuple[str, ...] = (),
) -> TextTable:
    """A row per method: scores, difference to the baseline and its adjusted p-value, costs, number of seeds.

    scored, further: column -> header of scores before and after the difference. costs: None takes the table's. plain:
    scores without their intervals.
    """
    further, costs = further or {}, costs or table.costs
    baseline = table.spec.base_name
    header = [
        "Method",
        *scored.values(),
        f"Against {baseline}",
        "Adjusted p",
        *further.values(),
        *costs.values(),
        "Seeds",
    ]
    rows, bold = [], set()
    for i, (method, row) in enumerate(table.frame.iterrows()):
        bold |= {(i, 1 + j) for j, c in enumerate((*scored, "difference_1")) if row.get(f"{c}_bold") in (True, 1)}
        cells = [table.spec.name(method)]
        cells += [number(row.get(c, np.nan)) if c in plain else cell(row, c) for c in scored]
        cells += [cell(row, "difference_1", sign=True), p_value(row["adjusted_1"])]
        cells += [*(cell(row, c) for c in further), *(human(row[c]) for c in costs)]
        rows.append([*cells, seeds(table, method)])
    return TextTable(f"{title(table)}: all rows", header, rows, frozenset(bold), notes, wide=True)


def main_table(table: Table, more_notes: Sequence[str] = ()) -> TextTable:
    """The table as text cells: its levels, families or splits, both averages, and what every table shows."""
    scored = {column: part_label(column) for column in table.parts}
    scored |= {"pass_1": "Average pass@1", f"pass_{K}": f"Average pass@{K}"}
    plain = tuple(table.parts) if len(table.parts) > 2 else ()
    baseline = table.spec.base_name
    notes = [
        f"Scores in percent. Average is over all questions. {interval('questions')}. "
        f"pass@k: unbiased estimator. {BOLD}",
        f"Against {baseline}: difference of average pass@1 in points. {adjusted(table.adjusted, table.spec.name)}",
        "Costs: mean over seeds of the whole training (evaluation not counted).",
        *fewer_starts_note(table),
        *origin(table),
        *more_notes,
    ]
    return score_table(table, scored, notes, plain=plain)


FOLD = 10
"""Rows from which on a table shows its core alone, and all of them in its appendix."""


def core_rows(table: Table) -> list[str]:
    """The rows of the short table, core methods first; all if they are few."""
    rows = [m for m in table.frame.index if table.frame.loc[m, "n_seeds"] or m in table.spec.core]
    core = [m for m in rows if m in (style.WARM_START, *table.spec.core)]
    return core if len(rows) > FOLD else core + [m for m in rows if m not in core]


def appendix(table: Table) -> tuple[str, str]:
    """A note on the appendix: its content and its file."""
    more = len(table.frame) - len(core_rows(table))
    rows = f"{more} more rows, all" if more > 0 else "All"
    return (
        f"{rows} columns, costs, seeds, commits, power, every definition, and what the papers report",
        f"table{table.spec.table}_appendix.md",
    )


def short_table(table: Table, scored: dict[str, str] | None = None, unit: str = "questions") -> TextTable:
    """The table in one glance: the core rows, scores as `mean ± half of the interval`, and four notes at most.

    scored: column -> header of the scores; None: the parts and the average of pass@1.
    """
    spec, frame = table.spec, table.frame.loc[core_rows(table)]
    scored = scored or {column: part_label(column) for column in table.parts} | {"pass_1": "Average pass@1"}
    header = ["Method", *scored.values(), f"Against {spec.base_name}", "Adjusted p", "Seeds"]
    rows, bold = [], set()
    for i, (method, row) in enumerate(frame.iterrows()):
        bold |= {(i, 1 + j) for j, c in enumerate((*scored, "difference_1")) if row.get(f"{c}_bold") in (True, 1)}
        cells = [spec.name(method), *(short(row, c) for c in scored), short(row, "difference_1", sign=True)]
        rows.append([*cells, p_value(row["adjusted_1"]), seeds(table, method)])
    notes = [*short_notes(table, unit), *fewer_starts_note(table), *fallen_note(table)]
    return TextTable(title(table), header, rows, frozenset(bold), notes, more=appendix(table))


def seeds(table: Table, row: str) -> str:
    """The number of a row's seeds, with a mark where they begin at fewer warm starts than the baseline's."""
    count = int(table.frame.loc[row, "n_seeds"])
    return f"{count}{FEWER if row in _fewer_starts(table) else ''}" if count else MISSING


FEWER = " †"


def _fewer_starts(table: Table) -> dict[str, tuple[int, ...]]:
    """Row -> its warm starts, of rows that lack some of the baseline's."""
    scores = table.source.scores
    most = set(scores[table.spec.baseline].starts) if table.spec.baseline in scores else set()
    return {row: tuple(sorted(set(s.starts))) for row, s in scores.items() if not most <= set(s.starts)}


def fewer_starts_note(table: Table) -> list[str]:
    """With what the scores of marked rows compare: the baseline's at the same warm starts."""
    scores, base, notes = table.source.scores, table.spec.baseline, []
    for starts in sorted(set(_fewer_starts(table).values())):
        level = number(100 * float(scores[base].begun_at(starts).correct_SQN.mean()))
        which = f"warm start{'s' if len(starts) > 1 else ''} {', '.join(map(str, starts))}"
        notes.append(
            f"†: at {which} alone, where {table.spec.base_name} has {level}; the row's differences are at {which} too."
        )
    return notes


def short_notes(table: Table, unit: str) -> list[str]:
    """A note on the numbers of the short table."""
    base = table.spec.base_name
    starts = len({start for row in table.source.scores.values() for start in row.starts})
    begin = f"runs begin at {starts} warm starts" if starts > 1 else "all runs start from one warm start"
    return [
        f"Percent, last checkpoint. ±: half of the 95 % interval over seeds × {unit}; {begin}, and no interval counts "
        "others.",
        f"Against {base}: points. p: Holm for a paper's claim, else false discovery rate; bold below {ALPHA} (a score: "
        "above every other row).",
    ]


def fallen_note(table: Table) -> list[str]:
    """Names rows with collapsed runs, whose intervals are a rough guide."""
    found = {row: n for row, n in training_steps.collapsed(table.source).items() if n[0] and row in core_rows(table)}
    names = ", ".join(f"{table.spec.name(row)} {down} of {runs}" for row, (down, runs) in found.items())
    return [f"Collapsed runs, so that intervals are a rough guide: {names}."] if names else []


def origin(table: Table) -> list[str]:
    """Rows without runs, what the others were trained with, and where they came from."""
    absent = [table.spec.name(m) for m in table.frame.index if table.frame.loc[m, "n_seeds"] == 0]
    missing = [f"No runs of: {', '.join(absent)}."] if absent else []
    return [*missing, *provenance.lines(table.source, table.spec.name)]


def robust_table(table: Table) -> TextTable:
    """Interquartile mean of pass@1 over seeds, pass@5 difference, share of pairs of runs that win over the baseline."""
    baseline = table.spec.base_name
    wins = f"Pairs of runs above {baseline}, %"
    header = ["Method", "IQM pass@1, %", f"pass@{K} against {baseline}, points", wins]
    rows = [
        [table.spec.name(m), cell(r, "iqm_1"), cell(r, f"difference_{K}", sign=True), cell(r, "improvement_1")]
        for m, r in table.frame.iterrows()
    ]
    return TextTable("Over runs", header, rows)


def terminal_tables(table: Table, whole: TextTable) -> list[TextTable]:
    """The short table for a terminal, and the time of its runs; costs and all notes stand in the appendix."""
    return [whole, provenance.time_table(table.source, table.spec.name)]
