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
    rollout=AEPORollout(dynamic_budget=True, branch_penalty=True),
    advantage=EntropyAware(std_epsilon=1e-6, entropy_coefficient=0.2, entropy_advantage=True),
    surrogate=UpperGradientKeeping(clip_low=0.2, clip_high=0.2, dual_clip=None, gradient_keeping_clip=True),
    aggregation=TokenMean(),
    sources={
        "aggregation": "the paper's objective averages over all generated tokens",
        "initial_fraction": "as arpo; read only with `dynamic_budget` false",
        "alpha": "ARPO's; AEPO's is not public (assumed)",
        "entropy_weight": "ARPO's and AEPO's released scripts; the paper's is not public",
        "threshold": "as `entropy_weight`",
        "entropy_tokens": "released code",
        "decision": "the paper's rule P > tau (released code: a draw)",
        "beta": "released code; the paper's is not public",
        "penalty_slope": "released code; the paper says linear",
        "dynamic_budget": "the paper (released scripts: off)",
        "branch_penalty": "the paper",
        "std_epsilon": "as grpo",
        "entropy_coefficient": "released code (where missing entropies switch it off silently); the paper's is not "
        "public",
        "entropy_advantage": "the paper; entropies at rollout and z over the rollout batch, so that the split into "
        "micro-batches does not matter (assumed; released code: current policy, micro-batch)",
        "clip_low": "released code",
        "clip_high": "released code",
        "dual_clip": "the paper's objective has none (released code: 3)",
        "gradient_keeping_clip": "the paper",
    },
)
