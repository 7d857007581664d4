"""The papers' premises on a real language model: tables and a figure of what `reproduce.commands.premises` measured.

Definitions, and when a premise holds: `analysis/preregistration_lm.md`, which precedes the measurement.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import format, style, text_table
from analysis.text_table import MISSING, TextTable
from reproduce.errors import UserError
from reproduce.runs.files import RESTORE, read_json

CSV, ABOUT = "premises.csv", "premises.json"
HOLDS, FAILS, OPEN, NOT_MEASURED = "holds", "fails", "open", "not measured"

DECIDING = {
    "L1": ("entropy rises after a tool result", "after a result minus other tokens", "", 0.0),
    "L2": ("high-entropy tool steps come in a row", "in a row minus shuffled", "", 0.0),
    "L3": ("H_root − H_tool moves the budget", "standard deviation of m", "", 2.0),
    "L4": ("forks crowd under few roots", "ARPO: largest root's share minus at random", "", 0.0),
    "L5": (
        "high-entropy tokens leave the clip range",
        "rate 1e-06, range to 1.2: entropy outside minus inside",
        "16",
        0.0,
    ),
}
"""Premise -> its name, the quantity that decides, at which update, and what the interval must lie above."""


@dataclass(frozen=True, eq=False)
class Measured:
    """rows: premises.csv; about: premises.json."""

    rows: pd.DataFrame
    about: dict

    def of(self, premise: str, quantity: str) -> pd.DataFrame:
        """The rows of a quantity, in order."""
        return self.rows[(self.rows["premise"] == premise) & (self.rows["quantity"] == quantity)]


def load(folder: Path) -> Measured:
    """The measurement in `folder`. UserError if a file is missing or damaged, or a deciding row is there twice."""
    path = Path(folder) / CSV
    try:
        rows = pd.read_csv(path, dtype={"at": str}).fillna({"at": ""})
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {RESTORE}") from None
    columns = {"premise", "quantity", "at", "value", "low", "high", "n", "unit"}
    if set(rows.columns) != columns:
        raise UserError(f"{path}: must have the columns {', '.join(sorted(columns))}; {RESTORE}")
    measured = Measured(rows, read_json(Path(folder) / ABOUT, RESTORE))
    for premise in DECIDING:
        _deciding(measured, premise, path)
    return measured


def _deciding(measured: Measured, premise: str, path: Path | str = CSV) -> pd.Series | None:
    _, quantity, at, _ = DECIDING[premise]
    found = measured.of(premise, quantity)
    found = found[found["at"] == at]
    if len(found) > 1:
        raise UserError(f"{path}: {premise}, {quantity}: must be there once; {RESTORE}")
    return found.iloc[0] if len(found) else None


def verdict(row: pd.Series, beyond: float) -> str:
    """Whether an interval lies above `beyond`, below it, or on both sides."""
    if row["low"] > beyond:
        return HOLDS
    return FAILS if row["high"] < beyond else OPEN


def _cell(row: pd.Series) -> str:
    digits = 4 if row["unit"].startswith("share") and abs(row["value"]) < 0.1 else 3
    value = format.number(row["value"], digits)
    if value == MISSING or np.isnan(row["low"]):
        return value
    return f"{value} [{format.number(row['low'], digits)}, {format.number(row['high'], digits)}]"


def verdicts_table(measured: Measured) -> TextTable:
    """A row per premise: what decides, and the verdict."""
    rows = []
    for premise, (name, quantity, at, beyond) in DECIDING.items():
        row = _deciding(measured, premise)
        what = f"{quantity}{f', after {at} updates' if at else ''}"
        said = [MISSING, MISSING, NOT_MEASURED]
        if row is not None:
            said = [f"{_cell(row)} {row['unit']}", str(int(row["n"])), verdict(row, beyond)]
        rows.append([premise, name, what, f"> {beyond:g}", *said])
    header = ["", "Premise", "Measured", "Must be", "Value [95 %]", "Questions", "Verdict"]
    return TextTable(
        "Premises on a real language model", header, rows, notes=notes(measured), words=frozenset({0, 1, 2, 6})
    )


def notes(measured: Measured) -> list[str]:
    """Say which model was asked what."""
    s, warm = measured.about["settings"], measured.about["warm"]
    correct, calls = (warm[name] for name in ("correct", "calls"))
    return [
        f"Model: {s['model']}, after SFT on demonstrations (warm start {s['warm_start']}), before any reinforcement "
        f"learning. Validation panel of table {s['table']}, profile {s['profile']}: {s['questions']} questions × "
        f"{s['group']} trajectories.",
        f"Of these {100 * correct['value']:.0f} % are right, with {calls['value']:.1f} tool calls each.",
        "Definitions: analysis/preregistration_lm.md. Intervals are over questions, for this one warm start.",
    ]


def quantities_table(measured: Measured) -> TextTable:
    """Every quantity but the curves over positions."""
    shown = measured.rows[~measured.rows["quantity"].str.startswith("position ")]
    rows = [
        [r["premise"], r["quantity"], r["at"] or MISSING, _cell(r), str(int(r["n"])), r["unit"]]
        for _, r in shown.iterrows()
    ]
    header = ["", "Quantity", "After updates", "Value [95 %]", "Questions", "Unit"]
    return TextTable("All quantities", header, rows, words=frozenset({0, 1, 5}))


def figure(measured: Measured) -> style.Drawn:
    """Left: entropy by position after a tool result and in the first turn. Right: share of tokens outside the range."""
    made, (left, right) = style.subplots(1, 2, height=2.0)
    looks = {
        "position after a result": ("#D55E00", "after a tool result"),
        "position in the first turn": ("#0072B2", "first turn"),
    }
    for quantity, (colour, label) in looks.items():
        curve = measured.of("L1", quantity).dropna(subset=["value"])
        at = curve["at"].astype(int)
        left.plot(at, curve["value"], color=colour, marker="o", ms=3, label=label)
        left.fill_between(at, curve["low"].clip(lower=0), curve["high"], color=colour, alpha=0.15, lw=0)
    left.set(xlabel="position in the turn, tokens", ylabel="entropy, nats")
    left.legend(loc="upper right")
    shares = measured.rows[measured.rows["quantity"].str.endswith("range to 1.2: share outside")]
    for (quantity, rows), (colour, marker) in zip(
        shares.groupby("quantity", sort=False), (("#000000", "o"), ("#009E73", "s")), strict=False
    ):
        label = quantity.partition(",")[0].replace("rate", "learning rate")
        right.plot(rows["at"].astype(int), 100 * rows["value"], color=colour, marker=marker, ms=5, label=label)
    right.set(xlabel="updates on one batch", ylabel="tokens outside [0.8, 1.2], %", ylim=(0, None))
    right.legend(loc="upper left")
    caption = "Before any training. Shaded: 95 % interval over questions. Shares have none: one batch of groups each."
    style.finish(made, "Premises on a real language model", caption)
    after = measured.of("L1", "position after a result").dropna(subset=["value"])
    if after.empty:
        return style.Drawn(made, "No token after a tool result was measured.")
    first, highest = after.iloc[0], after.loc[after["value"].idxmax()]
    says = (
        f"After a tool result entropy is {first['value']:.2f} nats at the first token and highest, "
        f"{highest['value']:.2f}, at position {highest['at']}."
    )
    return style.Drawn(made, says)


def files(measured: Measured) -> dict[str, str]:
    """Name -> text of lm_premises.md."""
    tables = (verdicts_table, quantities_table)
    return {"lm_premises.md": "\n".join(text_table.markdown(table(measured)) for table in tables)}
