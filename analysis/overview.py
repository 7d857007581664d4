"""The first table of README.md: what AEPO, EPO and the main baselines gain over their base, and whether a claim of a
paper was tested by it."""

from collections.abc import Mapping

from analysis import format, pairing, style
from analysis.ledger.table import Entry, Ledger
from analysis.load import Source
from analysis.statistics import Estimate
from analysis.text_table import MISSING, TextTable

TABLES = ("table1", "table2", "table3")
BASELINES = ("dapo", "cispo", "gppo", "gigpo", "arpo")
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
"""Claim -> the component of AEPO, alone against none of them (table 4)."""


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
    cells = [_difference(tables[table], name, against) for table in TABLES]
    return [style.name(name), style.name(against), *cells, *_claim(entry)]


def _difference(source: Source, name: str, against: str) -> str:
    if not {name, against} <= source.scores.keys():
        return MISSING
    found = pairing.difference(source.scores[name], source.scores[against]).interval()
    return _shown(found, 100)


def _component(label: str, entry: Entry) -> list[str]:
    _, interval = entry.weakest
    effect = f"{_shown(interval.interval())} (table 4)"
    return [f"· {label} alone", "no component", MISSING, effect, MISSING, *_claim(entry)]


def _shown(found: Estimate, times: float = 1) -> str:
    return format.estimate(Estimate(times * found.value, times * found.low, times * found.high), sign=True)


def _claim(entry: Entry | None) -> list[str]:
    if entry is None:
        return [MISSING, MISSING]
    dose = MISSING if entry.dose is None else f"{entry.dose.dose:.2g} %"
    return [dose, f"{entry.claim.id}: {entry.verdict}"]
