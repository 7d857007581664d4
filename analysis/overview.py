"""The first table of README.md: what AEPO, EPO and the main baselines gain over their base, and whether a claim of a
paper was tested by it."""

from collections.abc import Mapping

from analysis import families, forest, format, pairing, style
from analysis.ledger.table import Entry, Ledger
from analysis.load import Source
from analysis.statistics import UNDEFINED, Estimate
from analysis.text_table import MISSING, TextTable

SUBJECTS = {"table1": "Table 1: reasoning", "table2": "Table 2: deep search", "table3": "Table 3: 30 turns"}
TABLES = tuple(SUBJECTS)
BASELINES = ("reinforce++", "dapo", "gppo", "cispo", "gigpo", "arpo")
"""AEPO's seven baselines but GRPO."""
ROWS = (*((name, "grpo") for name in (*BASELINES, "aepo")), ("ppo+epo", "ppo"), ("grpo+epo", "grpo"))
"""(row, what it is compared with)."""
CLAIMS = {"aepo": "A1", "ppo+epo": "E2", "grpo+epo": "E2"}
"""Row -> the claim of the ledger that is about it."""
COMPONENTS = {
    "A2": "dynamic budget",
    "A3": "branch penalty",
    "A4": "gradient-keeping clip",
    "A5": "entropy-aware advantage",
}
"""Claim -> the component of AEPO, alone against none of them (table 4; where it has results, table 6)."""


def overview(tables: Mapping[str, Source], ledger: Ledger) -> TextTable:
    """The table.

    Args:
        tables: name -> source of `TABLES`.
        ledger: of the same results.
    """
    entries = {entry.claim.id: entry for entry in ledger.entries}
    rows = []
    for name, against in ROWS:
        rows.append(_row(name, against, tables, entries))
        if name == "aepo":
            rows += [_component(label, entries[claim]) for claim, label in COMPONENTS.items()]
    return TextTable(
        "What the methods add",
        ["Method", "Against", "Table 1", "Table 2", "Table 3", "Dose", "The paper's claim here"],
        rows,
        words=frozenset({0, 1, 6}),
    )


def _row(name: str, against: str, tables: Mapping[str, Source], entries: Mapping[str, Entry]) -> list[str]:
    entry = entries.get(CLAIMS.get(name, ""))
    cells = [format.estimate(difference(tables[table], name, against), sign=True) for table in TABLES]
    return [style.name(name), style.name(against), *cells, *_claim(entry)]


def figure(tables: Mapping[str, Source]) -> style.Drawn:
    """The same differences as a forest plot. tables: as of `overview`."""
    lines, above, below = [], [], []
    for name, against in ROWS:
        found = [difference(tables[table], name, against) for table in TABLES]
        lines.append(forest.line_of(f"{style.name(name)} − {style.name(against)}", name, *found))
        for table, one in zip(TABLES, found, strict=True):
            (above if one.low > 0 else below if one.high < 0 else []).append(f"{style.name(name)} ({table[-1]})")
    panels = [
        forest.Panel("Points", SUBJECTS[table], margin=families.confirmatory(table.removeprefix("table")).margin)
        for table in TABLES
    ]
    seeds = {len(tables[t].scores[name].seeds) for t in TABLES for name, _ in ROWS if name in tables[t].scores}
    title = "AEPO, EPO and baselines against what they build on"
    caption = (
        f"Difference of pass@1 (table 3: success) at the last checkpoint, mean over {min(seeds)} to {max(seeds)} "
        "training seeds, with 95 % intervals over seeds and questions, not adjusted for their number. Grey: inside the "
        f"margin. Models of up to 159,000 weights in small worlds. {forest.CLIPPED}"
    )
    says = (
        f"Above what they build on with their interval (table): {', '.join(above) or 'none'}; below: "
        f"{', '.join(below) or 'none'}."
    )
    return style.Drawn(forest.figure(lines, panels, title, caption), says)


def difference(source: Source, name: str, against: str) -> Estimate:
    """`name` minus `against`, points; NaN where one has no runs."""
    if not {name, against} <= source.scores.keys():
        return UNDEFINED
    return pairing.difference(source.scores[name], source.scores[against]).in_points().interval()


def _component(label: str, entry: Entry) -> list[str]:
    where, interval = entry.weakest
    effect, tested = format.estimate(interval.interval(), sign=True), entry.measured.tested
    name, against = (f"{label}, {tested.row_name}", tested.base_name) if tested else (label, "no component")
    return [f"· {name} alone", against, MISSING, f"{effect} ({where.rpartition(', ')[2]})", MISSING, *_claim(entry)]


def _claim(entry: Entry | None) -> list[str]:
    if entry is None:
        return [MISSING, MISSING]
    dose = MISSING if entry.dose is None else f"{entry.dose.dose:.2g} %"
    return [dose, f"{entry.claim.id}: {entry.verdict}"]
