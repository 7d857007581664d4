"""A scatter of estimates: a point per row with its interval on both axes, and labels that lie on no point or label."""

from collections.abc import Collection
from itertools import product

import numpy as np

from analysis import forest, style
from analysis.forest import Line, Panel

HEIGHT = 3.2  # inches of the panels
NEAR, FAR = 9, 130  # points between a label and its point
DIRECTIONS = 24


def figure(lines: list[Line], panels: tuple[Panel, Panel], labelled: Collection[str], title: str, caption: str):
    """The lines' first estimate on the x axis, their second on the y axis: all of them, and where most of them lie.

    Core rows have their colours, the intervals of the rest are grey. An interval that leaves a panel is cut there. A
    row's label stands in the right panel, and in the left one for every row that only that shows.

    Args:
        lines: the rows; one without both values is left out.
        panels: of the x and of the y axis.
        labelled: names of the rows that have a label in the right panel.
        title: of the figure.
        caption: below it.

    Returns:
        The figure.
    """
    drawn, (whole, near) = style.subplots(1, 2, height=HEIGHT, width_ratios=(1, 2.2))
    lines = [line for line in lines if all(np.isfinite(e.value) for e in line.estimates)]
    ends = [forest.limits([line.estimates[i] for line in lines], panel) for i, panel in enumerate(panels)]
    close = _close(lines)
    ends = [(low, max(high, near_high)) for (low, high), (_, near_high) in zip(ends, close, strict=True)]
    for axes, (across, upwards) in ((whole, ends), (near, close)):
        _draw(axes, lines)
        axes.set(xlim=across, ylim=upwards, xlabel=panels[0].label)
        axes.locator_params(axis="x", nbins=4 if axes is whole else 7)
    whole.set(ylabel=panels[1].label, title="All, from 0")
    near.set_title("Where most lie: the frame on the left")
    (left, right), (low, high) = close
    whole.plot([left, right, right, left, left], [low, low, high, high, low], color=style.REST[0], lw=0.6, zorder=7)
    if not lines:
        near.text(0.5, 0.5, "no runs", transform=near.transAxes, ha="center")
    style.finish(drawn, title, caption)
    inside = [all(a <= e.value <= b for e, (a, b) in zip(line.estimates, close, strict=True)) for line in lines]
    _label(near, [line for line, there in zip(lines, inside, strict=True) if there], labelled)
    outside = [line for line, there in zip(lines, inside, strict=True) if not there]
    _label(whole, outside, [line.name for line in outside])
    return drawn


def _draw(axes, lines: list[Line]) -> None:
    for line in sorted(lines, key=lambda one: one.core):
        x, y = line.estimates
        look = {"color": line.colour if line.core else style.REFERENCE, "zorder": 2 + line.core}
        axes.plot([x.low, x.high], [y.value] * 2, lw=1.0 if line.core else 0.6, **look)
        axes.plot([x.value] * 2, [y.low, y.high], lw=1.0 if line.core else 0.6, **look)
        point = {"color": line.colour, "marker": line.marker, "ms": 5 if line.core else 3.5}
        axes.plot([x.value], [y.value], ls="none", mec="white", mew=0.4, zorder=4 + line.core, **point)


def _close(lines: list[Line]) -> list[tuple[float, float]]:
    """Ends of both axes around the rows that lie within Tukey's fences, 1.5 interquartile ranges from the quartiles,
    with room for a typical interval."""
    values = np.array([[e.value for e in line.estimates] for line in lines]).reshape(-1, 2)
    if not len(values):
        return [(0.0, 1.0), (0.0, 1.0)]
    first, third = np.quantile(values, [0.25, 0.75], axis=0)
    fence = 1.5 * (third - first) + 1e-12
    kept = ((values >= first - fence) & (values <= third + fence)).all(axis=1)
    found = []
    for i, of_axis in enumerate(values[kept].T):
        widths = [line.estimates[i].high - line.estimates[i].low for line in lines]
        widths = [width for width in widths if np.isfinite(width)]
        low, high = of_axis.min(), of_axis.max()
        room = max(0.5 * float(np.median(widths)) if widths else 0.0, 0.06 * (high - low), 1e-3)
        found.append((max(0.0, low - room), high + room))
    return found


def _label(axes, lines: list[Line], labelled: Collection[str]) -> None:
    """Labels of the rows in `labelled`, each at the nearest free place, with a thin line to its point.

    A place is free if it lies inside the panel and on no point and no earlier label. The most crowded points come
    first. Where nothing is free the label stands at the nearest place inside.
    """
    from matplotlib.patheffects import withStroke

    axes.figure.canvas.draw()  # the layout, on which places depend
    scale = 72 / axes.figure.dpi
    if not lines:
        return
    points = scale * axes.transData.transform([[e.value for e in line.estimates] for line in lines]).reshape(-1, 2)
    inside = scale * axes.get_window_extent().get_points()
    taken = [_box(point, 3, 3) for point in points]
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    crowded = np.argsort(np.sort(distance, axis=1)[:, : min(5, len(lines))].sum(axis=1), kind="stable")
    for i in crowded:
        line = lines[i]
        if line.name not in labelled:
            continue
        half = np.array([style.text_points(line.name, style.LEAST) / 2 + 1, style.LEAST / 2 + 1])
        places = [place for place in _places(points[i], half) if _within(place, inside)]
        free = [place for place in places if not any(_overlap(place, other) for other in taken)]
        place = (free or places or [_box(points[i], *half)])[0]
        taken.append(place)
        middle = place.mean(axis=0) - points[i]
        axes.annotate(
            line.name,
            [e.value for e in line.estimates],
            xytext=middle,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=style.LEAST,
            color=line.colour,
            weight="bold" if line.core else "normal",
            zorder=6,
            in_layout=False,
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": line.colour, "shrinkA": 0, "shrinkB": 2},
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )


def _box(middle, half_width: float, half_height: float) -> np.ndarray:
    """Lower left and upper right corner, points."""
    return np.array([middle - np.array([half_width, half_height]), middle + np.array([half_width, half_height])])


def _places(point: np.ndarray, half: np.ndarray):
    """Boxes around a point, the nearest first."""
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    for far, angle in product(range(NEAR, FAR, 6), angles):
        direction = np.array([np.cos(angle), np.sin(angle)])
        yield _box(point + direction * (far + half * np.abs(direction)), *half)


def _within(box: np.ndarray, panel: np.ndarray) -> bool:
    return bool((box[0] >= panel[0]).all() and (box[1] <= panel[1]).all())


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a[0] < b[1]).all() and (b[0] < a[1]).all())
