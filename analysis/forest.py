"""Forest plots: a line per row with its estimates and their 95 % intervals, and the numbers beside them."""

from dataclasses import dataclass

import numpy as np

from analysis import format, style
from analysis.statistics import Estimate

LINE = 0.165  # inches of a line
GAP = 0.5  # lines between the core rows and the others
CLIPPED = "An arrow: the interval goes on."


@dataclass(frozen=True)
class Line:
    """A row: its name, an estimate per panel, its look, and whether it stands above the gap. note: behind the name."""

    name: str
    estimates: tuple[Estimate, ...]
    colour: str = style.REST[0]
    marker: str = style.REST[1]
    core: bool = True
    note: str = ""


@dataclass(frozen=True)
class Panel:
    """The estimates of a panel: its axis label and title, where a line marks nothing (None: nowhere), and the
    margin inside which a difference counts as none. least: where the axis begins, however large the values are."""

    label: str
    title: str = ""
    zero: float | None = 0.0
    margin: float | None = None
    least: float | None = None
    digits: int = 1
    sign: bool = True


def line_of(name: str, method: str, *estimates: Estimate, core: bool = True, note: str = "") -> Line:
    """A line in the look of a method."""
    return Line(name, estimates, style.colour(method), style.marker(method), core, note)


WIDE = 4  # medians of the intervals' widths: an interval beyond has no say in where an axis ends


def limits(estimates: list[Estimate], panel: Panel) -> tuple[float, float]:
    """Ends of the axis: every value with its interval but those whose interval is `WIDE`, so that one uncertain row
    does not squeeze the others to points; what marks nothing and the margin are always inside."""
    found = [e for e in estimates if np.isfinite(e.value)]
    widths = np.array([e.high - e.low for e in found])
    wide = widths > WIDE * np.median(widths[np.isfinite(widths)]) if np.isfinite(widths).any() else widths > np.inf
    ends = [
        x for e, out in zip(found, wide, strict=True) if not out for x in (e.value, e.low, e.high) if np.isfinite(x)
    ]
    fixed = [x for x in (panel.zero, panel.least, -(panel.margin or 0), panel.margin or 0) if x is not None]
    low, high = min([*ends, *fixed]), max([*ends, *fixed])
    room = 0.05 * max(high - low, 1e-9)
    return (low - room if panel.least is None or low < panel.least else panel.least), high + room


def figure(lines: list[Line], panels: list[Panel], title: str, caption: str, width: float = style.PAGE, handles=()):
    """A panel per estimate of a line, shared rows, the core rows first."""
    lines = [line for line in lines if line.core] + [line for line in lines if not line.core]
    places = np.arange(len(lines)) + GAP * np.array([not line.core for line in lines] if lines else [])
    height = LINE * (max(2, len(lines)) + 1) + 0.5
    drawn, grid = style.subplots(1, len(panels), height=height, width=width, sharey=True, squeeze=False)
    for i, (axes, panel) in enumerate(zip(grid.flat, panels, strict=True)):
        low, high = limits([line.estimates[i] for line in lines], panel)
        if panel.margin:
            axes.axvspan(-panel.margin, panel.margin, color=style.REFERENCE, alpha=0.18, lw=0)
        if panel.zero is not None:
            axes.axvline(panel.zero, color=style.REST[0], lw=0.8)
        for place, line in zip(places, lines, strict=True):
            found = line.estimates[i]
            _draw(axes, place, found, line, (low, high))
            shown = format.estimate(found, panel.digits, panel.sign) if np.isfinite(found.value) else "–"
            at = {"xy": (1, place), "xycoords": axes.get_yaxis_transform()}
            axes.annotate(shown, **at, xytext=(8, 0), textcoords="offset points", va="center", fontsize=style.LEAST)
        axes.set(xlim=(low, high), xlabel=panel.label, title=panel.title)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=8 if len(panels) == 1 else 4, steps=[1, 2, 5, 10])
        if not lines:
            axes.text(0.5, 0.5, "no runs", transform=axes.transAxes, ha="center")
    first = grid.flat[0]
    first.set_yticks(places, [f"{line.name}{f'  ({line.note})' if line.note else ''}" for line in lines])
    first.set_ylim((places[-1] if len(lines) else 0) + 0.6, -0.6)
    for text, line in zip(first.get_yticklabels(), lines, strict=True):
        if line.colour != style.REST[0]:
            text.set(color=line.colour, weight="bold")
    style.finish(drawn, title, caption, handles)
    return drawn


def _draw(axes, place: float, found: Estimate, line: Line, ends: tuple[float, float]) -> None:
    """A point with its interval; an arrow at an end that lies outside the axis, and no point if that does too."""
    if not np.isfinite(found.value):
        return
    if np.isfinite(found.low):
        axes.plot(np.clip([found.low, found.high], *ends), [place, place], color=line.colour, lw=1.2)
        look = {"color": line.colour, "ms": 4, "ls": "none", "clip_on": False}
        if found.low < ends[0]:
            axes.plot([ends[0]], [place], marker="<", **look)
        if found.high > ends[1]:
            axes.plot([ends[1]], [place], marker=">", **look)
    if ends[0] <= found.value <= ends[1]:
        axes.plot(
            [found.value], [place], color=line.colour, marker=line.marker, ms=4.5, ls="none", mec="white", mew=0.4
        )
