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
    rollout=ARPORollout(),  # N/M = 8/16, alpha 0.5, entropy weight 0.2, tau 0.5: appendix C.2; 20 tokens: released code
    advantage=GroupZScore(std_epsilon=1e-6),  # sec. 3.2, soft; epsilon: verl
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=None),  # eps: released code (which adds c = 3)
    regularisers=(ReferenceKL(kl_coefficient=0.0),),  # sec. 4
    aggregation=SequenceMean(),  # eq. 6 (the released code: token mean of each micro-batch)
)
