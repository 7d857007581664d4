"""EPO's figures on table 3: how reward, success and entropy move during training, and its ablations."""

from functools import lru_cache

import numpy as np
import pandas as pd

from analysis import curves, format, pairing, style, table
from analysis.load import Source
from analysis.statistics import Estimate
from analysis.table3 import SPEC
from analysis.text_table import TextTable
from analysis.training_steps import band_of, edges, estimate, trained

WINDOW = 5  # RL steps over which a variance of the entropy is taken; ours, EPO's figures do not say
CORE = ("ppo", "ppo+epo", "grpo", "grpo+epo")
ABLATION = ("ppo", "ppo+epo", "epo-base", "epo-decay", "epo-no-dw", "ppo+epo-released")
ABLATION_GRPO = ("grpo", "grpo+epo", "grpo-released", "epo-released")
_EVERY = (*CORE, *ABLATION, *ABLATION_GRPO)
"""So that a method has the same colour and marker in all of these figures."""
CURVES = {
    "reward_mean": "Mean reward, training",
    "check_success_iid": "Success, IID (random tasks)",
    "check_success_ood": "Success, OOD (random tasks)",
    "entropy_early": "Entropy, first third, nats",
    "entropy_late": "Entropy, last third, nats",
    "entropy_variance": f"Variance of entropy, {WINDOW} steps",
    "factor": "Entropy gradient × (all tokens)",
    "epo_share_above": "Share above the corridor",
}
"""Column of a run's steps, or what `step_values` adds -> axis label."""
ABLATION_CURVES = ("reward_mean", "check_success_iid", "check_success_ood", "entropy_late")


@lru_cache(maxsize=2)
def step_values(source: Source) -> pd.DataFrame:
    """The RL steps of all runs with two more columns.

    entropy_variance: sample variance of the batch entropy over the last `WINDOW` RL steps, nats²; NaN before. factor:
    what the gradient of the entropy bonus is multiplied by, mean over tokens: `epo_factor_below` and `_above` for their
    shares of the tokens, 1 for the others; NaN for methods without smoothing.
    """
    steps = source.steps.sort_values(["method", "seed", "step"], ignore_index=True)
    variance = steps.groupby(["method", "seed"])["entropy"].transform(lambda entropy: entropy.rolling(WINDOW).var())
    below = steps["epo_share_below"] * (steps["epo_factor_below"] - 1)
    above = steps["epo_share_above"] * (steps["epo_factor_above"] - 1)
    return steps.assign(entropy_variance=variance, factor=1 + below + above)


def present(source: Source, methods: tuple[str, ...]) -> list[str]:
    """Those of `methods` that were trained, in the given order."""
    found = trained(source)
    return [method for method in methods if method in found]


def figure_curves(source: Source, methods: tuple[str, ...], columns: tuple[str, ...] = tuple(CURVES)):
    """A panel per column, a line per method: mean over seeds with its 95 % band, at the steps that have a value."""
    rows = present(source, methods)
    width = 4 if len(columns) > 4 else len(columns)
    height = -(-len(columns) // width)
    figure, grid = style.subplots(height, width, figsize=(2.75 * width, 2.35 * height + 0.4), squeeze=False)
    values = step_values(source)
    for axes, column in zip(grid.flat, columns, strict=True):
        for method in rows:
            found = band_of(values[values["method"] == method], column).dropna(subset=["value"])
            if len(found):
                colour = style.colour(method, _EVERY)
                dots = {"marker": style.marker(method, _EVERY), "ms": 3} if column.startswith("check") else {}
                curves.draw_band(axes, found, colour, 0.15, label=style.name(method), **dots)
        axes.set_title(CURVES[column], fontsize=8)
        axes.set_xlabel("RL step")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    if rows:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(rows), 6))
    else:
        curves.legend(grid.flat[0], rows)
    return figure


def figure_last(source: Source, methods: tuple[str, ...]):
    """Success of the last checkpoint on the whole panel, IID and OOD, with intervals over seeds and tasks."""
    rows = [m for m in (style.WARM_START, *methods) if m in source.scores]
    figure, grid = style.subplots(1, 2, figsize=(3.4 * 2, 2.9), sharey=True)
    for axes, (column, keep_Q) in zip(grid, sorted(table.part_columns(SPEC, source.scores).items()), strict=False):
        for place, method in enumerate(rows):
            found = pairing.estimate(source.scores[method], 1, keep_Q)
            percent = Estimate(*(100 * x for x in (found.value, found.low, found.high)))
            curves.errorbar(axes, np.array([place]), [percent], style.look(method, _EVERY))
        curves.method_axis(axes, rows)
        axes.set_title(column.removeprefix("split_").upper(), fontsize=8)
    grid[0].set_ylabel("Success, %")
    curves.from_zero(grid[0])
    return figure


def entropy_table(source: Source, methods: tuple[str, ...]) -> TextTable:
    """Entropy at the start and the end of training, early and late in an episode, and its variance over training."""
    header = ["Method", "Entropy early, start", "end", "Entropy late, start", "end", "Variance over training", "Seeds"]
    rows = []
    for method in present(source, methods):
        shown = []
        for column in ("entropy_early", "entropy_late"):
            shown += [format.estimate(estimate(values_S), 3) for values_S in edges(source, method, column)]
        steps = source.steps[source.steps["method"] == method]
        variances_S = steps.groupby("seed")["entropy"].var().to_numpy()
        rows.append(
            [style.name(method), *shown, format.estimate(estimate(variances_S), 5), str(steps["seed"].nunique())]
        )
    note = (
        "Nats; first and last third of an episode's turns. Start and end: first and last tenth of the RL steps. "
        "Variance: of the batch entropy over all steps of a run, nats². Mean over seeds [95 % interval over seeds]."
    )
    return TextTable("Entropy over training", header, rows, notes=[note])


def factor_table(source: Source, methods: tuple[str, ...]) -> TextTable:
    """How much of EPO's smoothing acts: shares outside the corridor, and the factor on the entropy gradient."""
    values = step_values(source)
    header = ["Method", "Share above, %", "Share below, %", "Factor above", "Mean factor", "β first", "β last"]
    rows = []
    for method in present(source, methods):
        run = values[(values["method"] == method) & values["epo_reference_entropy"].notna()]
        if not len(run):
            continue
        by_seed = run.groupby("seed")
        shown = [100 * by_seed[c].mean() for c in ("epo_share_above", "epo_share_below")]
        shown += [by_seed[c].mean() for c in ("epo_factor_above", "factor")]
        beta = run.groupby("step")["epo_phase_weight"].mean()
        digits = (2, 2, 3, 5)
        texts = [format.estimate(estimate(s.to_numpy()), d) for s, d in zip(shown, digits, strict=True)]
        rows.append([style.name(method), *texts, *(f"{beta.iloc[i]:.3f}" for i in (0, -1))])
    note = (
        "Steps with a reference (from the second on), mean over steps and seeds [95 % interval over seeds]. Mean "
        "factor: over all tokens; 1 is the plain entropy bonus."
    )
    return TextTable("What the smoothing changes", header, rows, notes=[note])
