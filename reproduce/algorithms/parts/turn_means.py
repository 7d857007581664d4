"""Means that count trajectories, turns and tokens.

`turns_BT` (int64) is the index of the turn that each token belongs to, from 0. A row holds a whole trajectory, or one
turn of it; then several rows share a trajectory, and rows of later turns do not begin at turn 0. A turn counts if at
least one of its tokens is in the loss mask. Axis N: turn index.
"""

import torch
from torch import Tensor


def tokens_per_turn(mask_BT: Tensor, turns_BT: Tensor) -> Tensor:
    """Count the loss-mask tokens of each turn of each row.

    Args:
        mask_BT: loss mask (B, T).
        turns_BT: turn index (B, T), int64.

    Returns:
        counts (B, N), int64.

    Raises:
        ValueError: a turn is negative at a loss-mask token.
    """
    turns_BT = torch.where(mask_BT, turns_BT, 0)
    if turns_BT.numel() and turns_BT.min() < 0:
        raise ValueError("turns_BT holds a negative turn at a loss-mask token")
    turns = int(turns_BT.max()) + 1 if turns_BT.numel() else 1
    counts_BN = torch.zeros(mask_BT.shape[0], turns, dtype=torch.int64, device=mask_BT.device)
    return counts_BN.scatter_add(1, turns_BT, mask_BT.to(torch.int64))


def trajectory_turns(mask_BT: Tensor, turns_BT: Tensor, trajectories_B: Tensor | None = None) -> Tensor:
    """Count the turns of the whole trajectory that each row belongs to.

    Args:
        mask_BT: loss mask (B, T).
        turns_BT: turn index (B, T), int64.
        trajectories_B: trajectory of each row (B,), int64, if rows are single turns. Pass all rows of the rollout batch
            then. None: rows are whole trajectories.

    Returns:
        turns_B (B,), int64.

    Raises:
        ValueError: rows are whole trajectories, but one begins after turn 0.
    """
    counts_BN = tokens_per_turn(mask_BT, turns_BT)
    turns_B = (counts_BN > 0).sum(1)
    if trajectories_B is not None:
        ids, index_B = torch.unique(trajectories_B, return_inverse=True)
        return torch.zeros_like(ids).index_add(0, index_B, turns_B)[index_B]
    if bool((mask_BT.any(1) & (counts_BN[:, 0] == 0)).any()):
        raise ValueError(
            "turns_BT: a row begins after turn 0, so rows are single turns of longer trajectories; count their turns "
            "over the whole rollout batch and pass turn_weights_BT and trajectory_turns_B (algorithms.parts.turn_means)"
        )
    return turns_B


def turn_weights(
    mask_BT: Tensor, turns_BT: Tensor, trajectories_B: Tensor | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Compute weights such that sum(weight * v) / rows is EPO's mean of token values v (arXiv 2509.22576, eq. 2).

    That is the mean over trajectories of the mean over their turns of the mean over their tokens. For whole
    trajectories the weight is 1 / (T_j |tau_jt|), and the mean is exact in any batch. For rows of single turns it is
    (rows / trajectories) / (T_j |tau_jt|): exact on the whole rollout batch, and unbiased on an update batch of some of
    its rows.

    Args:
        mask_BT: loss mask (B, T).
        turns_BT: turn index (B, T), int64.
        trajectories_B: trajectory of each row (B,), or None, as in `trajectory_turns`.
        dtype: of the result.

    Returns:
        weights_BT (B, T), 0 outside the mask.
    """
    turns_B = trajectory_turns(mask_BT, turns_BT, trajectories_B)
    scale = 1.0 if trajectories_B is None else len(turns_B) / max(1, len(torch.unique(trajectories_B)))
    in_turn_BT = tokens_per_turn(mask_BT, turns_BT).gather(1, torch.where(mask_BT, turns_BT, 0))
    return torch.where(mask_BT, scale / (in_turn_BT * turns_B[:, None]).clamp(min=1).to(dtype), 0.0)
