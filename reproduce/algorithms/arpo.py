"""ARPO, Agentic Reinforced Policy Optimization (arXiv 2507.19849): GRPO's update on entropy-based tree rollouts.

Rollout: N whole trajectories, then forks after tool results where P = alpha + beta dH > tau          [eq. 4, 5]
Soft attribution (the paper's default, sec. 3.2): every leaf is a row with its own group z-score; a shared prefix stands
in each of its leaves with the same ratio, so its gradient is the sum over them. Objective: GRPO's [eq. 6].
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GroupZScore, PPOMin, ReferenceKL, SequenceMean
from reproduce.algorithms.policies import ARPORollout

ARPO = Algorithm(
    name="arpo",
    citation="Dong et al. 2025, ARPO, arXiv 2507.19849, section 3",
    rollout=ARPORollout(),
    advantage=GroupZScore(std_epsilon=1e-6),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=None),
    regularisers=(ReferenceKL(kl_coefficient=0.0),),
    aggregation=SequenceMean(),
    sources={
        "advantage": "section 3.2, soft",
        "aggregation": "eq. 6 (the released code: token mean of each micro-batch)",
        "initial_fraction": "ARPO appendix C.2: N = 8 of M = 16",
        "alpha": "ARPO appendix C.2",
        "entropy_weight": "ARPO appendix C.2",
        "threshold": "ARPO appendix C.2",
        "entropy_tokens": "released code; the paper gives no number",
        "decision": "ARPO section 3.1 (released code: a Bernoulli draw, `bernoulli`)",
        "std_epsilon": "as grpo",
        "clip_low": "released code",
        "clip_high": "released code",
        "dual_clip": "ARPO eq. 6 has none (released code: 3)",
        "kl_coefficient": "ARPO section 4",
    },
)
