"""Figures of table 5: pass@1 over the grid of every method, and the training curves of its cells."""

import numpy as np

from analysis import draw, style, table5
from analysis.table import Table

LINES = ("-", "--", ":", "-.")
SHADES = ("#56B4E9", "#0072B2", "#000000", "#D55E00", "#E69F00")


def figure_heat(table: Table):
    """One panel a method: learning rate x updates per rollout, pass@1 in percent, one colour scale for all."""
    found = table5.grid(table.source)
    methods = list(dict.fromkeys(found["method"]))
    rates, updates = sorted(found["learning_rate"].unique()), sorted(found["updates"].unique())
    figure, places = draw.panels(len(methods), width=2.3, height=1.7)
    if not methods:
        draw.legend(places[0], methods)
        return figure
    values = table.frame.loc[found.index, "pass_1"]
    image = None
    for axes, method in zip(places, methods, strict=True):
        heat = np.full((len(updates), len(rates)), np.nan)
        for name, cell in found[found["method"] == method].iterrows():
            y, x = updates.index(cell["updates"]), rates.index(cell["learning_rate"])
            heat[y, x] = values[name]
            axes.text(
                x, y, f"{values[name]:.1f}", ha="center", va="center", fontsize=8, color=_ink(values[name], values)
            )
        image = axes.imshow(heat, cmap="viridis", vmin=values.min(), vmax=values.max(), aspect="auto", origin="lower")
        axes.set_title(style.name(method), fontsize=9)
        axes.set(xticks=range(len(rates)), yticks=range(len(updates)), xlabel="Learning rate")
        axes.set_xticklabels([f"{rate:g}" for rate in rates], fontsize=7)
        axes.set_yticklabels([str(int(n)) for n in updates])
        axes.tick_params(labelbottom=True)
        axes.grid(visible=False)
    for axes in places[:: draw.PER_ROW]:
        axes.set_ylabel("Updates per rollout")
    figure.colorbar(image, ax=places, label="pass@1, %")
    return figure


def _ink(value: float, values) -> str:
    span = values.max() - values.min()
    return "black" if span == 0 or (value - values.min()) / span > 0.6 else "white"


def figure_curves(table: Table):
    """One panel a method: mean reward over training of every cell; colour: learning rate, line: updates per rollout."""
    found = table5.grid(table.source)
    methods = list(dict.fromkeys(found["method"]))
    rates, updates = sorted(found["learning_rate"].unique()), sorted(found["updates"].unique())
    figure, places = draw.panels(len(methods))
    if not methods:
        draw.legend(places[0], methods)
        return figure
    for i, (axes, method) in enumerate(zip(places, methods, strict=True)):
        for name, cell in found[found["method"] == method].iterrows():
            look = {"ls": LINES[updates.index(cell["updates"]) % len(LINES)], "lw": 1.1}
            label = f"{cell['learning_rate']:g} · {int(cell['updates'])}"
            colour = SHADES[rates.index(cell["learning_rate"]) % len(SHADES)]
            draw.line(axes, table.source, name, "reward_mean", colour, label=label, **look)
        axes.set_title(style.name(method), fontsize=9)
        axes.set(xlabel="RL step", ylabel="Mean reward" if i % draw.PER_ROW == 0 else "")
        axes.tick_params(labelbottom=True)
    places[0].legend(title="learning rate · updates", fontsize=6, title_fontsize=6)
    return figure
