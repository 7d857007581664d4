"""Dr. GRPO, GRPO done right (arXiv 2503.20783): GRPO without its two biases, towards length and question difficulty.

J = (1 / (G L)) sum_i sum_t min(delta A_i, clip(delta, 1 - eps, 1 + eps) A_i), A_i = R_i - mean_G R
L is a constant, the generation budget, in place of each completion's own length.
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GroupCentred, PPOMin, TokenSumConst
from reproduce.algorithms.policies import Independent

DR_GRPO = Algorithm(
    name="dr-grpo",
    citation="Liu et al. 2025, Understanding R1-Zero-Like Training, arXiv 2503.20783",
    rollout=Independent(),
    advantage=GroupCentred(),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=None),
    aggregation=TokenSumConst(length_constant=None),
    sources={
        "clip_low": "as grpo",
        "clip_high": "as grpo",
        "dual_clip": "as grpo",
        "length_constant": "the paper: a constant, its generation budget (3000 tokens); null is the run's longest "
        "possible completion",
    },
)
