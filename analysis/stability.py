"""Runs that fall: every seed's curve of what moves before and during a collapse, and where each run stood at its worst.

A run has collapsed as in `training_steps.collapsed`. The watched quantities are those of the surrogates: how many
tokens lie outside the clip range on either side, how large the gradient is, and how far the policy is from the warm
start.
"""

import numpy as np
import pandas as pd

from analysis import curves, style
from analysis.load import Source
from analysis.text_table import TextTable
from analysis.training_steps import RULE, collapsed, fallen, trained, unfiltered

WATCHED = {
    "success": "Success, %",
    "clip_fraction_low": "Below range, %",
    "grad_norm": "Gradient norm",
    "kl_warm_start": "KL, nats",
}
PERCENT = {"success", "clip_fraction_low", "clip_fraction_high"}
FALLEN = "#D55E00"


def shown(source: Source, always=("grpo", "gppo", "ce-gppo", "aepo")) -> list[str]:
    """Rows for the figure: those with a collapsed run; `always`: gradient kept nowhere, on both sides, above only."""
    return [m for m in trained(source) if m in always or len(fallen(source, m))]


def worst(source: Source) -> pd.DataFrame:
    """A row per method: runs, collapsed runs, and over all its steps the largest share of tokens below and above the
    clip range (percent), the largest gradient norm and the largest KL to the warm start (nats)."""
    largest = ["clip_fraction_low", "clip_fraction_high", "grad_norm", "kl_warm_start"]
    runs = source.steps.groupby("method")
    found = runs[largest].max().loc[trained(source)]
    found[largest[:2]] *= 100
    found.insert(0, "runs", runs["seed"].nunique())
    found.insert(1, "collapsed", [len(fallen(source, method)) for method in found.index])
    return found.reset_index().rename(columns=dict(zip(largest, ("below_percent", "above_percent"), strict=False)))


def worst_table(source: Source) -> TextTable:
    """`worst`, ready to print."""
    rows = [
        [style.name(method), str(runs), str(collapsed), *map(_number, largest)]
        for method, runs, collapsed, *largest in worst(source).itertuples(index=False)
    ]
    header = ["Method", "Runs", "Collapsed", "Below range, %", "Above range, %", "Gradient norm", "KL to warm start"]
    notes = [
        f"Collapsed: {RULE}. The other columns: the largest value of any step of any run; shares of the trained tokens "
        "on either side of the method's clip range, gradient norm before clipping, KL per token in nats."
    ]
    return TextTable("Where runs stood at their worst", header, rows, notes=notes)


def figure_runs(source: Source) -> style.Drawn:
    """Every seed's curve of `WATCHED`, one column per row of `shown`; collapsed runs in colour."""
    methods, steps = shown(source), unfiltered(source)[0]
    figure, grid = style.subplots(
        len(WATCHED), max(1, len(methods)), height=0.95 * len(WATCHED) + 0.5, sharex=True, sharey="row", squeeze=False
    )
    for j, method in enumerate(methods):
        rows, down = steps[steps["method"] == method], fallen(source, method)
        for i, (column, title) in enumerate(WATCHED.items()):
            axes = grid[i, j]
            for seed, run in rows.groupby("seed"):
                values = run.sort_values("step")
                if column == "kl_warm_start":
                    values = values[values[column] > 0]  # 0 before the first update, and the axis is logarithmic
                look = (
                    {"color": FALLEN, "lw": 1.3, "zorder": 3} if seed in down else {"color": style.REFERENCE, "lw": 0.8}
                )
                axes.plot(values["step"], values[column] * (100 if column in PERCENT else 1), **look)
            if column == "kl_warm_start":
                axes.set_yscale("log")
            if j == 0:
                axes.set_ylabel(title)
        grid[0, j].set_title(f"{style.name(method)}\n{len(down)} of {rows['seed'].nunique()} collapsed")
        grid[-1, j].set_xlabel("RL step")
    for i, column in enumerate(WATCHED):
        if methods and column != "kl_warm_start":
            curves.from_zero(list(grid[i]))
    if not methods:
        curves.nothing(grid[0, 0])
    keys = [style.line_key("a run that collapsed", FALLEN, lw=1.3), style.line_key("any other run", style.REFERENCE)]
    caption = (
        f"One line per training run, so no interval. Collapsed: {RULE}, whether or not it came back. Range: the "
        f"method's "
        "clip range. Gradient norm before clipping. KL per token, logarithmic axis."
    )
    style.finish(figure, "Runs that fall, and what moves with them", caption, keys)
    return style.Drawn(figure, answer(source).removeprefix("**Answer.** "))


def answer(source: Source) -> str:
    """Which rows have collapsed runs."""
    found = collapsed(source)
    down = [f"{style.name(m)} ({n} of {runs} runs)" for m, (n, runs) in found.items() if n]
    return f"**Answer.** Of {len(found)} methods {len(down)} have a run that collapsed: {', '.join(down) or 'none'}."


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}" if value < 10 else f"{value:.1f}"
