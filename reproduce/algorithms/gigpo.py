"""GiGPO, Group-in-Group Policy Optimization (arXiv 2505.10978): advantages of episodes and of turns.

A = A_E + w A_S at every token of a turn
A_E = (R - mean_G R) / (std_G R + 1e-6), the row's reward R against its group's
A_S = (R_t - mean R_t) / (std R_t + 1e-6) over the turns of the group that started from an identical anchor; 0 if alone
R_t = gamma^(T - t) R, the reward comes at the end of the last turn T

A turn is what the policy says between two tool results, and its anchor is the text of the result that it answers, or
the question in turn 0: so all first turns form one step group, and later ones meet where tools return exactly the same
(the released search-agent script also joins texts that are 90 % similar). The loss is PPO-min over tokens (the paper
prints the ratio of a whole action; its released code has one per token).
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import EpisodeAndStep, PPOMin, ReferenceKL, TokenMean
from reproduce.algorithms.policies import Independent

GIGPO = Algorithm(
    name="gigpo",
    citation="Feng et al. 2025, GiGPO, arXiv 2505.10978, section 4",
    rollout=Independent(),
    advantage=EpisodeAndStep(
        step_weight=1.0,
        step_discount=0.95,
        normalisation="mean_std",
        episode_statistics="trajectories",
        std_epsilon=1e-6,
    ),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=None),
    regularisers=(ReferenceKL(kl_coefficient=0.0),),
    aggregation=TokenMean(),
    sources={
        "aggregation": "released code",
        "step_weight": "released scripts (`step_advantage_w`)",
        "step_discount": "released scripts (gamma)",
        "normalisation": "released search-agent and ALFWorld scripts, `mean_std_norm`; the configuration's default "
        'is `mean_norm` (`"mean"`)',
        "episode_statistics": "the paper: a group of trajectories (released code: `steps`, where a long trajectory "
        "counts once per turn)",
        "std_epsilon": "released code",
        "clip_low": "as grpo",
        "clip_high": "as grpo",
        "dual_clip": "the paper has none (released code: 3)",
        "kl_coefficient": "ARPO section 4: all methods at KL 0 (released scripts: 0.01)",
    },
)
