"""Entropy figures and the papers' premises: does the mini world give the algorithms something to differ on?

Everything is read from steps.parquet (a row per RL step) and the warm start's evaluation. Entropies in nats, full
softmax, mean over loss-mask tokens at rollout. A run's number is its mean over RL steps (undefined steps left out);
intervals are 95 % t intervals over seeds.
"""

from collections.abc import Iterator
from dataclasses import astuple

import numpy as np
import pandas as pd

from analysis import curves, forest, format, pairing, style
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


RANGES = {"dapo": "0.8 to 1.28", "gppo": "0.8 to 1.28", "cispo": "0 to 5"}
"""Methods whose clip range is not the others' 0.8 to 1.2; it is what "outside" means for them."""
OVER_SEEDS = "95 % t interval over seeds, none with one seed"


def _rows(source: Source) -> list[str]:
    return style.shown(trained(source))


def _names(methods) -> str:
    return ", ".join(map(style.name, methods)) or "none"


def figure_training(source: Source) -> style.Drawn:
    """Entropy over training, a panel per method, mean over seeds with 95 % bands; grey: GRPO."""
    source = source.comparable
    methods, base = _rows(source), style.BASELINE
    figure, places = curves.panels(len(methods), per_row=4, height=1.05)
    for axes, method in zip(places, methods, strict=False):
        if base in methods and method != base:
            curves.draw_band(axes, band(source, base, "entropy"), style.REFERENCE, lw=curves.BASE)
        curves.draw_band(axes, band(source, method, "entropy"), style.colour(method))
        curves.heading(axes, style.name(method), style.colour(method))
    curves.from_zero(places)
    curves.label(places, "RL step", "Entropy, nats")
    if not methods:
        curves.nothing(places[0])
    caption = f"Policy entropy per token at rollout (full softmax), mean over seeds, y from 0. {curves.BAND}"
    caption += source.begun_note
    style.finish(
        figure, "Policy entropy during training", caption, curves.keys(style.name(base) if base in methods else "")
    )
    found = {m: estimate(_ratio(*reversed(edges(source, m)))) for m in methods}
    fallen = [m for m, e in found.items() if e.high < COLLAPSE]
    return style.Drawn(
        figure,
        f"The entropy of {len(fallen)} of {len(methods)} methods ends below half of its start with its whole interval "
        f"(first and last tenth of training): {_names(fallen)}.",
    )


def figure_tool_results(source: Source) -> style.Drawn:
    """Entropy by position after a tool result, a panel per method, and the mean of all other tokens as a line."""
    source = source.comparable
    methods, base = _rows(source), style.BASELINE
    figure, places = curves.panels(len(methods), per_row=4, height=1.05)
    positions = np.arange(POSITIONS)

    def of(method: str) -> pd.DataFrame:
        found = [estimate(per_seed(source, method, f"entropy_pos_{p}")) for p in positions]
        return pd.DataFrame([astuple(e) for e in found], columns=["value", "low", "high"], index=positions)

    for axes, method in zip(places, methods, strict=False):
        colour = style.colour(method)
        if base in methods and method != base:
            curves.draw_band(axes, of(base), style.REFERENCE, lw=curves.BASE)
        curves.draw_band(axes, of(method), colour, marker=style.marker(method), ms=2.5)
        rest = estimate(per_seed(source, method, "entropy_mid_segment"))
        axes.axhline(rest.value, color=colour, lw=0.9, ls=":")
        if np.isfinite(rest.low):
            axes.axhspan(rest.low, rest.high, color=colour, alpha=curves.SHADE, lw=0)
        curves.heading(axes, style.name(method), colour)
        axes.set_xticks(positions[::3])
    curves.from_zero(places)
    curves.label(places, "Tokens after the result", "Entropy, nats")
    if not methods:
        curves.nothing(places[0])
    caption = (
        "Mean entropy of the sampled token at position 0 to 9 after a tool result, over all of training, y from 0. "
        f"Dotted: tokens further from a result. Shaded: {OVER_SEEDS}."
    )
    dotted = style.line_key("tokens further from a result", style.REST[0], ls=":", lw=0.9)
    keys = [*curves.keys(style.name(base) if base in methods else ""), dotted]
    caption += source.begun_note
    style.finish(figure, "Entropy right after a tool result", caption, keys)
    raised = [m for m in methods if _after_minus_mid(source, m).low > 0]
    return style.Drawn(
        figure,
        f"Tokens right after a tool result have more entropy than the others, with the whole interval above 0, in "
        f"{len(raised)} of {len(methods)} methods: {_names(raised)}.",
    )


