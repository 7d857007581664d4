"""DAPO (arXiv 2503.14476): clip-higher, dynamic sampling, token-level loss, overlong punishment, no KL.

J = (1 / sum_i |y_i|) sum_i sum_t min(delta A_i, clip(delta, 1 - eps_low, 1 + eps_high) A_i), 0 < #correct < G
R += min(0, -(|y| - (L_max - B)) / B), at least -1
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import DynamicSampling, GroupZScore, OverlongPenalty, PPOMin, TokenMean
from reproduce.algorithms.policies import Independent

DAPO = Algorithm(
    name="dapo",
    citation="Yu et al. 2025, DAPO, arXiv 2503.14476, section 3",
    rollout=Independent(),
    advantage=GroupZScore(std_epsilon=1e-6),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.28, dual_clip=None),
    aggregation=TokenMean(),
    group_filter=DynamicSampling(dynamic_sampling=True, max_generation_batches=10),
    reward_shaping=OverlongPenalty(overlong_penalty=True, overlong_buffer=0.2, overlong_factor=1.0),
    sources={
        "aggregation": "sec. 3.3, over the whole update batch",
        "std_epsilon": "as grpo",
        "clip_low": "DAPO section 4.1",
        "clip_high": "DAPO section 4.1",
        "dual_clip": "the paper has none (verl's recipe: 10)",
        "dynamic_sampling": 'DAPO section 3.2; the test is "standard deviation of the group\'s rewards is 0", since '
        "rewards here are not only 0 and 1 (assumed)",
        "max_generation_batches": "verl's DAPO recipe",
        "overlong_penalty": "DAPO section 3.4",
        "overlong_buffer": "recipe: the last 4096 of 20480 tokens; kept as a fraction for other lengths (assumed)",
        "overlong_factor": "verl's DAPO recipe",
    },
)
