"""figures/claims.md and figures/claims.csv: the ledger, the doses, and what others measured on the released models."""

import csv
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from analysis import entropy, fidelity, format, load, power
from analysis.ledger import dose_response, doses
from analysis.ledger.claims import UNDECIDED, Claim, Measured, definitions, verdict
from analysis.ledger.doses import LEAST, Dose
from analysis.ledger.intervals import Interval
from analysis.ledger.measures import measure
from analysis.load import Source
from analysis.text_table import MISSING, TextTable, markdown

DEFINED_AT = "e73fbc6"
"""The commit of `analysis/preregistration.md`; a test holds the file to it."""
TABLES = ("table1", "table2", "table3", "table4")
OTHERS = Path("papers") / "checkpoints" / "evaluations_by_others.csv"


@dataclass(frozen=True)
class Entry:
    """A claim with what was measured for it. dose: of its component, if it is about one. seeds: how many a row would
    find an effect of the margin with a chance of 80 %, where that is what is missing."""

    claim: Claim
    measured: Measured
    dose: Dose | None
    seeds: int | None = None

    @property
    def verdict(self) -> str:
        return verdict(self.claim, self.measured, None if self.dose is None else self.dose.dose)

    @property
    def weakest(self) -> tuple[str, Interval] | None:
        """The effect that is furthest from the claimed side, with its label."""
        sign = 1 if self.claim.side == "above" else -1
        effects = self.measured.effects.items()
        return min(effects, key=lambda item: sign * item[1].value, default=None)


@dataclass(frozen=True)
class Ledger:
    """Entries in the order of the definitions; doses of all components; premises as `entropy.premises` measures them on
    table 2; rows that others measured."""

    entries: list[Entry]
    doses: list[Dose]
    premises: pd.DataFrame
    others: list[dict[str, str]]

    @property
    def markdown(self) -> str:
        """The whole page."""
        return "\n".join(map(markdown, self.tables))

    @property
    def tables(self) -> list[TextTable]:
        """The tables of the page, in order."""
        return [
            ledger_table(self.entries),
            decides_table(self.entries),
            dose_table(self.doses, self.entries),
            premises_table(self.premises, self.entries),
            others_table(self.others),
        ]

    def files(self) -> dict[str, str]:
        """Name -> text."""
        return {"claims.md": self.markdown, "claims.csv": frame(self.entries).to_csv(index=False, float_format="%.4f")}


def load_ledger(data_folder: Path, profile: str = "mini") -> Ledger:
    """The ledger of the published results of a profile; table 6 is left out as long as it has none. UserError for any
    other table without results, or a broken file."""
    later = [name for name in (dose_response.TABLE,) if (data_folder / "results" / profile / name).is_dir()]
    tables = {name: load.load_source(profile, name, load.RESULTS, data_folder) for name in (*TABLES, *later)}
    return ledger(tables, fidelity.load_batch(data_folder / "fidelity"), data_folder / OTHERS)


def ledger(tables: dict[str, Source], batch: fidelity.Batch, others: Path) -> Ledger:
    """The ledger of these tables (name -> source) and this batch."""
    found = doses.doses(batch)
    by_name = {dose.component: dose for dose in found}
    entries = [_entry(c, measure(c.id, tables, batch), by_name.get(c.component), tables) for c in definitions()]
    with others.open(encoding="utf-8", newline="") as file:
        return Ledger(entries, found, entropy.premises(tables["table2"]), list(csv.DictReader(file)))


COMPARED = {
    "A1": ("table2", "grpo"),
    **dict.fromkeys(("A2", "A3", "A4", "A5"), ("table4", "none")),
    **dict.fromkeys(("E2", "E4"), ("table3", "grpo")),
}
"""Claim about a difference of scores -> (table, baseline) whose runs say how many seeds it takes."""


def _entry(claim: Claim, measured: Measured, dose: Dose | None, tables: dict[str, Source]) -> Entry:
    entry, tested = Entry(claim, measured, measured.dose or dose), measured.tested
    if entry.verdict != UNDECIDED or claim.id not in COMPARED:
        return entry
    table, baseline = (tested.table, tested.base) if tested else COMPARED[claim.id]
    found = power.variances(tables[table], baseline)
    return replace(entry, seeds=None if found is None else found.seeds(abs(claim.margin - claim.beyond) / 100))


