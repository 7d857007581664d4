"""REINFORCE++ (arXiv 2501.03262): PPO's clip without a critic, advantages normalised over the whole batch.

A_t = (G_t - mean) / sqrt(var + 1e-8) over all loss-mask tokens of the rollout batch
G_t = R (REINFORCE++) or R - mean_G R (REINFORCE++-baseline), at every token: discount 1, no KL term in the reward

The paper subtracts a token-level KL from the reward (-baseline: adds one to the loss); its coefficient is 0 here, as
for every method. Long completions weigh more in the statistics, which count loss-mask tokens (the code released for
ARPO counts tool results too).
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import PPOMin, TokenMean, Whitened
from reproduce.algorithms.policies import Independent

REINFORCE_PLUS_PLUS = Algorithm(
    name="reinforce++",
    citation="Hu et al. 2025, REINFORCE++, arXiv 2501.03262",
    rollout=Independent(),
    advantage=Whitened(whitening_epsilon=1e-8, group_baseline=False),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=None),
    aggregation=TokenMean(),
    sources={
        "aggregation": "verl's default",
        "whitening_epsilon": "verl: under the root, with the unbiased variance",
        "group_baseline": "the plain variant",
        "clip_low": "PPO and verl",
        "clip_high": "as `clip_low`",
        "dual_clip": "as grpo",
    },
)

REINFORCE_PLUS_PLUS_BASELINE = Algorithm(
    name="reinforce++-baseline",
    citation="Hu et al. 2025, REINFORCE++, arXiv 2501.03262, the variant with a group baseline",
    rollout=Independent(),
    advantage=Whitened(whitening_epsilon=1e-8, group_baseline=True),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=None),
    aggregation=TokenMean(),
    sources={
        "whitening_epsilon": "as reinforce++",
        "group_baseline": "this variant: the group mean is subtracted first; whitening centres again, so that group "
        "means are not 0",
        "clip_low": "as reinforce++",
        "clip_high": "as reinforce++",
        "dual_clip": "as grpo",
    },
)
