"""Which tokens carry the policy gradient.

Parts: (tensors, mask_BT) -> weight_BT, which multiplies the surrogate's term of each token.

over_one_call: the part ranks or counts the tokens of one call, so that an update that is split into micro-batches has
another gradient than the whole one. The trainer passes whole updates.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from reproduce.errors import UserError


def top_entropy(entropies_BT: Tensor, mask_BT: Tensor, fraction: float) -> Tensor:
    """Keep_BT (bool): the ceil(fraction * N) masked-in tokens of highest entropy among all N given, N over all rows.

    Rule of arXiv 2506.01939 ("beyond the 80/20 rule"). Ties at the threshold are broken by position, so that exactly
    that many are kept, as in its released code. The choice spans the tensors that are passed: one micro-batch in the
    released code, so that it depends on how an update is split.
    """
    return highest(entropies_BT, mask_BT, math.ceil(fraction * int(mask_BT.sum()) - 1e-9))  # 0.07 * 100 is above 7


def highest(values_BT: Tensor, mask_BT: Tensor, count: int) -> Tensor:
    """keep_BT (bool): the `count` masked-in tokens of highest value, all if there are fewer; ties by position."""
    keep_BT = torch.zeros_like(mask_BT)
    values = values_BT.detach()[mask_BT]
    chosen = torch.zeros_like(values, dtype=torch.bool)
    chosen[values.sort(descending=True, stable=True).indices[:count]] = True
    keep_BT[mask_BT] = chosen
    return keep_BT


DENOMINATORS = ("kept", "all")


@dataclass(frozen=True)
class TopEntropy:
    """Only the top_entropy_fraction of the loss-mask tokens with the highest current entropy learn (arXiv 2506.01939).

    top_entropy_denominator: "kept" (the paper, its released code) scales the kept terms by all tokens / kept tokens,
    so that a token mean averages over the kept ones; "all" (TRL's `top_entropy_quantile`) leaves all tokens in the
    denominator, a gradient smaller by the kept fraction. Tokens are counted and ranked in the tensors given.
    """

    top_entropy_fraction: float = 0.2
    top_entropy_denominator: str = "kept"
    needs = ("entropies_BT",)
    over_one_call = True

    def __post_init__(self):
        if self.top_entropy_denominator not in DENOMINATORS:
            raise UserError(f"top_entropy_denominator must be 'kept' or 'all', not {self.top_entropy_denominator!r}")

    def __call__(self, tensors, mask_BT):
        entropies_BT = tensors["entropies_BT"]
        keep_BT = top_entropy(entropies_BT, mask_BT, self.top_entropy_fraction)
        weight_BT = keep_BT.to(entropies_BT.dtype)
        if self.top_entropy_denominator == "kept":
            weight_BT = weight_BT * (mask_BT.sum().to(weight_BT.dtype) / keep_BT.sum().clamp(min=1))
        return weight_BT
