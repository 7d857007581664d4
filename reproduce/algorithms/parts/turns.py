"""Advantages of turns (GiGPO), and of the tokens that the leaves of a tree share (ARPO's hard attribution).

Parts: (rewards_B, groups_B, tensors, mask_BT) -> advantages_BT and metrics.

Their tensors come from `reproduce.rollouts.tensors`. Pass all rows of a rollout batch in one call.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from reproduce.algorithms.parts.advantages import GroupZScore, finite_rewards, group_centred, group_zscore
from reproduce.errors import one_of


class Steps(NamedTuple):
    """The S turns that hold loss-mask tokens, one entry each.

    row_S, turn_S, anchor_S: its row, turn index and anchor id. of_tokens: the step of every loss-mask token, in the
    order in which `tensor[mask_BT]` lists them.
    """

    row_S: Tensor
    turn_S: Tensor
    anchor_S: Tensor
    of_tokens: Tensor


def steps(turns_BT: Tensor, anchors_BT: Tensor, mask_BT: Tensor) -> Steps:
    """Find the steps of a batch.

    Args:
        turns_BT: turn index (B, T), int64.
        anchors_BT: anchor id (B, T), int64.
        mask_BT: loss mask (B, T).

    Raises:
        ValueError: a loss-mask token has no turn, or a turn has two anchors.
    """
    rows = torch.arange(mask_BT.shape[0], device=mask_BT.device)[:, None].expand(mask_BT.shape)[mask_BT]
    turns, anchors = turns_BT[mask_BT], anchors_BT[mask_BT]
    if turns.numel() and (turns.min() < 0 or anchors.min() < 0):
        raise ValueError("turns_BT and anchors_BT must not be negative (padding) at loss-mask tokens")
    keys, of_tokens = torch.unique(torch.stack([rows, turns]), dim=1, return_inverse=True)
    start_S = torch.zeros_like(keys[0])
    anchor_S = start_S.scatter_reduce(0, of_tokens, anchors, "amax", include_self=False)
    if (anchor_S[of_tokens] != anchors).any():
        raise ValueError("anchors_BT holds two anchors in one turn of one row")
    return Steps(keys[0], keys[1], anchor_S, of_tokens)


def step_returns(rewards_B: Tensor, found: Steps, discount: float) -> Tensor:
    """Compute discount^(T - t) R: the reward comes at the end of the row's last turn T (GiGPO, section 4.2).

    Args:
        rewards_B: rewards R (B,).
        found: the S steps of the batch.
        discount: gamma.

    Returns:
        returns_S (S,).
    """
    last_B = torch.zeros_like(rewards_B, dtype=torch.int64)
    last_B = last_B.scatter_reduce(0, found.row_S, found.turn_S, "amax", include_self=False)
    return rewards_B[found.row_S] * rewards_B.new_tensor(discount) ** (last_B[found.row_S] - found.turn_S)


def episode_and_step(
    rewards_B: Tensor,
    groups_B: Tensor,
    turns_BT: Tensor,
    anchors_BT: Tensor,
    mask_BT: Tensor,
    *,
    step_weight: float = 1.0,
    discount: float = 0.95,
    divide_by_std: bool = True,
    over_steps: bool = False,
    std_epsilon: float = 1e-6,
) -> Tensor:
    """Compute GiGPO's A_episode + step_weight * A_step (arXiv 2505.10978, section 4).

    A_episode compares the row's reward with the rewards of its group. A_step compares the step's discounted return with
    those of all steps of the group that started from an identical anchor; a step alone with its anchor gets 0. To
    compare is to subtract the mean and, if `divide_by_std`, to divide by (unbiased std + std_epsilon).

    Args:
        rewards_B: rewards (B,), all rows of a group.
        groups_B: group ids (B,).
        turns_BT: turn index (B, T), int64.
        anchors_BT: anchor id (B, T), int64.
        mask_BT: loss mask (B, T).
        step_weight: weight of A_step.
        discount: gamma of the step returns.
        divide_by_std: False: subtract the mean only.
        over_steps: a group's statistics count each row once per step, so a long row counts more. False: once.
        std_epsilon: added to the standard deviation.

    Returns:
        advantages_BT (B, T), 0 outside the mask.
    """
    rewards_B = finite_rewards(rewards_B, groups_B)

    def against(values: Tensor, groups: Tensor) -> Tensor:
        return group_zscore(values, groups, std_epsilon) if divide_by_std else group_centred(values, groups)

    found = steps(turns_BT, anchors_BT, mask_BT)
    group_S = groups_B[found.row_S]
    if over_steps:
        episode_S = against(rewards_B[found.row_S], group_S)
    else:
        episode_S = against(rewards_B, groups_B)[found.row_S]
    _, anchor_group_S = torch.unique(torch.stack([group_S, found.anchor_S]), dim=1, return_inverse=True)
    step_S = against(step_returns(rewards_B, found, discount), anchor_group_S)
    advantages_BT = rewards_B.new_zeros(mask_BT.shape)
    advantages_BT[mask_BT] = (episode_S + step_weight * step_S)[found.of_tokens]
    return advantages_BT


def shared_mean(values_B: Tensor, owners_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Compute, at a token of d rows, the mean of their d values, else the row's own value (ARPO, arXiv 2507.19849,
    3.2).

    Two rows share a token if both have the same owner at the same position. A token whose rows have equal values gets
    exactly that value.

    Args:
        values_B: one value per row (B,), all rows of a tree.
        owners_BT: owner of each token (B, T), int64.
        mask_BT: loss mask (B, T).

    Returns:
        values_BT (B, T), 0 outside the mask.

    Raises:
        ValueError: an owner is negative at a loss-mask token.
    """
    width = mask_BT.shape[1]
    values = values_B[:, None].expand(mask_BT.shape)[mask_BT]
    owners = owners_BT[mask_BT]
    if owners.numel() and owners.min() < 0:
        raise ValueError("owners_BT must not be negative (padding) at loss-mask tokens")
    positions = torch.arange(width, device=mask_BT.device).expand(mask_BT.shape)[mask_BT]
    keys, token_index = torch.unique(owners * width + positions, return_inverse=True)
    start = values.new_zeros(keys.numel())
    lowest = start.scatter_reduce(0, token_index, values, "amin", include_self=False)
    count = start.index_add(0, token_index, torch.ones_like(values))
    mean = lowest + start.index_add(0, token_index, values - lowest[token_index]) / count
    shared_BT = values.new_zeros(mask_BT.shape)
    shared_BT[mask_BT] = mean[token_index]
    return shared_BT


