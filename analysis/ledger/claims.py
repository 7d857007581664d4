"""The claims of the two abstracts as `preregistration.md` defines them, and the rule that gives a verdict."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.ledger.doses import LEAST
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
class Measured:
    """gate: whether it is met, None where there is none. gate_value: what was measured for it, in words. effects: label
    -> what was measured, in the unit of the claim. runs: how many runs the effects rest on, in words."""

    gate: bool | None
    gate_value: str
    effects: dict[str, "Interval"]
    runs: str = ""


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
    """The rule of `preregistration.md`. dose: percent, None where the claim is of no component."""
    if claim.gate == "out of reach":
        return "out of reach"
    if measured.gate is False or (dose is not None and not dose >= LEAST):
        return "not tested"
    found = measured.effects.values()
    if not found or not np.isfinite([effect.interval().low for effect in found]).all():
        return UNDECIDED
    above = claim.side == "above"
    plain = [effect.interval() for effect in found]
    if all(e.low > claim.beyond if above else e.high < claim.beyond for e in plain):
        return "reproduced here"
    wide = [effect.interval(1 - (1 - CONFIDENCE) / len(plain)) for effect in found]
    if any(e.high <= claim.margin if above else e.low >= claim.margin for e in wide):
        return "refuted in this regime"
    return UNDECIDED
