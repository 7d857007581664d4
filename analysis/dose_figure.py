"""Figure of table 6: effect against dose, a panel per mechanism, the measured dose below every setting."""

from typing import NamedTuple

import numpy as np

from analysis import curves, differences, families, forest, format, style
from analysis.dose_response import CELLS, NONE, SHARES
from analysis.statistics import Estimate
from analysis.table import Table


class Panel(NamedTuple):
    """title, axis: words. settings: the doses as they are set, in order. column, digits: the measured dose that stands
    below a setting, and its decimals. series: the lines."""

    title: str
    axis: str
    settings: dict[float, str]
    column: str
    digits: int
    series: tuple[str, ...]


KEPT = "clip keeps the gradient"
PANELS = {
    "budget": Panel(
        "Dynamic budget",
        "β; below: spread of m",
        {b: f"{b:g}" for b in (0.5, 2, 5, 10, 20)},
        "m_sd",
        2,
        ("dynamic budget",),
    ),
    "trees": Panel(
        "Branch penalty",
        "share of whole trajectories; below: largest root, %",
        SHARES,
        "largest_root",
        0,
        ("no penalty, against 1/2", "penalty 0.05", "penalty 0.2"),
    ),
    "clip": Panel(
        "Gradient-keeping clip",
        "updates per rollout batch; below: tokens above the bound, %",
        {n: str(n) for n in (8, 16, 32)},
        "above_bound",
        2,
        ("more updates, against 8", KEPT),
    ),
    "advantage": Panel(
        "Entropy-aware advantage",
        "a; below: gradient changed on the audit's batch, %",
        {a: f"{a:g}" for a in (0.2, 0.5, 1)},
        "audit_gradient",
        0,
        ("entropy-aware advantage",),
    ),
}
OWN, PART = style.REST[0], style.LOOKS["aepo"][0]
LOOKS = {
    "no penalty, against 1/2": {"color": OWN, "marker": "s", "ls": ":"},
    "more updates, against 8": {"color": OWN, "marker": "s", "ls": ":"},
    "penalty 0.05": {"color": PART, "marker": "o", "mfc": "white", "ls": "--"},
}
"""Series -> its look; every other is the mechanism's: filled, with a whole line."""
USUAL = {"color": PART, "marker": "D", "ls": "-"}
APART = 0.14  # of a setting's place, between the series of a panel


def figure(built: Table) -> style.Drawn:
    """Effect of every row on pass@1 against its base, by dose."""
    drawn, grid = style.subplots(2, 2, height=3.3, sharey=True)
    family, shown = families.confirmatory(built.spec.table), []
    for axes, (mechanism, panel) in zip(grid.flat, PANELS.items(), strict=True):
        axes.axhspan(-family.margin, family.margin, color=style.REFERENCE, alpha=0.18, lw=0)
        axes.axhline(0, color=OWN, lw=0.8)
        found = _panel(axes, built, mechanism, panel)
        shown += found
        axes.set_title(panel.title)
        axes.set_xlabel(panel.axis)
        axes.set_xticks(range(len(panel.settings)), _ticks(built, mechanism, panel))
        axes.set_xlim(-0.5, len(panel.settings) - 0.5)
        if not found:
            curves.nothing(axes)
    grid[0, 0].set_ylim(*forest.limits(shown, forest.Panel("", margin=family.margin)))
    for axes in grid[:, 0]:
        axes.set_ylabel("Points of pass@1")
    caption = (
        "Points of pass@1, row minus the same row without the mechanism, mean and 95 % interval over seeds × "
        "questions, each alone, none with one seed; one that reaches an end of the axis goes on. Grey band: "
        f"±{family.margin:g} points, the margin inside which a difference counts as none. Below a setting: the dose "
        "measured in the runs, from left to right; what is changed on the audit's batch is no measure of these runs. "
        "Dotted: what the bases of the other lines gain over no component."
    )
    keys = LOOKS | {"the mechanism of the panel; penalty 0.2": USUAL}
    handles = [style.line_key(label, ms=4, **look) for label, look in keys.items()]
    title = f"Table {built.spec.table}: effect of AEPO's mechanisms against their dose, profile {built.source.profile}"
    style.finish(drawn, title, caption, handles)
    return style.Drawn(drawn, says(built))


def rows_of(mechanism: str, series: str) -> dict[float, str]:
    """Dose as it is set -> the row of that line."""
    return {c.at: row for row, c in CELLS.items() if c.mechanism == mechanism and c.series == series}


def says(built: Table) -> str:
    """Which rows differ from their base with their whole interval, each alone."""
    found = {row: differences.estimate(built.frame.loc[row], "difference_1") for row in CELLS}
    known = {row: e for row, e in found.items() if np.isfinite(e.low)}
    if not known:
        return "No row has an interval against its base, so no dose can be told from none."
    above = [built.spec.name(row) for row, e in known.items() if e.low > 0]
    below = [built.spec.name(row) for row, e in known.items() if e.high < 0]
    return (
        f"Of {len(known)} rows, each alone, above their base with the whole interval: {', '.join(above) or 'none'}; "
        f"below it: {', '.join(below) or 'none'}."
    )


def _panel(axes, built: Table, mechanism: str, panel: Panel) -> list[Estimate]:
    """Draws the lines of a panel. Returns their estimates."""
    places, found = list(panel.settings), []
    for i, series in enumerate(panel.series):
        shift = APART * (i - (len(panel.series) - 1) / 2)
        points = []
        for at, row in sorted(rows_of(mechanism, series).items(), key=lambda item: places.index(item[0])):
            estimate = differences.estimate(built.frame.loc[row], "difference_1")
            if np.isfinite(estimate.value):
                points.append((places.index(at) + shift, estimate))
        look = _look(series)
        axes.plot([x for x, _ in points], [e.value for _, e in points], ms=4, lw=1.0, **look)
        for x, estimate in points:
            if np.isfinite(estimate.low):
                axes.plot([x, x], [estimate.low, estimate.high], color=look["color"], lw=1.0)
        found += [estimate for _, estimate in points]
    return found


def _ticks(built: Table, mechanism: str, panel: Panel) -> list[str]:
    """Each setting, and below it the measured dose of every line that has a row there."""
    labels = []
    for at, name in panel.settings.items():
        rows = [NONE] if mechanism == "trees" and at == 0.5 else []
        rows += [found[at] for series in panel.series if at in (found := rows_of(mechanism, series))]
        doses = [format.number(built.frame.loc[row].get(panel.column, np.nan), panel.digits) for row in rows]
        labels.append(f"{name}\n{' / '.join(doses)}")
    return labels


def _look(series: str) -> dict:
    return LOOKS.get(series, USUAL)
