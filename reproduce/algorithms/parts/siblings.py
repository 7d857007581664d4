"""The nodes of a batch's trees, and z-scores among siblings."""

from typing import NamedTuple

import torch
from torch import Tensor

from reproduce.algorithms.parts.advantages import finite_rewards, group_zscore


class Nodes(NamedTuple):
    """The N nodes of a batch: turns, each in the rows of all leaves below it.

    of_tokens: node of every loss-mask token, as `tensor[mask_BT]` lists them. row_P, node_P: the P pairs of a row and a
    node in it. parent_N: number of the node's parent; two nodes have the same if and only if they are siblings.
    """

    of_tokens: Tensor
    row_P: Tensor
    node_P: Tensor
    parent_N: Tensor


def nodes(groups_B: Tensor, turns_BT: Tensor, owners_BT: Tensor, mask_BT: Tensor) -> Nodes:
    """Find the nodes of a batch. A turn that is shared in part is two nodes.

    Args:
        groups_B: group ids (B,).
        turns_BT: turn index (B, T), int64.
        owners_BT: owner of each token (B, T), int64 (`reproduce.rollouts.tensors`).
        mask_BT: loss mask (B, T).

    Raises:
        ValueError: an owner or a turn is negative at a loss-mask token.
    """
    rows = torch.arange(len(mask_BT), device=mask_BT.device)[:, None].expand(mask_BT.shape)[mask_BT]
    turns, owners = turns_BT[mask_BT], owners_BT[mask_BT]
    if rows.numel() and min(int(turns.min()), int(owners.min())) < 0:
        raise ValueError("turns_BT and owners_BT must not be negative (padding) at loss-mask tokens")
    keys, of_tokens = torch.unique(torch.stack([groups_B[rows], turns, owners]), dim=1, return_inverse=True)
    starts = torch.ones_like(rows, dtype=torch.bool)
    starts[1:] = (rows[1:] != rows[:-1]) | (of_tokens[1:] != of_tokens[:-1])
    row_P, node_P = rows[starts], of_tokens[starts]
    roots = keys.shape[1] + torch.unique(groups_B, return_inverse=True)[1]
    before_P = torch.cat([node_P[:0], roots[row_P[:1]], node_P[:-1]]) if len(row_P) else node_P
    first_P = torch.ones_like(row_P, dtype=torch.bool)
    first_P[1:] = row_P[1:] != row_P[:-1]
    before_P = torch.where(first_P, roots[row_P], before_P)
    parent_N = torch.zeros_like(keys[0]).scatter_reduce(0, node_P, before_P, "amax", include_self=False)
    return Nodes(of_tokens, row_P, node_P, parent_N)


def sibling_values(
    rewards_B: Tensor, groups_B: Tensor, found: Nodes, mask_BT: Tensor, std_epsilon: float = 1e-6
) -> Tensor:
    """Compute z(Q) / d at every token: Q of its node among the node's siblings, d the rows that have the node.

    Args:
        rewards_B: rewards (B,), a leaf's in each row.
        groups_B: group ids (B,).
        found: the N nodes.
        mask_BT: loss mask (B, T).
        std_epsilon: added to the unbiased standard deviation.

    Returns:
        advantages_BT (B, T), 0 outside the mask and at nodes without siblings.
    """
    rewards_B = finite_rewards(rewards_B, groups_B)
    advantages_BT = rewards_B.new_zeros(mask_BT.shape)
    if not len(found.parent_N):
        return advantages_BT
    zeros_N = rewards_B.new_zeros(len(found.parent_N))
    values_P = rewards_B[found.row_P]
    rows_N = zeros_N.index_add(0, found.node_P, torch.ones_like(values_P))
    lowest_N = zeros_N.scatter_reduce(0, found.node_P, values_P, "amin", include_self=False)
    above_N = zeros_N.index_add(0, found.node_P, values_P - lowest_N[found.node_P]) / rows_N  # equal leaves: exactly 0
    scores_N = group_zscore(lowest_N + above_N, found.parent_N, std_epsilon)
    advantages_BT[mask_BT] = (scores_N / rows_N)[found.of_tokens]
    return advantages_BT
