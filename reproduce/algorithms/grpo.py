"""GRPO, Group Relative Policy Optimization (arXiv 2402.03300), as the agentic papers run it: without KL.

J = (1/G) sum_i (1/|y_i|) sum_t min(delta A_i, clip(delta, 1 - eps, 1 + eps) A_i) - beta KL(pi || pi_ref)   [eq. 3]
A_i = (R_i - mean_G R) / (std_G R + 1e-6)                                                                  [sec. 4.1.2]
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GroupZScore, PPOMin, ReferenceKL, SequenceMean
from reproduce.algorithms.policies import Independent

GRPO = Algorithm(
    name="grpo",
    citation="Shao et al. 2024, DeepSeekMath, arXiv 2402.03300, section 4.1",
    rollout=Independent(),
    advantage=GroupZScore(std_epsilon=1e-6),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=None),
    regularisers=(ReferenceKL(kl_coefficient=0.0),),
    aggregation=SequenceMean(),
    sources={
        "aggregation": "eq. 3",
        "std_epsilon": "verl, with the unbiased standard deviation; DeepSeekMath section 4.1.2 prints no epsilon "
        "(TRL: 1e-4)",
        "clip_low": "PPO (arXiv 1707.06347) and verl; the paper does not state it",
        "clip_high": "as `clip_low`",
        "dual_clip": "the paper has none (verl: 3)",
        "kl_coefficient": "ARPO section 4: all methods at KL 0 (DeepSeekMath: 0.04); above 0 it is DeepSeekMath's k3 "
        "term, TRL's with `use_bias_correction_kl=False`",
    },
)
