"""The figures of the audit: gradient factors of the surrogates, EPO's schedule and AEPO's budget, and all distances."""

import textwrap

import numpy as np
import torch

from analysis import style
from analysis.fidelity.batch import Batch
from analysis.fidelity.measures import MEASURES
from analysis.fidelity.rows import Discrepancy
from analysis.fidelity.table import number
from analysis.fidelity.trees import gaps
from reproduce.algorithms import load
from reproduce.algorithms.parts import epo_terms as epo
from reproduce.algorithms.parts.released import epo as released_epo

SURROGATES = ("grpo", "cispo", "gppo", "ce-gppo", "aepo", "aepo-released")
RATIOS = np.geomspace(0.25, 8, 801)
STEPS = 125  # EPO table 2
K = 16
LABEL = 66  # characters of a line of a label
COLOURS = {"AEPO": "#D55E00", "ARPO": "#009E73", "EPO": "#0072B2", "FAMILY": "#CC79A7", "OTHER": "#7f7f7f"}


def factors(name: str, sign: float, ratios: np.ndarray = RATIOS, **overrides) -> np.ndarray:
    """d objective / d log pi over the advantage, of one token at each ratio; sign: of its advantage."""
    logps_BT = torch.tensor(np.log(ratios))[:, None].requires_grad_()
    advantages_BT = torch.full_like(logps_BT, sign)
    rows = len(ratios)
    loss, _ = load(name, aggregation="token_mean", **overrides).loss(
        logps_BT, torch.zeros(rows, 1, dtype=torch.float64), advantages_BT, torch.ones(rows, 1), normalizer=rows
    )
    loss.backward()
    return -rows * sign * logps_BT.grad[:, 0].numpy()


LOOKS = {"grpo": ("#0072B2", "-"), "cispo": ("#000000", "-"), "gppo": ("#56B4E9", "-"), "ce-gppo": ("#CC79A7", "-")}
LOOKS |= {"aepo": ("#D55E00", "-"), "aepo-released": ("#009E73", "--")}


def figure_factors() -> style.Drawn:
    """The weight of a token's gradient against its ratio, A > 0 and A < 0; lines that coincide get thinner."""
    figure, panels = style.subplots(1, 2, height=2.1, sharex=True, sharey=True)
    handles, found = [], {}
    for panel, sign in zip(panels, (1.0, -1.0), strict=True):
        for place, name in enumerate(SURROGATES):
            label = "PPO's clip (GRPO, ARPO)" if name == "grpo" else style.name(name)
            colour, dashes = LOOKS[name]
            look = {"color": colour, "lw": 5.0 - 0.75 * place, "ls": dashes}
            found[name, sign] = factors(name, sign)
            panel.plot(RATIOS, found[name, sign], dash_capstyle="butt", solid_capstyle="butt", **look)
            if sign > 0:
                handles.append(style.line_key(label, colour, lw=2.0, ls=dashes))
        panel.set(
            xscale="log",
            xlabel="ratio π / π_old",
            title=f"A {'>' if sign > 0 else '<'} 0",
            ylim=(-0.15, 5.2),
            xticks=(0.25, 0.5, 0.8, 1.2, 2, 3, 5, 8),
            xticklabels=("0.25", "0.5", "0.8", "1.2", "2", "3", "5", "8"),
        )
        panel.minorticks_off()
    panels[0].set_ylabel("gradient of log π, over A")
    caption = (
        "Computed from the losses of this repository, so there is no interval. One token with advantage A; lines that "
        "coincide are drawn from thick to thin. The dual clip of the released code acts where A < 0."
    )
    style.finish(figure, "What a token's gradient is multiplied by", caption, handles)
    at = int(np.argmin(np.abs(RATIOS - 2)))
    gone = [n for n in SURROGATES if abs(found[n, 1.0][at]) < 1e-9]
    kept = [n for n in SURROGATES if n not in gone]
    names = {n: "PPO's clip" if n == "grpo" else style.name(n) for n in SURROGATES}
    return style.Drawn(
        figure,
        f"At a ratio of 2 with A > 0, {', '.join(names[n] for n in gone)} has no gradient and "
        f"{', '.join(names[n] for n in kept)} keep one.",
    )


