"""Every regime whose test results were seen, with the effects that were seen in it: figures/regimes.{md,csv}.

A table that was trained again under other settings after its test results were known leaves a choice behind that no
interval counts. So all of them stay in the record: `data/results/mini/regimes.csv` and `data/results/history/`.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis import format, load, pairing, style
from analysis.statistics import Effect
from analysis.text_table import MISSING, TextTable, markdown
from reproduce.errors import UserError

COLUMNS = ("table", "regime", "results", "committed", "trained_at", "changed", "why")
COMPARED = {
    "table1": [(m, "grpo") for m in ("dapo", "cispo", "gigpo", "arpo", "aepo")],
    "table2": [(m, "grpo") for m in ("dapo", "cispo", "gigpo", "arpo", "aepo")],
    "table3": [("ppo+epo", "ppo"), ("grpo+epo", "grpo"), ("gigpo", "grpo")],
}
"""Table -> the differences that are followed from regime to regime."""


@dataclass(frozen=True)
class Regime:
    """A line of regimes.csv, the number of seeds of its rows, and what was seen: (method, base) -> effect in points."""

    about: dict[str, str]
    seeds: dict[str, int]
    effects: dict[tuple[str, str], Effect]


def load_regimes(data_folder: Path, profile: str = "mini") -> list[Regime]:
    """The record of a profile, in its order. UserError if a column or results are missing."""
    path = data_folder / "results" / profile / "regimes.csv"
    if not path.is_file():
        raise UserError(f"{path} is missing: it lists every regime whose test results were seen")
    record = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [column for column in COLUMNS if column not in record]
    if missing:
        raise UserError(f"{path} has no column {missing[0]!r}")
    return [_regime(row, data_folder) for row in record.to_dict("records")]


def _regime(about: dict[str, str], data_folder: Path) -> Regime:
    folder = Path(about["results"])
    scores = load.load_source(folder.parent.name, folder.name, load.RESULTS, data_folder).scores
    effects = {}
    for method, base in COMPARED.get(about["table"], []):
        if method in scores and base in scores:
            effects[method, base] = pairing.difference(scores[method], scores[base]).in_points()
    return Regime(about, {name: len(score.seeds) for name, score in scores.items()}, effects)


def frame(regimes: list[Regime]) -> pd.DataFrame:
    """A row per effect of every regime: points, 95 % interval, unadjusted p-value, seeds of both rows."""
    rows = []
    for regime in regimes:
        for (method, base), effect in regime.effects.items():
            ends = effect.interval()
            rows.append(
                {name: regime.about[name] for name in ("table", "regime", "committed")}
                | {"method": method, "against": base, "difference": ends.value, "low": ends.low, "high": ends.high}
                | {"p": effect.p(), "n_seeds": regime.seeds[method], "n_seeds_against": regime.seeds[base]}
            )
    return pd.DataFrame(rows)


def regimes_table(regimes: list[Regime]) -> TextTable:
    """A row per regime: its commits, what was changed and why."""
    names = ("table", "regime", "committed", "trained_at", "changed", "why")
    rows = [[regime.about[name].removeprefix("table") or MISSING for name in names] for regime in regimes]
    header = ["Table", "Regime", "Results", "Code", "Changed", "Why"]
    return TextTable("Every regime whose test results were seen", header, rows, words=frozenset(range(2, 6)))


def effects_table(regimes: list[Regime]) -> TextTable:
    """A row per difference, a column per regime of its table."""
    most = max(len([r for r in regimes if r.about["table"] == table]) for table in COMPARED)
    rows = []
    for table, pairs in COMPARED.items():
        own = [regime for regime in regimes if regime.about["table"] == table]
        for method, base in pairs:
            cells = [_cell(regime, (method, base)) for regime in own] + [MISSING] * (most - len(own))
            rows.append([table.removeprefix("table"), f"{style.name(method)} − {style.name(base)}", *cells])
    notes = [
        "Difference of pass@1 or success in points with its 95 % interval, the unadjusted p-value, and the seeds of "
        "both rows. The last regime of a table is the one that the table shows."
    ]
    header = ["Table", "Difference", *(f"Regime {number}" for number in range(1, most + 1))]
    return TextTable("Effects from regime to regime", header, rows, notes=notes, words=frozenset({1}))


def _cell(regime: Regime, pair: tuple[str, str]) -> str:
    if pair not in regime.effects:
        return MISSING
    effect = regime.effects[pair]
    ends, (a, b) = effect.interval(), (regime.seeds[row] for row in pair)
    seeds = f"{a}" if a == b else f"{a}, {b}"
    return f"{ends.value:+.1f} [{ends.low:+.1f}, {ends.high:+.1f}], p {format.p_value(effect.p())}, {seeds}"


def files(regimes: list[Regime]) -> dict[str, str]:
    """Name -> text."""
    text = "\n".join(map(markdown, (regimes_table(regimes), effects_table(regimes))))
    return {"regimes.md": text, "regimes.csv": frame(regimes).to_csv(index=False, float_format="%.4f")}
