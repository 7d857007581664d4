"""EPO's figures on table 3: how reward, success and entropy move during training, and its ablations."""

from functools import lru_cache

import numpy as np
import pandas as pd

from analysis import curves, families, forest, format, style, table
from analysis.load import Source
from analysis.statistics import Estimate, gap
from analysis.table3 import BASES, effects
from analysis.text_table import TextTable
from analysis.training_steps import band_of, edges, estimate, last, trained, unfiltered

WINDOW = 5  # RL steps over which a variance of the entropy is taken; ours, EPO's figures do not say
CORE = ("ppo", "ppo+epo", "grpo", "grpo+epo")
ABLATION = ("ppo", "ppo+epo", "epo-base", "epo-decay", "epo-no-dw", "ppo+epo-released")
ABLATION_GRPO = ("grpo", "grpo+epo", "grpo-released", "epo-released")
COLOUR = "#332288"  # of every row with a term of EPO, in panels and lines with their names
CURVES = {
    "success": "Success, %",
    "entropy_early": "Entropy, early",
    "entropy_late": "Entropy, late",
    "entropy_variance": "Variance, 10⁻⁴",
    "factor": "Gradient ×",
    "epo_share_above": "Above, %",
}
"""Column of a run's steps, or what `step_values` adds -> panel title."""
ABLATION_CURVES = ("success", "entropy_early", "entropy_late", "factor")
SCALED = {"success": 100, "epo_share_above": 100, "entropy_variance": 1e4}


@lru_cache(maxsize=2)
def step_values(source: Source) -> pd.DataFrame:
    """The RL steps of all runs with `success` (`training_steps.unfiltered`) and two more columns.

    entropy_variance: sample variance of the batch entropy over the last `WINDOW` RL steps, nats²; NaN before. factor:
    what the gradient of the entropy bonus is multiplied by, mean over tokens: `epo_factor_below` and `_above` for their
    shares of the tokens, 1 for the others; NaN for methods without smoothing.
    """
    steps = unfiltered(source)[0].sort_values(["method", "seed", "step"], ignore_index=True)
    variance = steps.groupby(["method", "seed"])["entropy"].transform(lambda entropy: entropy.rolling(WINDOW).var())
    below = steps["epo_share_below"] * (steps["epo_factor_below"] - 1)
    above = steps["epo_share_above"] * (steps["epo_factor_above"] - 1)
    return steps.assign(entropy_variance=variance, factor=1 + below + above)


def present(source: Source, methods: tuple[str, ...]) -> list[str]:
    """Those of `methods` that were trained, in the given order."""
    found = trained(source)
    return [method for method in methods if method in found]


def figure_curves(
    source: Source, methods: tuple[str, ...], title: str, columns: tuple[str, ...] = tuple(CURVES)
) -> style.Drawn:
    """A line of panels per row with EPO, a panel per column: mean over seeds with 95 % band; grey: the row without."""
    rows = [m for m in present(source, methods) if m in BASES]
    figure, grid = style.subplots(
        max(1, len(rows)),
        len(columns),
        height=0.95 * max(1, len(rows)) + 0.45,
        sharex=True,
        sharey="col",
        squeeze=False,
    )
    values = step_values(source)
    for i, method in enumerate(rows):
        for axes, column in zip(grid[i], columns, strict=True):
            for row, colour, width in ((BASES[method], style.REFERENCE, curves.BASE), (method, COLOUR, 1.2)):
                found = band_of(values[values["method"] == row], column).dropna(subset=["value"])
                if not len(found) and row == method:
                    axes.text(0.5, 0.5, "no smoothing", transform=axes.transAxes, ha="center", color=style.REST[0])
                elif len(found):
                    curves.draw_band(axes, found * SCALED.get(column, 1), colour, lw=width)
        same = families.are_same_runs(source, method, BASES[method]) if BASES[method] in trained(source) else False
        words = [style.name(method).replace(" (", "\n("), *(["= its base"] if same else [])]
        grid[i, 0].set_ylabel("\n".join(words))
    for j, column in enumerate(columns):
        grid[0, j].set_title(CURVES[column])
        grid[-1, j].set_xlabel("RL step")
        if rows:
            curves.from_zero(list(grid[:, j]))
    if not rows:
        curves.nothing(grid[0, 0])
    bases = dict.fromkeys(style.name(BASES[m]) for m in rows)
    keys = [style.line_key("the row named at the left", COLOUR), style.band_key()]
    keys.insert(1, style.line_key("the same method without EPO's terms", style.REFERENCE, lw=curves.BASE))
    caption = (
        f"Mean over seeds, y from 0. {curves.BAND} Grey: {' or '.join(bases) or 'none'}. Success of training rollouts. "
        "Entropies in nats: early and late are the first and last third of an episode's turns. "
    )
    if "entropy_variance" in columns:
        caption += f"Variance: of the batch entropy over {WINDOW} steps, nats². Above: tokens above EPO's corridor. "
    caption += "Gradient ×: what smoothing multiplies the bonus's gradient by, mean over tokens; 1 is the plain bonus."
    style.finish(figure, title, caption, keys)
    return style.Drawn(figure, _curves_say(source, rows))


