"""Pieces of figures that several share, and the training curves of a table, one panel a row."""

import math

import numpy as np
import pandas as pd

from analysis import style
from analysis.load import Source
from analysis.statistics import Estimate
from analysis.table import Spec
from analysis.training_steps import band, trained

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


def line(axes, source: Source, method: str, column: str, colour: str, shade: float = 0.18, **look) -> None:
    """Mean over seeds of a step metric with its 95 % band, whose opacity is `shade`.

    The axes fit the lines: the band of three runs, one of which fell, is cut, so that other panels stay readable.
    """
    found, before = band(source, method, column), axes.dataLim.frozen()
    draw_band(axes, found, colour, shade, **look)
    ends = np.column_stack([found.index, found["value"]])
    axes.dataLim.set(before)
    axes.update_datalim(ends[np.isfinite(ends).all(axis=1)])


def draw_band(axes, found: pd.DataFrame, colour: str, shade: float, **look) -> None:
    """The line of `training_steps.band` with its interval, whose opacity is `shade`."""
    axes.plot(found.index, found["value"], color=colour, **{"lw": 1.4, **look})
    axes.fill_between(found.index, found["low"], found["high"], color=colour, alpha=shade, lw=0)


def panels(count: int, width: float = 2.1, height: float = 1.9):
    """(figure, panels): `count` small panels with shared axes in rows of equal length; unused places are empty."""
    rows = max(1, math.ceil(count / PER_ROW))
    columns = max(1, math.ceil(count / rows))
    figure, grid = style.subplots(
        rows, columns, figsize=(width * columns + 0.6, height * rows + 0.3), sharex=True, sharey=True, squeeze=False
    )
    places = list(grid.flat)
    for i, axes in enumerate(places):
        if i >= max(count, 1):
            axes.set_visible(False)
        if i + columns >= count:
            axes.tick_params(labelbottom=True)
    return figure, places[: max(count, 1)]


def label(places, x: str, y: str) -> None:
    """Axis labels of a figure of panels: x below the lowest of every column, y left of the first of every row."""
    for i, axes in enumerate(places):
        last = i + axes.get_subplotspec().get_gridspec().ncols >= len(places)
        axes.set(xlabel=x if last else "", ylabel=y if axes.get_subplotspec().is_first_col() else "")


def figure_curves(source: Source, spec: Spec, column: str = "reward_mean", y: str = "Mean reward"):
    """`column` over training for every row of a table, mean over seeds with 95 % band; grey: the baseline."""
    rows = spec.order(trained(source))
    figure, places = panels(len(rows))
    if not rows:
        legend(places[0], rows)
    for axes, row in zip(places, rows, strict=False):
        if spec.baseline in rows and row != spec.baseline:
            line(axes, source, spec.baseline, column, REFERENCE, lw=1.0)
        line(axes, source, row, column, style.colour(row, rows))
        axes.set_title(spec.name(row), fontsize=8)
    label(places, "RL step", y)
    return figure
