"""GSPO, Group Sequence Policy Optimization (arXiv 2507.18071): GRPO with one ratio per completion.

J = (1/G) sum_i min(s_i A_i, clip(s_i, 1 - eps_low, 1 + eps_high) A_i), s_i = (pi(y_i) / pi_old(y_i))^(1 / |y_i|)
A_i = (R_i - mean_G R) / std_G R
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GroupZScore, PPOMin, SequenceMean, SequenceRatio
from reproduce.algorithms.policies import Independent

GSPO = Algorithm(
    name="gspo",
    citation="Zheng et al. 2025, GSPO, arXiv 2507.18071",
    rollout=Independent(),
    advantage=GroupZScore(std_epsilon=1e-6),
    ratio=SequenceRatio(),
    surrogate=PPOMin(clip_low=3e-4, clip_high=4e-4, dual_clip=None),
    aggregation=SequenceMean(),
    sources={
        "std_epsilon": "as grpo",
        "log_ratio_bound": "as grpo; bounds the row's mean log-ratio",
        "clip_low": "GSPO section 5.1",
        "clip_high": "GSPO section 5.1",
        "dual_clip": "the paper has none",
    },
)
