"""WARP (arXiv 2406.16768): policies are averaged in weight space, three times over.

Stage 1, a run: REINFORCE with R - beta (log pi(y) - log pi_anchor(y)); after every step anchor <- (1 - mu) anchor +
mu policy. Stage 2, M runs from one start, each with a seed of its own: their task vectors, policy minus start, merge by
SLERP in every layer. Stage 3: start <- (1 - eta) start + eta merged, from which the stages begin again.

This file is stage 1; `make warp` does stages 2 and 3 over checkpoints (`commands/warp.py`). M 2, eta 0.3 and 5
iterations are the paper's.

The reward's divergence is that of the whole trajectory, from log-probabilities at rollout. A step is an RL step, with
all its updates (assumed; the same with one update, which REINFORCE is meant for). The baseline of the group's other
rewards is assumed: the objective prints none, and one changes no expectation; `anchor_baseline` "none" is without it.
Adapters are refused: the mean of two products of factors is not the product of their means.
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import PolicyGradient, TokenSumConst
from reproduce.algorithms.parts.anchor import AnchoredReward
from reproduce.algorithms.policies import Independent

WARP = Algorithm(
    name="warp",
    citation="Ramé et al. 2024, WARP, arXiv 2406.16768, stage 1",
    rollout=Independent(),
    advantage=AnchoredReward(anchor_weight=0.1, anchor_rate=0.01, anchor_baseline="leave_one_out"),
    surrogate=PolicyGradient(importance_weight=False),
    aggregation=TokenSumConst(length_constant=1),
    sources={
        "log_ratio_bound": "as grpo; the ratio is read by metrics only",
        "anchor_weight": "beta, the paper's settings",
        "anchor_rate": "mu, the paper's settings",
        "anchor_baseline": "not printed (assumed: RLOO's; `none` is REINFORCE without one)",
        "importance_weight": "the paper: REINFORCE",
        "length_constant": "the paper: log-probabilities are summed over the completion",
    },
)
