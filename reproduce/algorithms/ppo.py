"""PPO (arXiv 1707.06347) with a token critic, in the form of EPO's baseline.

A_t = GAE of the reward at the last token, whitened over the batch; gamma = lambda = 1, so A_t = R - V_t before that.
J = mean over tokens of min(delta A, clip(delta, 1 - eps, 1 + eps) A)
Critic: token mean of max((V - R)^2, (clip(V, V_old +- 0.5) - R)^2), its own network and optimiser.
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GAE, PPOMin, ReferenceKL, TokenCritic, TokenMean
from reproduce.algorithms.policies import Independent

PPO = Algorithm(
    name="ppo",
    citation="Schulman et al. 2017, PPO, arXiv 1707.06347; form and constants as in EPO's baseline, arXiv 2509.22576",
    rollout=Independent(),
    # discount: EPO sec. 5.1 (gamma = 1); lambda and whitening: its released code
    advantage=GAE(discount=1.0, gae_lambda=1.0, whiten=True, whitening_epsilon=1e-8),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=None),  # eps: EPO alg. 2 (released code: with c = 3)
    regularisers=(ReferenceKL(kl_coefficient=0.0),),  # neither paper prints one (EPO's released code: 0.01)
    aggregation=TokenMean(),  # PPO averages over timesteps
    # released code: the policy's learning rate, clip 0.5, no factor 1/2, gradient norm 1
    critic=TokenCritic(critic_learning_rate=None, value_clip=0.5, value_loss_weight=1.0, critic_max_grad_norm=1.0),
)