def frame(entries: list[Entry]) -> pd.DataFrame:
    """A row per effect of every claim; a claim without effects has one row."""
    rows = []
    for entry in entries:
        about = {
            "id": entry.claim.id,
            "paper": entry.claim.paper,
            "claim": entry.claim.claim,
            "verdict": entry.verdict,
            "gate": entry.claim.gate,
            "gate_met": {True: "yes", False: "no", None: ""}[entry.measured.gate],
            "gate_value": entry.measured.gate_value,
            "dose": None if entry.dose is None else entry.dose.dose,
            "runs": entry.measured.runs,
            "seeds_needed": entry.seeds,
        }
        for label, effect in entry.measured.effects.items() or [("", None)]:
            ends = effect and effect.interval()
            rows.append(
                about
                | {
                    "effect": label,
                    "value": ends and ends.value,
                    "low": ends and ends.low,
                    "high": ends and ends.high,
                    "unit": entry.claim.unit,
                    "side": entry.claim.side,
                    "beyond": entry.claim.beyond,
                    "margin": entry.claim.margin,
                }
            )
        for label, condition in entry.measured.conditions.items():
            ends, most = condition.found.interval(), condition.most
            found = {"effect": label, "value": ends.value, "low": ends.low, "high": ends.high, "unit": condition.unit}
            rows.append(about | found | {"side": "below", "beyond": most, "margin": most})
    return pd.DataFrame(rows)


def answer(found: Ledger) -> str:
    """How many claims got which verdict."""
    counts = Counter(entry.verdict for entry in found.entries)
    shown = [
        f"{verdict} {n} ({', '.join(e.claim.id for e in found.entries if e.verdict == verdict)})"
        for verdict, n in counts.items()
    ]
    return f"**Answer.** Of {len(found.entries)} claims: {'; '.join(shown)}."


def ledger_table(entries: list[Entry]) -> TextTable:
    """A row per claim: its verdict, its weakest effect, its gate and its dose."""
    rows, bold = [], set()
    for i, entry in enumerate(entries):
        claim, measured = entry.claim, entry.measured
        gate = {True: f"met: {measured.gate_value}", False: f"not met: {measured.gate_value}", None: MISSING}
        dose = MISSING if entry.dose is None else f"{entry.dose.dose:.2g} %"
        wanted = f" ({entry.seeds} seeds a row would find {abs(claim.margin - claim.beyond):g} {claim.unit})"
        shown = entry.verdict + (wanted if entry.seeds else "")
        rows.append([claim.id, claim.claim, shown, _shown(entry), gate[measured.gate], dose])
        bold.add((i, 2))
    notes = [
        f"How each claim is tested, margins, gates and the rule of the verdict: `analysis/preregistration.md`, commit "
        f"{DEFINED_AT}. Effects with 95 % intervals, conditional on the question panels and the warm starts of "
        "the runs. Of several effects the one furthest from the claim is shown; all stand in `claims.csv`.",
        f"Gate: a premise, measured on the base method. Dose: how much the component changes what it acts on (next "
        f"table); below {LEAST:.0f} % it is not tested.",
    ]
    if later := [entry.claim.id for entry in entries if entry.measured.tested]:
        notes.append(
            f"{', '.join(later)}: from the comparison of table 6 that decides, at the dose at which the gate is met, "
            "chosen before these runs (`analysis/preregistration_regimes.md`)."
        )
    header = ["", "Claim", "Verdict", "Measured", "Gate", "Dose"]
    words = frozenset(range(len(header)))
    return TextTable(
        "What the abstracts of AEPO and EPO claim, and what holds here", header, rows, frozenset(bold), notes, words
    )


def decides_table(entries: list[Entry]) -> TextTable:
    """A row per claim: how it is tested here, and what data would settle it."""
    rows = [[e.claim.id, _tested(e), e.claim.decides] for e in entries]
    return TextTable(
        "How they are tested, and what would decide",
        ["", "Tested as", "What would decide"],
        rows,
        words=frozenset({0, 1, 2}),
    )