def _curves_say(source: Source, rows: list[str]) -> str:
    """Which rows end with another entropy than their base."""
    steps, apart = source.steps, []
    for method in rows:
        pair = (last(steps[steps["method"] == m], "entropy_late") for m in (method, BASES[method]))
        found = gap(*pair)
        if found.low > 0 or found.high < 0:
            apart.append(f"{style.name(method)} ({format.number(found.value, 3, sign=True)} nats)")
    return (
        "Rows whose entropy late in an episode differs from that of their base over the last tenth of training (95 % "
        f"interval over seeds, each alone, Welch): {', '.join(apart) or 'none'}."
    )


def figure_last(source: Source, methods: tuple[str, ...], title: str) -> style.Drawn:
    """Gain of each row with EPO over the same method without it, at the last checkpoint: IID, OOD and both."""
    found = effects(source)[0]
    rows = [m for m in methods if m in found.index]
    parts = {"split_iid": "IID", "split_ood": "OOD", "both": "Both"}
    lines = []
    for m in rows:
        row = found.loc[m]
        same = families.are_same_runs(source, m, row["against"])
        estimates = [Estimate(*(row.get(f"{c}{end}", np.nan) for end in ("", "_low", "_high"))) for c in parts]
        lines.append(forest.Line(style.name(m), tuple(estimates), COLOUR, "o", note="= base" if same else ""))
    margin = families.confirmatory("3").margin
    bases = found.loc[rows, "against"] if rows else {}
    against = [
        f"{style.name(b)} ({', '.join(style.name(m) for m in rows if bases[m] == b)})" for b in dict.fromkeys(bases)
    ]
    panels = [forest.Panel("Points of success", text, margin=margin) for text in parts.values()]
    caption = (
        "Success at the last checkpoint on the whole panel, row minus the same method without EPO's terms, mean and "
        "95 % "
        f"interval over seeds × tasks, each alone. Grey band: ±{margin:g} points, inside which a difference counts as "
        f"none. {forest.CLIPPED} Against: {'; '.join(against)}."
    )
    figure = forest.figure(lines, panels, title, caption)
    sure = [style.name(m) for m in rows if found.loc[m, "adjusted_p"] < table.ALPHA]
    return style.Drawn(
        figure,
        f"With an adjusted p below {table.ALPHA} over both splits, EPO's terms change the success of: "
        f"{', '.join(sure) or 'none of these rows'}.",
    )


def answer(source: Source) -> str:
    """EPO's gain over its base methods, from the confirmatory comparisons."""
    found = effects(source)[0]
    said = []
    for method in ("ppo+epo", "grpo+epo"):
        if method in found.index:
            row = found.loc[method]
            shown = format.estimate(Estimate(*(row[f"both{end}"] for end in ("", "_low", "_high"))), sign=True)
            verdict = "a difference" if row["adjusted_p"] < table.ALPHA else "no proof of a difference"
            said.append(f"{style.name(method)} minus {style.name(row['against'])} {shown} points ({verdict})")
    return f"**Answer.** {'; '.join(said) or 'no row with EPO has runs here'}."


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