def _after_minus_mid(source: Source, method: str) -> Estimate:
    pair = (per_seed(source, method, c) for c in ("entropy_after_result", "entropy_mid_segment"))
    return estimate(np.subtract(*pair))


def figure_in_a_row(source: Source) -> style.Drawn:
    """How much more often high-entropy tool steps follow another than after shuffling: at the start, and over all."""
    source = source.comparable
    methods, columns = _rows(source), ("high_entropy_follow", "high_entropy_base")

    def at_start(method: str) -> Estimate:
        pair = (edges(source, method, c)[0] for c in columns)
        return estimate(100 * np.subtract(*pair))

    def over_all(method: str) -> Estimate:
        pair = (per_seed(source, method, c) for c in columns)
        return estimate(100 * np.subtract(*pair))

    found = {m: (at_start(m), over_all(m)) for m in methods}
    lines = [forest.line_of(style.name(m), m, *pair) for m, pair in found.items()]
    panels = [forest.Panel("Points above chance", title) for title in ("Start of training", "All of training")]
    caption = (
        "Share of tool steps with above-median entropy whose predecessor in the trajectory is one too, minus the same "
        f"share after shuffling the steps inside each trajectory; points, {OVER_SEEDS}. Start: first tenth of the RL "
        "steps. The papers see it before training."
    )
    caption += source.begun_note
    figure = forest.figure(lines, panels, "High-entropy tool steps in a row", caption)
    counts = [[m for m, pair in found.items() if pair[i].low > 0] for i in (0, 1)]
    return style.Drawn(
        figure,
        f"High-entropy tool steps follow each other more often than by chance, with the whole interval above 0, in "
        f"{len(counts[0])} of {len(methods)} methods at the start of training ({_names(counts[0])}) and in "
        f"{len(counts[1])} over all of it ({_names(counts[1])}).",
    )


def figure_clip(source: Source) -> style.Drawn:
    """Tokens outside the clip range: their share, and how much more entropy they have than the others."""
    source = source.comparable
    methods = _rows(source)
    shares = {m: estimate(100 * per_seed(source, m, "outside_clip_fraction")) for m in methods}
    gaps = {
        m: estimate(per_seed(source, m, "entropy_outside") - per_seed(source, m, "entropy_inside")) for m in methods
    }
    lines = [forest.line_of(style.name(m), m, shares[m], gaps[m], note=RANGES.get(m, "")) for m in methods]
    panels = [
        forest.Panel("% of tokens", "Share of tokens outside", zero=None, least=0.0, digits=2, sign=False),
        forest.Panel("Nats", "Entropy, outside minus inside", digits=2),
    ]
    others = "; ".join(f"{style.name(m)}: {text}" for m, text in RANGES.items() if m in methods)
    caption = (
        "Outside: probability ratio outside 0.8 to 1.2"
        f"{f' ({others}, which makes these another question)' if others else ''}. Mean over RL steps and seeds, "
        f"{OVER_SEEDS}. Without an interval: one seed, or no tokens outside."
    )
    caption += source.begun_note
    figure = forest.figure(lines, panels, "Tokens outside the clip range", caption)
    more = [m for m in methods if gaps[m].low > 0]
    return style.Drawn(
        figure,
        f"Tokens outside the clip range have more entropy than the others, with the whole interval above 0, in "
        f"{len(more)} of {len(methods)} methods: {_names(more)}.",
    )


def answer(source: Source) -> str:
    """How many premises hold, and which do not."""
    rows = premises(source)
    asked = rows[rows["holds"].isin(["yes", "no"])]
    fails = [text.partition(".")[0] for text in asked.loc[asked["holds"] == "no", "premise"]]
    held = f"{(asked['holds'] == 'yes').sum()} of {len(asked)} statements hold"
    said = f"**Answer.** Measured on {style.name(style.BASELINE)}, {held}"
    return f"{said}{'; not: ' + ', '.join(fails) if fails else ''}. The table below has the numbers."
