"""Choose which tokens carry the policy gradient.

Parts: (tensors, mask_BT) -> weight_BT, which multiplies the surrogate's term of each token.

over_one_call: the part ranks or counts the tokens of one call, so an update that is split into micro-batches would have
another gradient than the whole one. The trainer passes whole updates.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from reproduce.errors import one_of


def top_entropy(entropies_BT: Tensor, mask_BT: Tensor, fraction: float) -> Tensor:
    """Mark the ceil(fraction * N) masked-in tokens of highest entropy among all N given (arXiv 2506.01939).

    Ties at the threshold are broken by position, so that exactly that many are kept, as in the released code. The
    choice spans the tensors you pass: one micro-batch in the released code, so that it depends on how an update is
    split.

    Args:
        entropies_BT: token entropies (B, T), in nats.
        mask_BT: loss mask (B, T).
        fraction: share of the tokens to keep.

    Returns:
        keep_BT (B, T), bool.
    """
    return highest(entropies_BT, mask_BT, math.ceil(fraction * int(mask_BT.sum()) - 1e-9))  # 0.07 * 100 is above 7


def highest(values_BT: Tensor, mask_BT: Tensor, count: int) -> Tensor:
    """Mark the masked-in tokens of highest value; ties are broken by position.

    Args:
        values_BT: values (B, T).
        mask_BT: loss mask (B, T).
        count: how many to mark; all if there are fewer.

    Returns:
        keep_BT (B, T), bool.
    """
    keep_BT = torch.zeros_like(mask_BT)
    values = values_BT.detach()[mask_BT]
    chosen = torch.zeros_like(values, dtype=torch.bool)
    chosen[values.sort(descending=True, stable=True).indices[:count]] = True
    keep_BT[mask_BT] = chosen
    return keep_BT


@dataclass(frozen=True)
class TopEntropy:
    """Only the top_entropy_fraction of the loss-mask tokens with the highest current entropy learn (arXiv 2506.01939).

    top_entropy_denominator: "kept" (the paper, its released code) scales the kept terms by all tokens / kept tokens, so
    that a token mean averages over the kept ones; "all" (TRL's `top_entropy_quantile`) leaves all tokens in the
    denominator, which makes the gradient smaller by the kept fraction. Tokens are counted and ranked in the tensors
    given.
    """

    top_entropy_fraction: float = 0.2
    top_entropy_denominator: str = "kept"
    needs = ("entropies_BT",)
    over_one_call = True

    def __post_init__(self):
        one_of("top_entropy_denominator", self.top_entropy_denominator, ("kept", "all"))

    def __call__(self, tensors, mask_BT):
        entropies_BT = tensors["entropies_BT"]
        keep_BT = top_entropy(entropies_BT, mask_BT, self.top_entropy_fraction)
        weight_BT = keep_BT.to(entropies_BT.dtype)
        if self.top_entropy_denominator == "kept":
            weight_BT = weight_BT * (mask_BT.sum().to(weight_BT.dtype) / keep_BT.sum().clamp(min=1))
        return weight_BT