def _tested(entry: Entry) -> str:
    """How a claim is tested: as it is defined, or by the later comparison that its data are from."""
    found = entry.measured.tested
    if found is None:
        return entry.claim.here
    also = "".join(f", while {label} falls by {-c.most:g} % or more" for label, c in entry.measured.conditions.items())
    return f"{found.row_name} minus {found.base_name}, pass@1, {found.table.replace('table', 'table ')}{also}"


def _shown(entry: Entry) -> str:
    if entry.weakest is None:
        return MISSING
    label, effect = entry.weakest
    ends = effect.interval()
    count = len(entry.measured.effects)
    which = f" (of {count})" if count > 1 else ""
    runs = f"; {entry.measured.runs}" if entry.measured.runs else ""
    also = ""
    for name, condition in entry.measured.conditions.items():
        e = condition.found.interval()
        also += f"; {name}: {e.value:+.0f} [{e.low:+.0f}, {e.high:+.0f}] {condition.unit}"
    return f"{label}: {ends.value:+.1f} [{ends.low:+.1f}, {ends.high:+.1f}] {entry.claim.unit}{which}{also}{runs}"


def dose_table(found: list[Dose], entries: list[Entry]) -> TextTable:
    """A row per component at its published settings, and one per claim that table 6 decides at another."""
    later = [e for e in entries if e.measured.tested]
    shown = [*((dose.component, dose) for dose in found)]
    shown += [(f"{e.dose.component}, {e.measured.tested.row_name} (table 6)", e.dose) for e in later]
    rows = [[name, dose.unit, f"{dose.dose:.2g} %", dose.detail] for name, dose in shown]
    notes = [
        "Measured on the audit's batch (`figures/fidelity.md`): one RL step of AEPO on table 2's questions, the last "
        "update of the step. EPO's terms act on GRPO's loss there."
    ]
    if later:
        notes.append("Rows of table 6: measured in its runs, but for gradients, which runs do not log.")
    return TextTable(
        "How much each component changes",
        ["Component", "Measure", "Dose", "Consists of"],
        rows,
        notes=notes,
        words=frozenset({0, 1, 3}),
    )


SHAPE = {"A2": "6. H_root and H_tool of a question differ, so that a budget can follow", "A3": "7. Trees over-branch"}
"""Claim -> the premise that its gate measures."""


def premises_table(measured: pd.DataFrame, entries: list[Entry]) -> TextTable:
    """Every premise of AEPO and ARPO, met or not, on the runs of the base methods in table 2."""
    met = {"yes": "met", "no": "not met"}
    rows = []
    for row in measured.itertuples():
        ends = f"[{format.number(row.low, 3)}, {format.number(row.high, 3)}]"
        rows.append([row.premise, f"{format.number(row.measured, 3)} {ends}", met.get(row.holds, MISSING)])
    for entry in entries:
        if entry.claim.id in SHAPE:
            state = "met" if entry.measured.gate else "not met"
            rows.append([f"{SHAPE[entry.claim.id]}: {entry.claim.gate}", entry.measured.gate_value, state])
    notes = [
        "1 to 5: GRPO's runs, 95 % interval over seeds; met if the whole interval lies on the stated side. 6: the "
        "audit's batch. 7: ARPO's runs. How they are measured: `analysis/figure_entropy.ipynb`, `analysis/ledger/`."
    ]
    if any(entry.measured.tested for entry in entries if entry.claim.id in SHAPE):
        notes.append("6 and 7 at the doses of table 6 where it says so.")
    header = ["Premise", "Measured", "Here"]
    return TextTable("The premises of AEPO and ARPO", header, rows, notes=notes, words=frozenset({0, 1, 2}))


def others_table(rows: list[dict[str, str]]) -> TextTable:
    """Evaluations of the released models by others, as printed in public issues."""
    header = ["Model", "Method", "Questions", "Value", "Metric", "By", "Where"]
    cells = [
        [r["model"], r["method"], r["dataset"], r["value"], r["metric"], r["paper"], r["source_url"]] for r in rows
    ]
    notes = [
        "Not measured here. The papers' AIME cells are multiples of 1/30, as of a single run; a cold start without any "
        "RL stands above the released ARPO model on GAIA and HLE in issue 26."
    ]
    return TextTable(
        "What others measured on the released models", header, cells, notes=notes, words=frozenset({0, 1, 2, 4, 5, 6})
    )
