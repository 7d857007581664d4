"""CE-GPPO, Coordinating Entropy via Gradient-Preserving Policy Optimization (arXiv 2509.20712).

GPPO with a factor on each kept bound, in value and gradient: beta_1 (1 - eps) A for A < 0 with delta too low, where
probabilities that already fell fall further and entropy with them; beta_2 (1 + eps) A for A > 0 with delta too high.
The released scripts also drop groups of equal reward: `group_filter="dynamic_sampling"`.
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GradientKeeping, GroupZScore, TokenMean
from reproduce.algorithms.policies import Independent

CE_GPPO = Algorithm(
    name="ce-gppo",
    citation="Su et al. 2025, CE-GPPO, arXiv 2509.20712",
    rollout=Independent(),
    advantage=GroupZScore(std_epsilon=1e-6),
    surrogate=GradientKeeping(clip_low=0.2, clip_high=0.2, dual_clip=None, beta_1=0.75, beta_2=1.0),
    aggregation=TokenMean(),
    sources={
        "aggregation": "released scripts",
        "std_epsilon": "as grpo",
        "log_ratio_bound": "as gppo",
        "clip_low": "released scripts",
        "clip_high": "released scripts",
        "dual_clip": "the paper's objective has none (released scripts: 10)",
        "beta_1": "released script for 7B (1.5B: 0.5)",
        "beta_2": "released scripts",
    },
)
