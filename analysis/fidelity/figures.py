"""The figures of the audit: gradient factors of the surrogates, EPO's schedule and AEPO's budget, and all distances."""

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


def figure_factors():
    """The weight of a token's gradient against its ratio, A > 0 and A < 0; lines that coincide get thinner."""
    figure, panels = style.subplots(1, 2, figsize=(8.4, 3.2), sharex=True)
    for panel, sign in zip(panels, (1.0, -1.0), strict=True):
        for place, name in enumerate(SURROGATES):
            label = "PPO's clip (GRPO, ARPO)" if name == "grpo" else style.name(name)
            look = {"color": style.colour(name, SURROGATES), "lw": 6.0 - 0.95 * place}
            panel.plot(RATIOS, factors(name, sign), label=label, solid_capstyle="butt", **look)
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
    panels[0].legend(fontsize=7.5)
    return figure


def figure_schedules(batch: Batch):
    """Left: EPO's phase weight. Right: AEPO's budget against the entropy gap, with the batch's own gaps as ticks."""
    figure, (left, right) = style.subplots(1, 2, figsize=(8.4, 3.0))
    steps = np.arange(STEPS)
    left.plot(steps, [epo.phase_weight(k, STEPS) for k in steps], color="#0072B2", label="paper, eq. 5")
    left.plot(steps, [released_epo.phase_weight(k) for k in steps], color="#D55E00", label="released code")
    left.set(xlabel="RL step k of 125", ylabel="weight of the smoothing term", ylim=(0, 2.1))
    left.set_title("EPO's phase weight", fontsize=9)
    left.legend()
    grid = np.linspace(-3, 3, 1201)
    for beta, shade in ((5.0, 0.3), (2.0, 0.5)):
        policy = load("aepo", beta=beta).rollout
        m = [policy.initial(K, gap, 0.0) for gap in grid]
        right.plot(grid, m, color="#0072B2", alpha=shade, lw=1.0, label=f"rounded, β = {beta:g}")
    forms = (
        ("rounded, β = 0.5 (here)", "aepo", {}, "#0072B2", "-"),
        ("floor + 1, β = 0.5 (released)", "aepo-released", {"dynamic_budget": True}, "#D55E00", "--"),
    )
    for label, name, overrides, colour, line in forms:
        policy = load(name, **overrides).rollout
        right.plot(grid, [policy.initial(K, gap, 0.0) for gap in grid], color=colour, ls=line, label=label)
    right.plot(gaps(batch), np.full(len(gaps(batch)), 0.6), "|", color="black", ms=7, label="this batch")
    right.axhline(K / 2, color="#7f7f7f", lw=0.8, ls=":", label="launchers: m = 8")
    right.set(xlabel="H_root − H_tool", ylabel="whole trajectories m of 16", ylim=(0, 16.5))
    right.set_title("AEPO's budget", fontsize=9)
    right.legend(fontsize=7)
    return figure


def figure_distances(rows: list[Discrepancy], values: dict[str, float]):
    """Every measured distance of gradients, largest first."""
    shown = {}
    for row in rows:
        for name in row.measures:
            if MEASURES[name].quantity.startswith("distance"):
                shown.setdefault(name, row)
    order = sorted(shown, key=lambda name: (values[name], name))
    figure, axes = style.subplots(figsize=(8.4, 0.27 * len(order) + 0.7))
    for place, name in enumerate(order):
        axes.barh(place, values[name], color=COLOURS[shown[name].method], height=0.7)
        axes.text(values[name] + 0.4, place, number(values[name]), va="center", fontsize=7.5)
    labels = [f"{shown[name].id} {shown[name].topic}: {name.replace('_', ' ')}" for name in order]
    axes.set_yticks(range(len(order)), labels, fontsize=7.5)
    axes.set(xlabel="distance of the gradient, %", ylim=(-0.6, len(order) - 0.4))
    axes.grid(axis="y", visible=False)
    return figure
