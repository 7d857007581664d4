"""Algorithms by name: `load("aepo")` is the published setting, `load("aepo", clip_high=0.28)` is your change to it."""

from reproduce.algorithms.aepo import AEPO
from reproduce.algorithms.arpo import ARPO
from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.dapo import DAPO
from reproduce.algorithms.grpo import GRPO
from reproduce.algorithms.settings import nearest
from reproduce.errors import UserError

_ALGORITHMS = {algorithm.name: algorithm for algorithm in (GRPO, DAPO, ARPO, AEPO)}

__all__ = ["Algorithm", "load", "names"]


def names() -> tuple[str, ...]:
    """The methods that `load` knows."""
    return tuple(_ALGORITHMS)


def load(name: str, **overrides) -> Algorithm:
    """The algorithm `name`, with parts (`aggregation="token_mean"`) or settings (`clip_high=0.28`) overridden.

    Raises UserError for an unknown name, part or setting (naming the nearest valid one) and for a bad value.
    """
    if name not in _ALGORITHMS:
        known = ", ".join(names())
        raise UserError(f"unknown method {name!r}; did you mean {nearest(name, _ALGORITHMS)!r}? known: {known}")
    return _ALGORITHMS[name].with_overrides(**overrides)
