"""Figures of table 5: pass@1 over the grid of every method, and the training curves of its cells."""

import numpy as np
import pandas as pd

from analysis import curves, style
from analysis.table import Table

LINES = ("-", "--", ":", "-.")  # by updates per rollout
COLOURS = ("#56B4E9", "#D55E00", "#000000", "#009E73", "#CC79A7")  # by learning rate


def _panels(grid: pd.DataFrame, **size):
    """(figure, its panels, methods, learning rates, updates per rollout), the last three in order."""
    methods = list(dict.fromkeys(grid["method"]))
    figure, places = curves.panels(len(methods), **size)
    if not methods:
        curves.legend(places[0], methods)
    return figure, places, methods, *(sorted(grid[c].unique()) for c in ("learning_rate", "updates"))


def figure_heat(table: Table, grid: pd.DataFrame):
    """One panel a method: pass@1 in percent by learning rate and updates per rollout. grid: of `table5`.

    One colour scale for all, which starts at the warm start's pass@1, so that noise does not look like a pattern.
    """
    figure, places, methods, rates, updates = _panels(grid, width=2.3, height=1.7)
    if not methods:
        return figure
    values = table.frame.loc[grid.index, "pass_1"]
    low, high = np.nanmin([values.min(), table.frame["pass_1"].get(style.WARM_START, np.nan)]), values.max()
    image = None
    for axes, method in zip(places, methods, strict=True):
        heat = np.full((len(updates), len(rates)), np.nan)
        for name, cell in grid[grid["method"] == method].iterrows():
            y, x = updates.index(cell["updates"]), rates.index(cell["learning_rate"])
            heat[y, x] = values[name]
            ink = "black" if values[name] > (low + high) / 2 else "white"
            axes.text(x, y, f"{values[name]:.1f}", ha="center", va="center", fontsize=8, color=ink)
        image = axes.imshow(heat, cmap="viridis", vmin=low, vmax=max(high, low + 1), aspect="auto", origin="lower")
        axes.set_title(style.name(method), fontsize=9)
        axes.set(xticks=range(len(rates)), yticks=range(len(updates)))
        axes.set_xticklabels([f"{rate:g}" for rate in rates], fontsize=7)
        axes.set_yticklabels([str(int(n)) for n in updates])
        axes.grid(visible=False)
    curves.label(places, "Learning rate", "Updates per rollout")
    figure.colorbar(image, ax=places, label="pass@1, %")
    return figure


def figure_curves(table: Table, grid: pd.DataFrame):
    """One panel a method: mean reward over training of every cell; colour: learning rate, line: updates per rollout."""
    figure, places, methods, rates, updates = _panels(grid, width=2.5, height=2.1)
    if not methods:
        return figure
    for axes, method in zip(places, methods, strict=True):
        for name, cell in grid[grid["method"] == method].iterrows():
            look = {"ls": LINES[updates.index(cell["updates"]) % len(LINES)], "lw": 1.1}
            look["label"] = f"{cell['learning_rate']:g} · {int(cell['updates'])}"
            colour = COLOURS[rates.index(cell["learning_rate"]) % len(COLOURS)]
            curves.line(axes, table.source, name, "reward_mean", colour, shade=0.07, **look)
        axes.set_title(style.name(method), fontsize=9)
    curves.label(places, "RL step", "Mean reward")
    handles = dict(zip(*reversed(places[0].get_legend_handles_labels()), strict=True))
    figure.legend(
        handles.values(),
        handles,
        title="learning rate · updates",
        loc="outside lower center",
        ncols=6,
        fontsize=7,
        title_fontsize=7,
    )
    return figure
