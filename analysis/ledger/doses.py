"""How much each component of AEPO and EPO changes what it acts on, measured before its effect is read.

One measure, so that doses compare. A part of the update: the relative distance of the gradient with and without it, on
the audit's batch (`analysis.fidelity`). A part of the rollout: the share of a step's trajectories that it spends
elsewhere. Both in percent. Below `LEAST` a component is not tested, whatever its effect.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from analysis.fidelity.batch import Batch, compared
from analysis.fidelity.losses import factors, kept
from analysis.fidelity.trees import budgets
from reproduce.algorithms import load

LEAST = 2.0  # percent; ours


class Dose(NamedTuple):
    """dose: percent. detail: what it consists of, in words."""

    component: str
    unit: str
    dose: float
    detail: str


GRADIENT = "distance of the gradient"
TRAJECTORIES = "trajectories spent elsewhere"


def doses(batch: Batch) -> list[Dose]:
    """The dose of every component at its published settings."""
    return [Dose(name, unit, *measured(batch)) for name, (unit, measured) in COMPONENTS.items()]


def dynamic_budget(batch: Batch, **overrides) -> tuple[float, str]:
    """|m - k/2| / k, mean over the batch's pilots, under AEPO's rollout policy with `overrides`."""
    m = budgets(batch, **overrides)
    moved = np.abs(m - batch.k / 2)
    return 100 * moved.mean() / batch.k, (
        f"m differs from {batch.k // 2} in {(moved > 0).sum()} of {len(m)} pilots, by {moved.max():.0f} at most; sd "
        f"{m.std():.2f}"
    )


def branch_penalty(batch: Batch) -> tuple[float, str]:
    """Expected number of branch decisions that the penalty changes, over the batch's trajectories."""
    tests, policy = batch.tests[~batch.tests["penalty_per_prompt"]], load("aepo").rollout
    pairs = zip(tests["entropy_change"], tests["in_a_row"], strict=True)
    changed = sum(abs(policy.branch_probability(h, row) - policy.branch_probability(h, 0)) for h, row in pairs)
    behind = (tests["in_a_row"] > 0).sum()
    return 100 * changed / len(batch.rows), (
        f"{behind} of {len(tests)} branch tests follow a branch, {tests['in_a_row'].max()} in a row at most; they "
        f"change {changed:.1f} decisions"
    )


def gradient_keeping_clip(batch: Batch) -> tuple[float, str]:
    """AEPO's gradient against AEPO's with PPO's clip."""
    entropies, tokens = batch.tensors["old_entropies_BT"][batch.mask_BT], kept(batch)
    top = (entropies[tokens] >= entropies.quantile(0.8)).double().mean()
    return compared(batch, ("aepo", {}), ("aepo", {"gradient_keeping_clip": False})), (
        f"the gradient of {int(tokens.sum())} of {batch.tokens} tokens is kept, {100 * top:.0f} % of them among the "
        "fifth of highest entropy"
    )


def entropy_advantage(batch: Batch) -> tuple[float, str]:
    """AEPO's gradient against AEPO's without the entropy factor."""
    factor = factors(batch)
    return compared(batch, ("aepo", {}), ("aepo", {"entropy_advantage": False})), (
        f"factor {float(factor.min()):.2f} to {float(factor.max()):.2f}, sd {float(factor.std()):.2f}"
    )


def entropy_bonus(batch: Batch) -> tuple[float, str]:
    """GRPO's gradient against GRPO's with EPO's bonus alone."""
    return compared(batch, ("grpo", {}), ("grpo+epo", {"smoothing": False})), "weight 0.001"


def smoothing(batch: Batch) -> tuple[float, str]:
    """The gradient of GRPO with EPO's bonus against that with smoothing too."""
    return compared(batch, ("grpo+epo", {"smoothing": False}), ("grpo+epo", {})), "on top of the bonus"


def phase_weight(batch: Batch) -> tuple[float, str]:
    """The gradient of GRPO with EPO against that with a constant weight."""
    constant = {"phase_schedule": "constant", "phase_weight": 1.0}
    return compared(batch, ("grpo+epo", {}), ("grpo+epo", constant)), "against a constant weight of 1"


COMPONENTS: dict[str, tuple[str, Callable[[Batch], tuple[float, str]]]] = {
    "dynamic budget": (TRAJECTORIES, dynamic_budget),
    "branch penalty": (TRAJECTORIES, branch_penalty),
    "gradient-keeping clip": (GRADIENT, gradient_keeping_clip),
    "entropy-aware advantage": (GRADIENT, entropy_advantage),
    "EPO's bonus": (GRADIENT, entropy_bonus),
    "EPO's smoothing": (GRADIENT, smoothing),
    "EPO's phase weight": (GRADIENT, phase_weight),
}
