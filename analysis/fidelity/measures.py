"""The registry of numbers: functions of the batch, of the papers' reported numbers, or of nothing, by their names."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import pandas as pd

from analysis.fidelity.batch import Batch


class Measure(NamedTuple):
    """A number with its unit, and the quantity that it is of. of: what `compute` takes: "batch", "papers" or "formula"
    (nothing)."""

    unit: str
    quantity: str
    of: str
    compute: Callable


MEASURES: dict[str, Measure] = {}


def measure(unit: str, quantity: str, of: str = "batch"):
    """Registers the function that follows under its name."""

    def add(function):
        if function.__name__ in MEASURES:
            raise ValueError(f"two measures are called {function.__name__}")
        MEASURES[function.__name__] = Measure(unit, quantity, of, function)
        return function

    return add


def values(batch: Batch, papers: pd.DataFrame, wanted: Iterable[str] | None = None) -> dict[str, float]:
    """Name -> number, for `wanted` or all. papers: `analysis.reported.load_reported`."""
    given = {"batch": (batch,), "papers": (papers,), "formula": ()}
    chosen = MEASURES if wanted is None else wanted
    return {name: float(MEASURES[name].compute(*given[MEASURES[name].of])) for name in chosen}
