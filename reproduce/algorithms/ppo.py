"""PPO (arXiv 1707.06347) with a token critic, in the form of EPO's baseline.

A_t = GAE of the reward at the last token, whitened over the batch; gamma = lambda = 1, so A_t = R - V_t before that.
J = mean over tokens of min(delta A, clip(delta, 1 - eps, 1 + eps) A)
Critic: token mean of max((V - R)^2, (clip(V, V_old +- 0.5) - R)^2), its own network and optimiser. It starts as a copy
of the policy with a head of zeros (assumed; verl: a random head).
GAE runs over the loss-mask tokens of a row: tokens of a tool result are no actions, and are skipped.
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GAE, PPOMin, ReferenceKL, TokenCritic, TokenMean
from reproduce.algorithms.policies import Independent

PPO = Algorithm(
    name="ppo",
    citation="Schulman et al. 2017, PPO, arXiv 1707.06347; form and constants as in EPO's baseline, arXiv 2509.22576",
    rollout=Independent(),
    advantage=GAE(discount=1.0, gae_lambda=1.0, whiten=True, whitening_epsilon=1e-8),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=None),
    regularisers=(ReferenceKL(kl_coefficient=0.0),),
    aggregation=TokenMean(),
    critic=TokenCritic(critic_learning_rate=None, value_clip=0.5, value_loss_weight=1.0, critic_max_grad_norm=1.0),
    sources={
        "aggregation": "PPO averages over timesteps",
        "discount": "EPO section 5.1: gamma = 1",
        "gae_lambda": "EPO's released code (PPO's paper: 0.95 for games)",
        "whiten": "EPO's released code, and PPO's first implementation",
        "whitening_epsilon": "verl: under the root, with the unbiased variance",
        "clip_low": "PPO, and EPO algorithm 2",
        "clip_high": "as `clip_low`",
        "dual_clip": "neither paper has one (EPO's released code: 3)",
        "kl_coefficient": "neither paper prints one (EPO's released code: 0.01)",
        "critic_learning_rate": "null is the policy's, constant: EPO's released launcher",
        "value_clip": "EPO's released code",
        "value_loss_weight": "EPO's released code, without the factor 1/2 (`0.5`) of PPO's first implementation",
        "critic_max_grad_norm": "verl",
    },
)