def figure_schedules(batch: Batch) -> style.Drawn:
    """Left: EPO's phase weight. Right: AEPO's budget against the entropy gap, with the batch's own gaps as ticks."""
    figure, (left, right) = style.subplots(1, 2, height=2.2)
    steps = np.arange(STEPS)
    left.plot(steps, [epo.phase_weight(k, STEPS) for k in steps], color="#0072B2")
    left.plot(steps, [released_epo.phase_weight(k) for k in steps], color="#D55E00", ls="--")
    left.set(
        xlabel="RL step k of 125", ylabel="weight of the smoothing term", ylim=(0, 2.1), title="EPO's phase weight"
    )
    grid = np.linspace(-3, 3, 1201)
    forms = (
        ("paper, β = 0.5 (here)", "aepo", {}, "#0072B2", "-"),
        ("paper, β = 2", "aepo", {"beta": 2.0}, "#009E73", "-."),
        ("paper, β = 5", "aepo", {"beta": 5.0}, "#000000", ":"),
        (
            "released code (left: EPO's, right: floor + 1, β = 0.5)",
            "aepo-released",
            {"dynamic_budget": True},
            "#D55E00",
            "--",
        ),
    )
    handles = []
    for text, name, overrides, colour, dashes in forms:
        policy = load(name, **overrides).rollout
        right.plot(grid, [policy.initial(K, gap, 0.0) for gap in grid], color=colour, ls=dashes)
        handles.append(style.line_key(text, colour, ls=dashes))
    found = gaps(batch)
    right.plot(found, np.full(len(found), 0.6), "|", color="black", ms=7)
    right.axhline(K / 2, color=style.REFERENCE, lw=1.0)
    handles.append(style.line_key("this batch's gaps", "black", marker="|", ms=7, ls="none"))
    handles.append(style.line_key("launchers: m = 8", style.REFERENCE, lw=1.0))
    right.set(
        xlabel="H_root − H_tool, nats", ylabel="whole trajectories m of 16", ylim=(0, 16.5), yticks=range(0, 17, 4)
    )
    right.set_title("AEPO's budget")
    caption = (
        "Formulas, so there are no intervals. Left, blue: the paper's equation 5. Right: whole trajectories of a "
        "group of "
        f"16; ticks: the {len(found)} gaps of one committed batch."
    )
    style.finish(figure, "Two schedules", caption, handles)
    budgets = sorted({load("aepo").rollout.initial(K, gap, 0.0) for gap in found})
    text = f"is {budgets[0]}" if len(budgets) == 1 else f"lies between {budgets[0]} and {budgets[-1]}"
    return style.Drawn(
        figure,
        f"On this batch, whose gaps lie between {min(found):.2f} and {max(found):.2f} nats, AEPO's budget (β = 0.5) "
        f"{text} whole trajectories of 16.",
    )


def figure_distances(rows: list[Discrepancy], values: dict[str, float]) -> style.Drawn:
    """Every measured distance of gradients, largest first."""
    shown = {}
    for row in rows:
        for name in row.measures:
            if MEASURES[name].quantity.startswith("distance"):
                shown.setdefault(name, row)
    order = sorted(shown, key=lambda name: (-values[name], name))
    labels = [
        "\n".join(textwrap.wrap(f"{shown[n].id}: {MEASURES[n].quantity.removeprefix('distance of ')}", LABEL))
        for n in order
    ]
    heights = np.array([1 + 0.75 * label.count("\n") for label in labels])
    places = np.cumsum(heights) - heights / 2
    figure, axes = style.subplots(height=0.155 * heights.sum() + 0.45)
    for place, name in zip(places, order, strict=True):
        colour = COLOURS[shown[name].method]
        axes.plot([0, values[name]], [place, place], color=colour, lw=1.2)
        axes.plot([values[name]], [place], color=colour, marker="o", ms=4)
        axes.text(values[name] + 0.8, place, number(values[name]), va="center", fontsize=style.LEAST)
    axes.set_yticks(places, labels)
    axes.set(xlabel="% of the paper's gradient", ylim=(heights.sum() + 0.2, -0.2), xlim=(0, None))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    caption = (
        "Distance |other − paper| / |paper| with respect to the logits of all trained tokens. One committed batch of "
        "one "
        "training step: there is no interval, read orders of magnitude. The numbers of the rows are those of "
        "figures/fidelity.md."
    )
    keys = [
        style.line_key(name.capitalize() if name == "OTHER" else name, colour, lw=2) for name, colour in COLOURS.items()
    ]
    style.finish(figure, "How far other forms move the gradient", caption, keys)
    large = sum(values[name] > 10 for name in order)
    return style.Drawn(
        figure,
        f"{large} of {len(order)} measured differences move the gradient by more than a tenth; the largest is "
        f"{shown[order[0]].id} ({number(values[order[0]])} %).",
    )
