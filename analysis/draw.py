"""Pieces of figures that several share, and the training curves of a table, one panel a row."""

import math

import matplotlib.pyplot as plt
import numpy as np

from analysis import style
from analysis.data import Source
from analysis.statistics import Estimate
from analysis.steps import band, trained
from analysis.table import Spec

PER_ROW = 5  # panels of a figure of many
REFERENCE = "#9a9a9a"


def from_zero(axes) -> None:
    """The y axis starts at 0."""
    axes.set_ylim(0, 1.08 * max(axes.dataLim.y1, 1e-6))


def legend(axes, methods) -> None:
    """A legend, or `no runs`."""
    if methods:
        axes.legend()
    else:
        axes.text(0.5, 0.5, "no runs", transform=axes.transAxes, ha="center")


def method_axis(axes, methods) -> None:
    """An x axis with one place per method."""
    names = [style.name(m) for m in methods]
    turned = {"rotation": 40, "ha": "right"} if len(methods) > 5 else {}
    axes.set(xticks=range(len(methods)), xlim=(-0.6, max(len(methods), 1) - 0.4))
    axes.set_xticklabels(names, **turned)


def errorbar(axes, x, estimates: list[Estimate], look: dict, label: str = "") -> None:
    """Points with their intervals; no bar where the interval is undefined."""
    values = np.array([e.value for e in estimates])
    errors = np.nan_to_num(np.abs(np.array([[e.value - e.low, e.high - e.value] for e in estimates]))).T
    axes.errorbar(x, values, yerr=errors, label=label, **look)


def line(axes, source: Source, method: str, column: str, colour: str, **look) -> None:
    """Mean over seeds of a step metric with its 95 % band."""
    found = band(source, method, column)
    axes.plot(found.index, found["value"], color=colour, **{"lw": 1.4, **look})
    axes.fill_between(found.index, found["low"], found["high"], color=colour, alpha=0.18, lw=0)


def panels(count: int, width: float = 2.1, height: float = 1.9):
    """A figure of `count` small panels with shared axes, at most `PER_ROW` in a row; unused places are empty."""
    style.apply()
    columns = max(1, min(PER_ROW, count))
    rows = max(1, math.ceil(count / columns))
    figure, grid = plt.subplots(
        rows, columns, figsize=(width * columns + 0.6, height * rows + 0.3), layout="constrained", sharex=True,
        sharey=True, squeeze=False,
    )  # fmt: skip
    places = list(grid.flat)
    for axes in places[count:]:
        axes.axis("off")
    return figure, places[:count] if count else places


def figure_curves(source: Source, spec: Spec, column: str = "reward_mean", label: str = "Mean reward"):
    """`column` over training for every row of a table, mean over seeds with 95 % band; grey: the baseline."""
    rows = spec.order(trained(source))
    figure, places = panels(len(rows))
    if not rows:
        legend(places[0], rows)
    for i, (axes, row) in enumerate(zip(places, rows, strict=False)):
        if spec.baseline in rows and row != spec.baseline:
            line(axes, source, spec.baseline, column, REFERENCE, lw=1.0)
        line(axes, source, row, column, style.colour(row, rows))
        axes.set_title(spec.name(row), fontsize=8)
        if i % PER_ROW == 0:
            axes.set_ylabel(label)
        if i + PER_ROW >= len(rows):
            axes.set_xlabel("RL step")
            axes.tick_params(labelbottom=True)
    return figure
