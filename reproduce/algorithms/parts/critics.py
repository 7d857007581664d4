"""Critics, and the advantages that read their values. The network itself is `reproduce.training.critic`."""

from dataclasses import dataclass

from reproduce.objectives import gae
from reproduce.objectives.advantages import finite_rewards, whitened


@dataclass(frozen=True)
class GAE:
    """Token advantages by GAE from the critic's values at rollout; reward at the last loss-mask token (PPO).

    whiten: (A - mean) / sqrt(var + whitening_epsilon) over all loss-mask tokens given. Groups play no part.
    """

    discount: float = 1.0
    gae_lambda: float = 1.0
    whiten: bool = True
    whitening_epsilon: float = 1e-8
    needs = ("values_BT",)
    compares_groups = False

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        advantages_BT, _ = self._both(finite_rewards(rewards_B, groups_B), tensors["values_BT"], mask_BT)
        if self.whiten:
            advantages_BT = whitened(advantages_BT, mask_BT, self.whitening_epsilon)
        return advantages_BT, {}

    def returns(self, rewards_B, values_BT, mask_BT):
        """What the critic is fitted to: returns_BT = A + V, with A before whitening."""
        return self._both(rewards_B, values_BT, mask_BT)[1]

    def _both(self, rewards_B, values_BT, mask_BT):
        return gae.gae(rewards_B, values_BT, mask_BT, self.discount, self.gae_lambda)


@dataclass(frozen=True)
class TokenCritic:
    """A value per token from a network of the policy's size, trained on the policy's mini-batches.

    critic_learning_rate: of its AdamW; None is the policy's. critic_max_grad_norm: what its gradient norm is clipped
    at. value_clip, value_loss_weight: as in `objectives.gae.value_loss`.
    """

    critic_learning_rate: float | None = None
    value_clip: float | None = 0.5
    value_loss_weight: float = 1.0
    critic_max_grad_norm: float = 1.0
    needs = ("values_BT", "old_values_BT", "returns_BT")

    def __call__(self, values_BT, old_values_BT, returns_BT, mask_BT, normalizer):
        return gae.value_loss(
            values_BT, old_values_BT, returns_BT, mask_BT, self.value_clip, self.value_loss_weight, normalizer
        )
