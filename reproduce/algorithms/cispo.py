"""CISPO, Clipped IS-weight Policy Optimization (MiniMax-M1, arXiv 2506.13585).

    J = (1 / sum_i |y_i|) sum_i sum_t sg(min(delta, 1 + eps_high)) A_i log pi(y_t), A_i the group z-score

The weight is clipped, not the update: every token keeps a gradient. There is no lower bound and no KL. Dynamic sampling
and length penalty are DAPO's.

The paper tunes eps_high and does not print it. 1 + eps_high = 5 is the cap that TRL recommends, after ScaleRL (arXiv
2510.13786). verl bounds the weight on both sides: set clip_low below 1 for that.
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import ClippedWeight, DynamicSampling, GroupZScore, OverlongPenalty, TokenMean
from reproduce.algorithms.policies import Independent

CISPO = Algorithm(
    name="cispo",
    citation="MiniMax 2025, MiniMax-M1, arXiv 2506.13585, section 3.1",
    rollout=Independent(),
    advantage=GroupZScore(std_epsilon=1e-6),
    surrogate=ClippedWeight(clip_low=1.0, clip_high=4.0),
    aggregation=TokenMean(),
    group_filter=DynamicSampling(dynamic_sampling=True, max_generation_batches=10),
    reward_shaping=OverlongPenalty(overlong_penalty=True, overlong_buffer=0.2, overlong_factor=1.0),
    sources={
        "aggregation": "the paper's normaliser: all tokens",
        "std_epsilon": "as grpo",
        "clip_low": "MiniMax-M1 section 3.1: no lower bound on the weight (verl bounds both sides)",
        "clip_high": "weights up to 5: recommended by TRL, after ScaleRL (arXiv 2510.13786); MiniMax-M1 tunes it and "
        "prints no value, and what AEPO's baseline used is not public (assumed)",
        "dynamic_sampling": "MiniMax-M1 section 3.1; as dapo",
        "max_generation_batches": "as dapo",
        "overlong_penalty": "MiniMax-M1 section 3.1; as dapo",
        "overlong_buffer": "as dapo",
        "overlong_factor": "as dapo",
    },
)
