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
    advantage=GroupZScore(std_epsilon=1e-6),  # as GRPO
    surrogate=PPOMin(clip_low=0.2, clip_high=0.28, dual_clip=None),  # sec. 3.1 and 4.1; verl's recipe adds c = 10
    aggregation=TokenMean(),  # sec. 3.3, over the whole update batch
    # sec. 3.2; 10 batches: verl recipe; "reward std is 0" in place of accuracy: rewards here are F1, not 0/1 (assumed)
    group_filter=DynamicSampling(dynamic_sampling=True, max_generation_batches=10),
    # sec. 3.4; recipe: the last 4096 of 20480 tokens, i.e. 0.2, factor 1; as a fraction of other lengths (assumed)
    reward_shaping=OverlongPenalty(overlong_penalty=True, overlong_buffer=0.2, overlong_factor=1.0),
)
