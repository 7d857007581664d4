"""Small multiples over RL steps: a panel per row, its base in grey; and the training curves of a table."""

import math
import textwrap

import numpy as np
import pandas as pd

from analysis import format, style
from analysis.load import Source
from analysis.statistics import gap
from analysis.table import Spec
from analysis.training_steps import band_of, last, trained, unfiltered

PER_ROW = 6  # panels of a page's width
SHADE = 0.18
BASE = 2.2  # points of the base's line, which shows on both sides of one that lies on it
BAND = "Shaded: 95 % t interval over seeds, none with one seed; cut where it leaves the axis."


def panels(count: int, per_row: int = PER_ROW, height: float = 0.95, **options):
    """(figure, panels): `count` small panels with shared axes in rows of equal length; unused places are empty."""
    rows = max(1, math.ceil(count / per_row))
    columns = max(1, math.ceil(count / rows))
    options = {"sharex": True, "sharey": True, "squeeze": False} | options
    figure, grid = style.subplots(rows, columns, height=height * rows + 0.35, **options)
    places = list(grid.flat)
    for i, axes in enumerate(places):
        axes.set_visible(i < max(count, 1))
        if i + columns >= count:
            axes.tick_params(labelbottom=True)
    return figure, places[: max(count, 1)]


def label(places, x: str, y: str) -> None:
    """Axis labels of a figure of panels: x below the lowest of every column, y left of the first of every row."""
    for i, axes in enumerate(places):
        below = i + axes.get_subplotspec().get_gridspec().ncols >= len(places)
        axes.set(xlabel=x if below else "", ylabel=y if axes.get_subplotspec().is_first_col() else "")


def draw_band(axes, found: pd.DataFrame, colour: str, shade: float = SHADE, **look) -> None:
    """The line of `training_steps.band` with its interval, whose opacity is `shade`."""
    axes.plot(found.index, found["value"], color=colour, **look)
    axes.fill_between(found.index, found["low"], found["high"], color=colour, alpha=shade, lw=0)


def from_zero(places, top: float | None = None) -> None:
    """y from 0 to a little above the highest line of all panels, whatever their intervals do."""
    values = [np.nanmax(y) for axes in places for line in axes.lines if np.isfinite(y := _numbers(line)).any()]
    for axes in places:
        axes.set_ylim(0, top or 1.08 * max([1e-6, *values]))


def _numbers(line) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)


def nothing(axes) -> None:
    """Says that there are no runs."""
    axes.text(0.5, 0.5, "no runs", transform=axes.transAxes, ha="center")


def heading(axes, text: str, colour: str) -> None:
    """A panel's title in the colour of its line."""
    lines = "\n".join(textwrap.wrap(text, 17))
    axes.set_title(lines, color=colour, weight="bold" if colour != style.REST[0] else "normal")


def keys(base: str, own: str = "the row of the panel") -> list:
    """The legend of panels with a base."""
    found = [style.line_key(own, style.REST[0])]
    return [
        *found,
        *([style.line_key(f"{base}, the base", style.REFERENCE, lw=BASE)] if base else []),
        style.band_key(),
    ]


def figure_curves(source: Source, spec: Spec) -> style.Drawn:
    """Success over training of every row of a table, mean over seeds with 95 % band; grey: the baseline."""
    source = source.comparable
    rows, (steps, kept_only) = spec.order(trained(source)), unfiltered(source)
    rows = [r for r in rows if r in spec.core] + [r for r in rows if r not in spec.core]
    figure, places = panels(len(rows))
    bands = {row: 100 * band_of(steps[steps["method"] == row], "success") for row in rows}
    for axes, row in zip(places, rows, strict=False):
        if spec.baseline in rows and spec.baseline != row and row not in kept_only:
            draw_band(axes, bands[spec.baseline], style.REFERENCE, lw=BASE)
        colour = style.colour(row)
        draw_band(axes, bands[row], colour, ls="--" if row in kept_only else "-")
        heading(axes, spec.name(row), colour)
    from_zero(places)
    label(places, "RL step", "Success, %")
    if not rows:
        nothing(places[0])
    base = spec.name(spec.baseline)
    dashed = [style.line_key("groups with a signal alone", style.REST[0], ls="--")] if kept_only else []
    caption = f"Success of all sampled trajectories, mean over seeds, y from 0. {BAND}{source.begun_note}"
    if kept_only:
        names = " and ".join(spec.name(row) for row in rows if row in kept_only)
        caption += (
            f" Dashed ({names}): these runs logged the success of the groups that they kept alone, which is higher at "
            "the same skill; they are not comparable with the base, which is left out."
        )
    title = f"{format.subject(source, spec)}: success during training"
    style.finish(figure, title, caption, [*keys(base if spec.baseline in rows else ""), *dashed])
    return style.Drawn(figure, training_says(source, spec, steps, kept_only))


def training_says(source: Source, spec: Spec, steps: pd.DataFrame, kept_only: frozenset[str]) -> str:
    """Which rows end above or below the baseline, over the last tenth of the RL steps."""
    rows, base = spec.order(trained(source)), spec.name(spec.baseline)
    ends = {row: 100 * last(steps[steps["method"] == row], "success") for row in rows if row not in kept_only}
    if spec.baseline not in ends:
        return f"{base} has no runs here, so nothing is compared."
    found = {row: gap(ends[row], ends[spec.baseline]) for row in ends if row != spec.baseline}
    sides = {
        "above it": [spec.name(row) for row, e in found.items() if e.low > 0],
        "below it": [spec.name(row) for row, e in found.items() if e.high < 0],
    }
    parts = [
        f"{side} with their 95 % interval (each alone, Welch): {', '.join(names) or 'none'}"
        for side, names in sides.items()
    ]
    level = format.number(float(np.mean(ends[spec.baseline])))
    return f"Over the last tenth of training {base} succeeds in {level} % of what it samples. Rows {'; '.join(parts)}."
