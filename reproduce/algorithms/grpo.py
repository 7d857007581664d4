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
    advantage=GroupZScore(std_epsilon=1e-6),  # unbiased std, + 1e-6: verl; the paper prints no epsilon
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=None),  # eps 0.2: PPO (1707.06347) and verl
    regularisers=(ReferenceKL(kl_coefficient=0.0),),  # DeepSeekMath 0.04; ARPO sec. 4 sets every baseline's to 0
    aggregation=SequenceMean(),  # eq. 3
)
