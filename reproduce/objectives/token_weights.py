"""Which tokens carry the policy gradient."""

import math

import torch
from torch import Tensor


def top_entropy(entropies_BT: Tensor, mask_BT: Tensor, fraction: float) -> Tensor:
    """Keep_BT (bool): the ceil(fraction * N) masked-in tokens of highest entropy among all N given, N over all rows.

    Rule of arXiv 2506.01939 ("beyond the 80/20 rule"). Ties at the threshold are broken by position, so that exactly
    that many are kept, as in its released code. The choice spans the tensors that are passed: one micro-batch in the
    released code, so that it depends on how an update is split.
    """
    keep_BT = torch.zeros_like(mask_BT)
    entropies = entropies_BT.detach()[mask_BT]
    kept = math.ceil(fraction * entropies.numel() - 1e-9)  # 0.07 * 100 is 7.000000000000001
    chosen = torch.zeros_like(entropies, dtype=torch.bool)
    chosen[entropies.sort(descending=True, stable=True).indices[:kept]] = True
    keep_BT[mask_BT] = chosen
    return keep_BT
