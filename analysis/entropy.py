"""Entropy figures and the papers' premises: does the mini world give the algorithms something to differ on?

Everything is read from steps.parquet (a row per RL step) and the warm start's evaluation. Entropies in nats, full
softmax, mean over loss-mask tokens at rollout. A run's number is its mean over RL steps (undefined steps left out);
intervals are 95 % t intervals over seeds.
"""

from collections.abc import Iterator
from dataclasses import astuple

import numpy as np
import pandas as pd

from analysis import format, pairing, style
from analysis.curves import draw_band, errorbar, from_zero, legend, method_axis
from analysis.load import Source
from analysis.statistics import UNDEFINED, Estimate
from analysis.text_table import MISSING, TextTable
from analysis.training_steps import EDGE, band, edges, estimate, per_seed, trained

POSITIONS = 10
# GRPO's share at full scale: GSPO clips about 15 % of its tokens, two orders of magnitude more than GRPO (arXiv
# 2507.18071, section 5.2). Earlier versions of this table asked for 1 %, without a source.
MIN_OUTSIDE = 0.0015
COLLAPSE = 0.5  # ours: "collapse" = the end is below half of the start
TOP_SHARE = 0.2  # the top-20 % entropy tokens of outside_top20_share


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.divide(over, under, out=np.full(len(over), np.nan), where=np.asarray(under) > 0)


def warm_start_success(source: Source) -> Estimate:
    """The warm start's pass@1 on the panel with its interval over questions; undefined if it was not evaluated."""
    scores = source.scores.get(style.WARM_START)
    return UNDEFINED if scores is None else pairing.estimate(scores)


def premises(source: Source, method: str = style.BASELINE) -> pd.DataFrame:
    """The five premises, measured on `method` (default GRPO, which no entropy rule has touched).

    Columns: premise, measured, low, high, context (the two numbers behind a difference), holds ("yes", "no" or "–").
    A premise holds if its whole interval lies on the stated side.
    """
    if method in trained(source):
        rows = list(_measured(source, method))
    else:
        rows = [(f"no runs of {style.name(method)}", UNDEFINED, MISSING, False)]
    config = source.config.get("warm_start") or {}
    low, high = float(config.get("success_low", 0.10)), float(config.get("success_high", 0.40))
    warm = warm_start_success(source)
    text = f"5. Warm-start success (pass@1 on the test panel) lies in [{low:.2f}, {high:.2f}]"
    rows.append((text, warm, "interval over questions", low <= warm.value <= high))
    return pd.DataFrame(
        [(p, *astuple(e), c, MISSING if np.isnan(e.low) else "yes" if holds else "no") for p, e, c, holds in rows],
        columns=["premise", "measured", "low", "high", "context", "holds"],
    )


def _means(a: np.ndarray, b: np.ndarray, names: tuple[str, str], unit: str) -> str:
    values = [np.nanmean(x) if np.isfinite(x).any() else np.nan for x in (a, b)]
    return ", ".join(
        f"{n} {v:.3f}{unit}" if np.isfinite(v) else f"{n} {MISSING}" for n, v in zip(names, values, strict=True)
    )


def _measured(source: Source, method: str) -> Iterator[tuple[str, Estimate, str, bool]]:
    """(premise, estimate, the numbers behind it, whether its interval lies on the stated side) of premises 1 to 4."""

    def of(column: str) -> np.ndarray:
        return per_seed(source, method, column)

    def at_start(column: str) -> np.ndarray:
        return edges(source, method, column)[0]

    def larger(premise: str, a: np.ndarray, b: np.ndarray, names: tuple[str, str], unit: str = " nats"):
        found = estimate(a - b)
        return f"{premise}, > 0", found, _means(a, b, names, unit), found.low > 0

    def above(premise: str, share: np.ndarray, least: float, behind: str):
        found = estimate(share)
        return f"{premise}, > {least}", found, behind, found.low > least

    premise = "1. Entropy rises right after a tool result: after minus mid-segment, nats"
    yield larger(premise, of("entropy_after_result"), of("entropy_mid_segment"), ("after", "mid-segment"))
    for premise, values in (
        ("2a. High-entropy tool steps come in a row at the start of training", at_start),
        ("2b. The same over all of training (the papers do not say so)", of),
    ):
        premise = f"{premise}: share that follows another minus the same after shuffling"
        pair = values("high_entropy_follow"), values("high_entropy_base")
        yield larger(premise, *pair, ("in order", "shuffled"), "")
    for premise, values in (
        ("3a. Ratios leave the clip range", of),
        ("3a'. The same at the start of training", at_start),
    ):
        behind = "GRPO at full scale (arXiv 2507.18071)"
        yield above(f"{premise}: share of tokens", values("outside_clip_fraction"), MIN_OUTSIDE, behind)
    premise = "3b. Those tokens have more entropy: outside minus inside, nats"
    yield larger(premise, of("entropy_outside"), of("entropy_inside"), ("outside", "inside"))
    premise = "3c. Those tokens are among the 20 % of highest entropy: share"
    yield above(premise, of("outside_top20_share"), TOP_SHARE, f"by chance {TOP_SHARE}")
    start, end = edges(source, method)
    found = estimate(_ratio(end, start))
    premise = f"4. {style.name(method)}'s entropy collapses: end / start, < {COLLAPSE}"
    yield premise, found, _means(start, end, ("start", "end"), " nats"), found.high < COLLAPSE


