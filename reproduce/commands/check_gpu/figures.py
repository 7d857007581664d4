"""Figures of a check with their limits, and the reason why one could not run."""

from dataclasses import dataclass


class CannotRun(Exception):
    """Raised by a check that this machine cannot run; its text says what it needs."""


@dataclass(frozen=True)
class Figure:
    """One number of a check. limit: the most (or, with `least`, the least) that passes; None: it is only reported."""

    name: str
    value: float
    unit: str = ""
    limit: float | None = None
    least: bool = False

    @property
    def ok(self) -> bool:
        """Whether it is a number within its limit."""
        if self.value != self.value:
            return False
        if self.limit is None:
            return True
        return self.value >= self.limit if self.least else self.value <= self.limit

    def __str__(self) -> str:
        bound = "" if self.limit is None else f" ({'at least' if self.least else 'at most'} {self.limit:.3g})"
        return f"{self.name} {self.value:.4g} {self.unit}".rstrip() + bound
