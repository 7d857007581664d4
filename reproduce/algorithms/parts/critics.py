"""Generalised advantage estimation and the critic's loss. The network itself is in `reproduce.training.critic`."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from reproduce.algorithms.parts.advantages import finite_rewards, whitened
from reproduce.algorithms.parts.aggregation import token_mean
from reproduce.algorithms.parts.state import RunServices, State


def gae(
    rewards_B: Tensor, values_BT: Tensor, mask_BT: Tensor, discount: float = 1.0, gae_lambda: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Compute advantages and returns by GAE (arXiv 1506.02438, eq. 16).

    The time axis of a row is its sequence of loss-mask tokens. Tokens of a tool result are no actions and have no
    value, so the step from the last token of one turn to the first of the next is one step. With i running over this
    axis,

        delta_i = r_i + discount V_{i+1} - V_i,   A_i = delta_i + discount gae_lambda A_{i+1},   return_i = A_i + V_i

    V and A are 0 after the last token. r is rewards_B at the last token and 0 before, since a trajectory's reward comes
    at its end. With discount = gae_lambda = 1 this is A_i = R - V_i and return_i = R.

    Args:
        rewards_B: rewards (B,).
        values_BT: the value of the state before each token (B, T), taken without gradient.
        mask_BT: loss mask (B, T).
        discount: gamma.
        gae_lambda: lambda.

    Returns:
        (advantages_BT, returns_BT), both (B, T), 0 outside the mask and in rows without loss-mask tokens.
    """
    values_BT = torch.where(mask_BT, values_BT.detach(), 0.0)
    advantages_BT = torch.zeros_like(values_BT)
    later_B = next_value_B = values_BT.new_zeros(len(values_BT))
    reward_B = rewards_B.to(values_BT.dtype)
    for t in reversed(range(values_BT.shape[1])):
        here_B = mask_BT[:, t]
        delta_B = reward_B + discount * next_value_B - values_BT[:, t]
        later_B = torch.where(here_B, delta_B + discount * gae_lambda * later_B, later_B)
        next_value_B = torch.where(here_B, values_BT[:, t], next_value_B)
        reward_B = torch.where(here_B, 0.0, reward_B)  # given to the last loss-mask token of the row, once
        advantages_BT[:, t] = torch.where(here_B, later_B, 0.0)
    return advantages_BT, advantages_BT + values_BT


class ValueLoss(NamedTuple):
    """loss: scalar with gradient. clipped_fraction: share of the tokens whose gradient the clip removes."""

    loss: Tensor
    clipped_fraction: Tensor


def value_loss(
    values_BT: Tensor,
    old_values_BT: Tensor,
    returns_BT: Tensor,
    mask_BT: Tensor,
    value_clip: float | None = 0.5,
    weight: float = 1.0,
    normalizer: float | Tensor | None = None,
) -> ValueLoss:
    """Compute weight * token mean of max((V - R)^2, (clip(V, V_old +- value_clip) - R)^2).

    Args:
        values_BT: the critic's values now (B, T), with gradient.
        old_values_BT: V_old, its values at rollout (B, T).
        returns_BT: R (B, T).
        mask_BT: loss mask (B, T).
        value_clip: None: the plain squared error.
        weight: 1 in the code released for EPO, 1/2 in PPO's first implementation (OpenAI baselines). An AdamW critic
            hardly sees the difference.
        normalizer: loss-mask tokens of the update batch, if it is split.

    Returns:
        a `ValueLoss`.
    """
    error_BT = (values_BT - returns_BT) ** 2
    larger_BT, clipped_BT = error_BT, torch.zeros_like(mask_BT)
    if value_clip is not None:
        old_BT = old_values_BT.detach()
        bounded_BT = (torch.clamp(values_BT, old_BT - value_clip, old_BT + value_clip) - returns_BT) ** 2
        larger_BT = torch.maximum(error_BT, bounded_BT)
        clipped_BT = bounded_BT > error_BT
    tokens = mask_BT.sum().clamp(min=1)
    return ValueLoss(weight * token_mean(larger_BT, mask_BT, normalizer), (clipped_BT & mask_BT).sum() / tokens)


def explained_variance(values_BT: Tensor, returns_BT: Tensor, mask_BT: Tensor) -> float:
    """Compute 1 - Var(R - V) / Var(R) over the loss-mask tokens.

    Args:
        values_BT: V (B, T).
        returns_BT: R (B, T).
        mask_BT: loss mask (B, T).

    Returns:
        a number up to 1; NaN if all returns are equal.
    """
    returns, errors = returns_BT[mask_BT].double(), (returns_BT - values_BT)[mask_BT].double()
    variance = returns.var(correction=0) if returns.numel() else returns.new_zeros(())
    return float(1.0 - errors.var(correction=0) / variance) if variance > 0 else float("nan")


@dataclass(frozen=True)
class GAE:
    """Token advantages by GAE from the critic's values at rollout; the reward is at the last loss-mask token (PPO).

    whiten: (A - mean) / sqrt(var + whitening_epsilon) over all loss-mask tokens given. Groups are not used.
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
        """Compute the critic's targets returns_BT = A + V (B, T), with A before whitening."""
        return self._both(rewards_B, values_BT, mask_BT)[1]

    def _both(self, rewards_B, values_BT, mask_BT):
        return gae(rewards_B, values_BT, mask_BT, self.discount, self.gae_lambda)


@dataclass(frozen=True)
class TokenCritic:
    """A value per token, from a network of the policy's size that trains on the policy's mini-batches.

    critic_learning_rate: of its AdamW; None: the policy's. critic_max_grad_norm: the norm at which its gradient is
    clipped. value_clip, value_loss_weight: as in `parts.critics.value_loss`.
    """

    critic_learning_rate: float | None = None
    value_clip: float | None = 0.5
    value_loss_weight: float = 1.0
    critic_max_grad_norm: float = 1.0
    needs = ("values_BT", "old_values_BT", "returns_BT")
    metrics = ("value_loss", "value_clip_fraction", "value_grad_norm", "value_explained_variance")

    def state(self, run: RunServices) -> State:
        """Open the network, with its optimiser."""
        return run.value_network()

    def __call__(self, values_BT, old_values_BT, returns_BT, mask_BT, normalizer):
        return value_loss(
            values_BT, old_values_BT, returns_BT, mask_BT, self.value_clip, self.value_loss_weight, normalizer
        )