def premises_table(source: Source, method: str = style.BASELINE) -> TextTable:
    """`premises` as text cells: premise, measured, interval, context, holds?"""
    rows = [
        [
            r.premise,
            format.number(r.measured, 3),
            f"[{format.number(r.low, 3)}, {format.number(r.high, 3)}]" if np.isfinite(r.low) else MISSING,
            r.context,
            r.holds,
        ]
        for r in premises(source, method).itertuples()
    ]
    seeds = source.steps.loc[source.steps["method"] == method, "seed"].nunique()
    note = (
        f"Measured on {style.name(method)}, number of seeds: {seeds}; mean over RL steps; 95 % t interval over seeds, "
        "none with one seed. "
        f"Start and end: first and last {100 * EDGE:.0f} % of the steps. A premise holds if its whole interval lies on "
        "the stated side (5: the value)."
    )
    return TextTable(
        "The papers' premises in this world",
        ["Premise", "Measured", "Interval", "Behind it", "Holds?"],
        rows,
        notes=[note],
        words=frozenset({0, 3, 4}),
    )


def start_end_table(source: Source) -> TextTable:
    """Entropy at start and end and their ratio, for every method."""
    rows = []
    for method in trained(source):
        start, end = edges(source, method)
        shown = (format.estimate(estimate(values_S), 3) for values_S in (start, end, _ratio(end, start)))
        rows.append([style.name(method), *shown])
    return TextTable("Entropy at start and end of training, nats", ["Method", "Start", "End", "End / start"], rows)


TRAINING_PANELS = (
    ("entropy", "Policy entropy (nats per token)"),
    ("success_mean", "Success of training rollouts (share)"),
)


def figure_training(source: Source):
    """Entropy and success over training, mean over seeds with 95 % bands."""
    figure, panels = style.subplots(1, 2, figsize=(8.4, 3.2))
    methods = style.shown(trained(source))
    for axes, (column, label) in zip(panels, TRAINING_PANELS, strict=True):
        for method in methods:
            b = band(source, method, column)
            marks = {"marker": style.marker(method, methods), "markevery": max(1, len(b) // 8), "ms": 4}
            draw_band(axes, b, style.colour(method, methods), 0.15, label=style.name(method), **marks)
        axes.set(xlabel="RL step", ylabel=label)
        from_zero(axes)
    legend(panels[0], methods)
    return figure


def figure_tool_results(source: Source):
    """Entropy by position after a tool result (left) and right after a result against mid-segment (right)."""
    figure, (left, right) = style.subplots(1, 2, figsize=(8.4, 3.2))
    methods = style.shown(trained(source))
    for i, method in enumerate(methods):
        shift = 0.12 * (i - (len(methods) - 1) / 2)
        look = style.look(method, methods) | {"ms": 4, "capsize": 2, "lw": 1}
        estimates = [estimate(per_seed(source, method, f"entropy_pos_{p}")) for p in range(POSITIONS)]
        errorbar(left, np.arange(POSITIONS) + shift, estimates, look | {"ls": "-"}, style.name(method))
        pair = [estimate(per_seed(source, method, c)) for c in ("entropy_after_result", "entropy_mid_segment")]
        errorbar(right, np.arange(2) + shift, pair, look)
    left.set(xlabel="Token position after a tool result (0 = first)", xticks=range(POSITIONS))
    right.set(xticks=[0, 1], xticklabels=["right after a result", "mid-segment"], xlim=(-0.5, 1.5))
    for axes in (left, right):
        axes.set_ylabel("Entropy (nats per token)")
        from_zero(axes)
    legend(left, methods)
    return figure


def figure_in_a_row(source: Source):
    """Share of high-entropy tool steps whose predecessor is one too: in order (filled) against shuffled (open)."""
    figure, axes = style.subplots(figsize=(4.4, 3.2))
    methods = style.shown(trained(source))
    for i, method in enumerate(methods):
        look = style.look(method, methods)
        errorbar(axes, [i - 0.12], [estimate(per_seed(source, method, "high_entropy_follow"))], look)
        errorbar(axes, [i + 0.12], [estimate(per_seed(source, method, "high_entropy_base"))], look | {"mfc": "white"})
    method_axis(axes, methods)
    axes.set_ylabel("Share of high-entropy tool steps\nthat follow another (filled);\nshuffled in trajectory (open)")
    return figure


def figure_clip(source: Source):
    """Tokens outside the clip range: their share (left) and their entropy (filled) against the rest (open) (right)."""
    figure, (left, right) = style.subplots(1, 2, figsize=(8.4, 3.2))
    methods = style.shown(trained(source))
    for i, method in enumerate(methods):
        look = style.look(method, methods)
        errorbar(left, [i], [estimate(100 * per_seed(source, method, "outside_clip_fraction"))], look)
        errorbar(right, [i - 0.12], [estimate(per_seed(source, method, "entropy_outside"))], look)
        errorbar(right, [i + 0.12], [estimate(per_seed(source, method, "entropy_inside"))], look | {"mfc": "white"})
    for axes in (left, right):
        method_axis(axes, methods)
        from_zero(axes)
    left.set_ylabel("Tokens outside the clip range (%)")
    right.set_ylabel("Entropy (nats per token)\noutside (filled), inside (open)")
    return figure
