"""Numbers with intervals that are no means over runs: exact ones, shares of runs, ratios."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import stats

from analysis.statistics import CONFIDENCE, Effect, Estimate


class Interval(Protocol):
    """A number with an interval of any confidence, as `analysis.statistics.Effect`."""

    value: float

    def interval(self, confidence: float = CONFIDENCE) -> Estimate:
        """The number and the ends of its interval."""


@dataclass(frozen=True)
class Exact:
    """A number without error."""

    value: float

    def interval(self, confidence: float = CONFIDENCE) -> Estimate:
        return Estimate(self.value, self.value, self.value)


@dataclass(frozen=True)
class Share:
    """Percent of runs, with its exact interval (Clopper and Pearson 1934)."""

    count: int
    runs: int

    @property
    def value(self) -> float:
        return 100 * self.count / self.runs

    def interval(self, confidence: float = CONFIDENCE) -> Estimate:
        return self._ends("exact", confidence)

    def wilson(self, confidence: float) -> Estimate:
        """The interval of Wilson (1927)."""
        return self._ends("wilson", confidence)

    def _ends(self, method: str, confidence: float) -> Estimate:
        ends = stats.binomtest(self.count, self.runs).proportion_ci(confidence, method)
        return Estimate(self.value, 100 * ends.low, 100 * ends.high)


@dataclass(frozen=True)
class ShareDifference:
    """Difference of two shares of runs in percentage points, with Newcombe's interval (1998, Statistics in Medicine 17,
    873-890, method 10): the ends of both Wilson intervals, put together."""

    a: Share
    b: Share

    @property
    def value(self) -> float:
        return self.a.value - self.b.value

    def interval(self, confidence: float = CONFIDENCE) -> Estimate:
        a, b = self.a.wilson(confidence), self.b.wilson(confidence)
        low = self.value - float(np.hypot(a.value - a.low, b.high - b.value))
        return Estimate(self.value, low, self.value + float(np.hypot(a.high - a.value, b.value - b.low)))


@dataclass(frozen=True)
class Ratio:
    """exp(log) - 1 in percent. log: the effect on the logarithm."""

    log: Effect

    @property
    def value(self) -> float:
        return 100 * (np.exp(self.log.value) - 1)

    def interval(self, confidence: float = CONFIDENCE) -> Estimate:
        found = self.log.interval(confidence)
        return Estimate(*(100 * (np.exp(end) - 1) for end in (found.value, found.low, found.high)))
