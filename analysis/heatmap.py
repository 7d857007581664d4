"""Figures of table 5: pass@1 over the grid of every method, and the training curves of its cells."""

import numpy as np
import pandas as pd

from analysis import curves, format, style
from analysis.statistics import gap
from analysis.table import Table
from analysis.training_steps import band_of, last, unfiltered

COLUMNS = 3  # heat maps side by side


def _setting(cell) -> str:
    return f"{cell['learning_rate']:g} · {int(cell['updates'])}"


def scale(values: pd.Series, widths: pd.Series) -> tuple[float, float]:
    """Ends of the colour scale: the cells inside Tukey's fences, so that a collapsed one does not take it all, and at
    least twice the typical width of an interval, so that noise does not take half of it."""
    low, high = np.nanquantile(values, [0.25, 0.75])
    inside = values[(values >= low - 1.5 * (high - low)) & (values <= high + 1.5 * (high - low))]
    low, high = (inside.min(), inside.max()) if len(inside) else (0.0, 1.0)
    width = np.nanmedian(widths) if np.isfinite(widths).any() else 0.0
    missing = max(0.0, 2 * width - (high - low), 1.0 - (high - low))
    return max(0.0, low - missing / 2), high + missing / 2


def figure_heat(table: Table, grid: pd.DataFrame) -> style.Drawn:
    """One panel a method: pass@1 with its interval by learning rate and updates per rollout. grid: of `table5`."""
    methods = list(dict.fromkeys(grid["method"]))
    rates, updates = (sorted(grid[c].unique()) for c in ("learning_rate", "updates"))
    figure, places = curves.panels(len(methods), per_row=COLUMNS, height=0.42 * max(1, len(updates)) + 0.35)
    title = f"{format.title(table)}: every cell"
    if not methods:
        curves.nothing(places[0])
        style.finish(figure, title, "No cell has runs.")
        return style.Drawn(figure, "No cell has runs.")
    frame = table.frame.loc[grid.index]
    low, high = scale(frame["pass_1"], frame["pass_1_high"] - frame["pass_1_low"])
    for axes, method in zip(places, methods, strict=True):
        heat = np.full((len(updates), len(rates)), np.nan)
        for name, cell in grid[grid["method"] == method].iterrows():
            y, x = updates.index(cell["updates"]), rates.index(cell["learning_rate"])
            heat[y, x] = value = frame.loc[name, "pass_1"]
            shown, ends = f"{value:.1f}", (frame.loc[name, "pass_1_low"], frame.loc[name, "pass_1_high"])
            shown += f"\n[{ends[0]:.0f}, {ends[1]:.0f}]" if np.isfinite(ends[0]) else ""
            ink = "black" if value > (low + high) / 2 else "white"
            axes.text(x, y, shown, ha="center", va="center", fontsize=style.LEAST, color=ink)
        image = axes.imshow(heat, cmap="cividis", vmin=low, vmax=high, aspect="auto", origin="lower")
        curves.heading(axes, style.name(method), style.colour(method))
        axes.set(xticks=range(len(rates)), yticks=range(len(updates)))
        axes.set_xticklabels([f"{rate:g}" for rate in rates])
        axes.set_yticklabels([str(int(n)) for n in updates])
        axes.grid(visible=False)
    curves.label(places, "Learning rate", "Updates per rollout")
    bar = figure.colorbar(
        image, ax=places, label="pass@1, %", extend="min" if frame["pass_1"].min() < low else "neither"
    )
    bar.outline.set_visible(False)
    caption = (
        "pass@1 in percent, mean over seeds, and its 95 % interval over seeds × questions. One colour scale for all; "
        "cells far below the others (Tukey's fences) have its darkest colour, and it is at least twice as wide as the "
        "typical interval, so that neighbours inside noise look alike."
    )
    style.finish(figure, title, caption)
    base = frame.loc[grid.index[grid["method"] == style.BASELINE]]
    best, worst = frame["pass_1"].idxmax(), frame["pass_1"].idxmin()
    says = (
        f"The highest cell is {style.name(grid.loc[best, 'method'])} at {_setting(grid.loc[best])} "
        f"({frame.loc[best, 'pass_1']:.1f} %), the lowest {style.name(grid.loc[worst, 'method'])} at "
        f"{_setting(grid.loc[worst])} ({frame.loc[worst, 'pass_1']:.1f} %)"
    )
    if len(base):
        reach = base.loc[base["pass_1"].idxmax()]
        over = (frame["pass_1_low"] > reach["pass_1_high"]).sum()
        says += f"; {over} cells have an interval wholly above that of {style.name(style.BASELINE)}'s best cell"
    return style.Drawn(figure, f"{says}.")


def figure_curves(table: Table, grid: pd.DataFrame) -> style.Drawn:
    """A line of panels per method, a panel per cell: success over training; grey: the baseline in the same cell."""
    methods = list(dict.fromkeys(grid["method"]))
    settings = grid.drop_duplicates(["learning_rate", "updates"]).sort_values(["updates", "learning_rate"])
    names = [_setting(cell) for _, cell in settings.iterrows()]
    steps, kept_only = unfiltered(table.source)
    figure, panels = style.subplots(
        max(1, len(methods)),
        max(1, len(names)),
        height=0.75 * max(1, len(methods)) + 0.5,
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    cells = {(cell["method"], _setting(cell)): name for name, cell in grid.iterrows()}
    bands = {name: 100 * band_of(steps[steps["method"] == name], "success") for name in grid.index}
    for i, method in enumerate(methods):
        for j, setting in enumerate(names):
            name, base = cells.get((method, setting)), cells.get((style.BASELINE, setting))
            if name and base and base != name and name not in kept_only:
                curves.draw_band(panels[i, j], bands[base], style.REFERENCE, lw=curves.BASE)
            if name:
                look = {"ls": "--" if name in kept_only else "-"}
                curves.draw_band(panels[i, j], bands[name], style.colour(method), **look)
        panels[i, 0].set_ylabel(style.name(method))
    for j, setting in enumerate(names):
        panels[0, j].set_title(setting)
        panels[-1, j].set_xlabel("RL step")
    if methods:
        curves.from_zero(list(panels.flat))
    else:
        curves.nothing(panels[0, 0])
    base = style.name(style.BASELINE)
    caption = (
        "Success of all sampled trajectories in percent, mean over seeds, y from 0; above the panels: learning rate "
        "· updates per "
        f"rollout. Grey: {base} in the same cell. {curves.BAND}"
    )
    dashed = [style.line_key("groups with a signal alone", style.REST[0], ls="--")] if kept_only else []
    if kept_only:
        caption += (
            " Dashed: success of the groups that the method kept alone, which is higher at the same skill; without "
            "base."
        )
    style.finish(figure, f"{format.title(table)}: success during training", caption, [*curves.keys(base), *dashed])
    found = []
    for (method, setting), name in cells.items():
        other = cells.get((style.BASELINE, setting))
        if method != style.BASELINE and other and name not in kept_only:
            pair = (last(steps[steps["method"] == m], "success") for m in (name, other))
            found.append((name, gap(*pair)))
    below = [name for name, e in found if e.high < 0]
    above = [name for name, e in found if e.low > 0]
    return style.Drawn(
        figure,
        f"Over the last tenth of training {len(above)} of {len(found)} comparable cells lie above {base} in the same "
        f"cell "
        f"and {len(below)} below it (95 % interval over seeds, each alone, Welch).",
    )
