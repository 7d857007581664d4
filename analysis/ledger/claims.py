"""The claims of the two abstracts as `preregistration.md` defines them, and the rule that gives a verdict."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analysis.ledger.doses import LEAST, Dose
from analysis.ledger.intervals import Interval
from analysis.statistics import CONFIDENCE
from reproduce.errors import UserError
from reproduce.yaml_files import parsed

UNDECIDED = "undecided"
DEFINITIONS = Path(__file__).parent.with_name("preregistration.md")
BLOCK = re.compile(r"^### (\w+)\n```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Claim:
    """A definition of `preregistration.md`; the fields are explained there."""

    id: str
    paper: str
    claim: str
    here: str
    gate: str
    side: str
    beyond: float
    margin: float
    unit: str
    decides: str
    component: str | None = None


@dataclass(frozen=True)
class Condition:
    """A bound that holds beside the effects of a claim: `found` is at most `most`. unit: of both."""

    found: Interval
    most: float
    unit: str


@dataclass(frozen=True)
class Tested:
    """A later comparison that decides instead of the definition's: its table, its base row, and both rows in print."""

    table: str
    base: str
    row_name: str
    base_name: str


@dataclass(frozen=True)
class Measured:
    """gate: whether it is met, None where there is none. gate_value: what was measured for it, in words. effects: label
    -> what was measured, in the unit of the claim. runs: how many runs the effects rest on, in words. dose: where it is
    not that of the component's published settings. tested, conditions: where `preregistration_regimes.md` names them.
    """

    gate: bool | None
    gate_value: str
    effects: dict[str, Interval]
    runs: str = ""
    dose: Dose | None = None
    tested: Tested | None = None
    conditions: dict[str, Condition] = field(default_factory=dict)


def definitions(path: Path = DEFINITIONS) -> list[Claim]:
    """The claims in the order of the file. UserError for a block that is not a claim."""
    found = []
    for name, text in BLOCK.findall(path.read_text("utf-8")):
        try:
            claim = Claim(name, **parsed(text, f"{path}, {name},"))
        except TypeError as error:
            raise UserError(f"{path}: {name}: {error}") from None
        if claim.side not in ("above", "below"):
            raise UserError(f"{path}: {name}: side must be above or below, not {claim.side!r}")
        found.append(claim)
    return found


def verdict(claim: Claim, measured: Measured, dose: float | None) -> str:
    """The rule of `preregistration.md`; a condition counts as one more effect, whose `beyond` and `margin` are its
    bound. dose: percent, None where the claim is of no component."""
    if claim.gate == "out of reach":
        return "out of reach"
    if measured.gate is False or (dose is not None and not dose >= LEAST):
        return "not tested"
    found, conditions = measured.effects.values(), measured.conditions.values()
    every = [*found, *(condition.found for condition in conditions)]
    if not found or not np.isfinite([effect.interval().low for effect in every]).all():
        return UNDECIDED
    above = claim.side == "above"
    holds = [e.low > claim.beyond if above else e.high < claim.beyond for e in (x.interval() for x in found)]
    if all([*holds, *(c.found.interval().high <= c.most for c in conditions)]):
        return "reproduced here"
    wide = 1 - (1 - CONFIDENCE) / len(every)
    fails = [e.high <= claim.margin if above else e.low >= claim.margin for e in (x.interval(wide) for x in found)]
    if any([*fails, *(c.found.interval(wide).low > c.most for c in conditions)]):
        return "refuted in this regime"
    return UNDECIDED