@dataclass(frozen=True)
class EpisodeAndStep:
    """A_episode + step_weight * A_step, the same at every token of a turn (GiGPO).

    normalisation: "mean_std" (minus the mean, divided by the standard deviation) or "mean" (minus the mean), for both
    terms. episode_statistics: a group's mean and standard deviation over its "trajectories", or over all their "steps".
    """

    step_weight: float = 1.0
    step_discount: float = 0.95
    normalisation: str = "mean_std"
    episode_statistics: str = "trajectories"
    std_epsilon: float = 1e-6
    needs = ("turns_BT", "anchors_BT")

    def __post_init__(self):
        one_of("normalisation", self.normalisation, ("mean", "mean_std"))
        one_of("episode_statistics", self.episode_statistics, ("trajectories", "steps"))

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        advantages_BT = episode_and_step(
            rewards_B,
            groups_B,
            tensors["turns_BT"],
            tensors["anchors_BT"],
            mask_BT,
            step_weight=self.step_weight,
            discount=self.step_discount,
            divide_by_std=self.normalisation == "mean_std",
            over_steps=self.episode_statistics == "steps",
            std_epsilon=self.std_epsilon,
        )
        return advantages_BT, {}


@dataclass(frozen=True)
class HardAttribution(GroupZScore):
    """The group z-score of a row, and at tokens that d rows share the mean of their d z-scores (ARPO section 3.2)."""

    needs = ("owners_BT",)

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        advantages_B = group_zscore(rewards_B, groups_B, self.std_epsilon)
        return shared_mean(advantages_B, tensors["owners_BT"], mask_BT), {}
