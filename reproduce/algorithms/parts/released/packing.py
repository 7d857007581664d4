"""Pack rows into micro-batches by tokens, and compute the loss that depends on the packing.

verl splits an update batch so that each part fits a token budget, and the code released for ARPO and AEPO averages over
the tokens of each part (`verl/workers/actor/dp_actor.py`, `update_policy`). The result depends on the packing; a token
mean over the whole update batch (`aggregation.token_mean`) does not.
"""

import math

import torch
from torch import Tensor

from reproduce.algorithms.parts.advantages import entropy_zscore
from reproduce.algorithms.parts.aggregation import masked_sum


def micro_batches(mask_BT: Tensor, sequences: float | None, limit: int | None = None) -> Tensor:
    """Assign each row to a micro-batch, under a budget of `sequences` x `limit` tokens.

    A row's length is the position of its last loss-mask token. As in verl there are ceil(all tokens / budget)
    micro-batches of about equal size: the longest row goes first, each to the emptiest one (verl: Karmarkar-Karp).
    Among equally long rows the masks decide, and only among equal masks the order of the rows.

    Args:
        mask_BT: loss mask (B, T).
        sequences: the budget, in rows of `limit` tokens; None: all rows in one micro-batch.
        limit: the longest completion that may be sampled, in tokens, which the launchers' budget counts; None: the
            longest row given.

    Returns:
        pack_B (B,), int64: the micro-batch of each row.
    """
    pack_B = torch.zeros(mask_BT.shape[0], dtype=torch.int64, device=mask_BT.device)
    if sequences is None or mask_BT.numel() == 0:
        return pack_B
    place_BT = mask_BT * torch.arange(1, mask_BT.shape[1] + 1, device=mask_BT.device)
    lengths = place_BT.amax(-1).tolist()
    keys = list(
        zip(lengths, mask_BT.sum(-1).tolist(), place_BT.sum(-1).tolist(), (place_BT**2).sum(-1).tolist(), strict=True)
    )
    loads = [0] * max(1, math.ceil(sum(lengths) / max(1.0, sequences * (limit or max(lengths)))))
    for row in sorted(range(len(lengths)), key=keys.__getitem__, reverse=True):
        emptiest = loads.index(min(loads))
        loads[emptiest] += lengths[row]
        pack_B[row] = emptiest
    return pack_B


def micro_batch_token_mean(values_BT: Tensor, mask_BT: Tensor, pack_B: Tensor, rows=None) -> Tensor:
    """Compute sum over micro-batches m of (rows_m / rows) * (token mean over m): each counts by its rows, not its
    tokens.

    Args:
        values_BT: values (B, T).
        mask_BT: loss mask (B, T).
        pack_B: micro-batch of each row (B,).
        rows: rows of the update batch; None: B.

    Returns:
        a scalar.
    """
    count = int(pack_B.max()) + 1 if pack_B.numel() else 0
    zeros_P = values_BT.new_zeros(count)
    sums_P = zeros_P.index_add(0, pack_B, masked_sum(values_BT, mask_BT))
    tokens_P = zeros_P.index_add(0, pack_B, mask_BT.sum(-1).to(values_BT.dtype))
    rows_P = zeros_P.index_add(0, pack_B, torch.ones_like(pack_B, dtype=values_BT.dtype))
    total = max(1, values_BT.shape[0] if rows is None else rows)
    return (sums_P / tokens_P.clamp(min=1) * rows_P).sum() / total


def micro_batch_entropy_zscore(entropies_BT: Tensor, mask_BT: Tensor, pack_B: Tensor) -> Tensor:
    """Compute `entropy_zscore` with the statistics of each row's micro-batch.

    Args:
        entropies_BT: token entropies (B, T), in nats.
        mask_BT: loss mask (B, T).
        pack_B: micro-batch of each row (B,).

    Returns:
        z_BT (B, T), 0 in a micro-batch with a single token (released: NaN).
    """
    z_BT = torch.zeros_like(entropies_BT, requires_grad=False)
    for pack in pack_B.unique().tolist():
        z_BT = z_BT + entropy_zscore(entropies_BT, mask_BT & (pack_B == pack)[:, None])
    return z_BT
