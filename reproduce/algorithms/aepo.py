"""AEPO, Agentic Entropy-Balanced Policy Optimization (arXiv 2510.14545).

Rollout: m = k sigmoid(beta (H_root - H_tool)) whole trajectories; forks where (alpha + w dH)(1 - slope l) > tau.
A_t = group z-score * (1 + a z(H_t)), H_t the entropy at rollout, z over the loss-mask tokens of the rollout batch.
J = mean over tokens of min(delta A, clip(delta; 1 - eps_low, (1 + eps_high) delta / sg(delta)) A): the gradient above
the upper bound is (1 + eps_high) A instead of 0; below the lower bound it is PPO's.

Components switch singly: dynamic_budget, branch_penalty, entropy_advantage, gradient_keeping_clip. All four off leave
ARPO's rollout and a clipped token-mean GRPO update. The factor 1 + a z is not clamped: below z = -1/a it is negative.
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import EntropyAware, TokenMean, UpperGradientKeeping
from reproduce.algorithms.policies import AEPORollout

AEPO = Algorithm(
    name="aepo",
    citation="Dong et al. 2025, AEPO, arXiv 2510.14545",
    # alpha, weight, tau: ARPO's; beta 0.5, slope 0.05: released code; the paper's are not public (assumed)
    rollout=AEPORollout(dynamic_budget=True, branch_penalty=True),
    # a = 0.2: released code; entropies at rollout and batch-wide z (released: current policy, micro-batch): assumed
    advantage=EntropyAware(std_epsilon=1e-6, entropy_coefficient=0.2, entropy_advantage=True),
    # 0.2 / 0.2: released code (which adds dual clip 3)
    surrogate=UpperGradientKeeping(clip_low=0.2, clip_high=0.2, dual_clip=None, gradient_keeping_clip=True),
    aggregation=TokenMean(),  # the paper's objective averages over all generated tokens
)
