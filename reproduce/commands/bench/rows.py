"""The comparisons, how much of each is run, and the rows that come out."""

from dataclasses import dataclass

import numpy as np

COMPARISONS = ("rollout", "step", "sandbox", "engine", "tools", "scienceworld", "alfworld")
ENVIRONMENTS = ("scienceworld", "alfworld")
AIMS = {"rollout": (">=", 5.0), "step": ("<=", 1.2), "scienceworld": (">=", 10.0), "alfworld": (">=", 100.0)}
"""Aim of a comparison's headline ratio."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured. demonstrations: for the warm start, where none is cached; turns: of an episode of the
    environments."""

    prompts: int = 16
    group: int = 16
    repetitions: int = 5
    steps: int = 6
    calls: int = 100
    subprocesses: int = 20
    demonstrations: int = 6000
    env_repetitions: int = 3
    turns: int = 30


QUICK = Sizes(prompts=4, group=4, repetitions=2, steps=2, calls=10, subprocesses=3, demonstrations=1600,
              env_repetitions=1, turns=6)  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    """One line of the table: `left` over `right` is `ratio`, the median over `repetitions` paired measurements."""

    comparison: str
    measure: str
    left_name: str
    left: float
    right_name: str
    right: float
    ratio: float
    ratio_low: float
    ratio_high: float
    repetitions: int
    aim: str = ""
    met: str = ""
    note: str = ""


def missing(comparison: str, measure: str, left: str, right: str, reason: str) -> Measurement:
    """The row of what cannot be measured here, and why."""
    nan = float("nan")
    note = f"not available here: {' '.join(reason.split())}"
    return Measurement(comparison, measure, left, nan, right, nan, nan, nan, nan, 0, note=note)


def paired(comparison: str, measure: str, left: tuple[str, list[float]], right: tuple[str, list[float]],
           headline: bool = False, note: str = "") -> Measurement:  # fmt: skip
    """The row of two equally long lists of measurements, paired by repetition.

    headline: the comparison's aim (`AIMS`) is about this row. Raises ValueError on lists of different or no length.
    """
    ratios = [a / b if b else float("nan") for a, b in zip(left[1], right[1], strict=True)]
    if not ratios:
        raise ValueError(f"{comparison}: nothing was measured")
    ratio = float(np.median(ratios))
    aim = met = ""
    if headline and comparison in AIMS:
        sign, bound = AIMS[comparison]
        aim = f"{sign} {bound:g}"
        met = "yes" if (ratio >= bound if sign == ">=" else ratio <= bound) else "no"
    return Measurement(
        comparison, measure, left[0], float(np.median(left[1])), right[0], float(np.median(right[1])), ratio,
        min(ratios), max(ratios), len(ratios), aim, met, note,
    )  # fmt: skip
