"""Algorithms by name: `load("aepo")` is the published setting, `load("aepo", clip_high=0.28)` is your change to it."""

from importlib import import_module

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.settings import nearest
from reproduce.errors import UserError

# name -> module:constant below this package; one line registers a method
_METHODS = {
    "grpo": "grpo:GRPO",
    "dapo": "dapo:DAPO",
    "arpo": "arpo:ARPO",
    "aepo": "aepo:AEPO",
}

__all__ = ["Algorithm", "load", "names"]


def names() -> tuple[str, ...]:
    """The methods that `load` knows."""
    return tuple(_METHODS)


def load(name: str, **overrides) -> Algorithm:
    """The algorithm `name`, with parts (`aggregation="token_mean"`) or settings (`clip_high=0.28`) overridden.

    Raises UserError for an unknown name, part or setting (naming the nearest valid one) and for a bad value.
    """
    if name not in _METHODS:
        known = ", ".join(names())
        raise UserError(f"unknown method {name!r}; did you mean {nearest(name, _METHODS)!r}? known: {known}")
    module, constant = _METHODS[name].split(":")
    algorithm = getattr(import_module(f"reproduce.algorithms.{module}"), constant)
    return algorithm.with_overrides(**overrides)
