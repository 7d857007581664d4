"""Token-weight parts: (tensors, mask_BT) -> weight_BT, which multiplies the surrogate's term of each token."""

from dataclasses import dataclass

from reproduce.errors import UserError
from reproduce.objectives import token_weights

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

    def __post_init__(self):
        if self.top_entropy_denominator not in DENOMINATORS:
            raise UserError(f"top_entropy_denominator must be 'kept' or 'all', not {self.top_entropy_denominator!r}")

    def __call__(self, tensors, mask_BT):
        entropies_BT = tensors["entropies_BT"]
        keep_BT = token_weights.top_entropy(entropies_BT, mask_BT, self.top_entropy_fraction)
        weight_BT = keep_BT.to(entropies_BT.dtype)
        if self.top_entropy_denominator == "kept":
            weight_BT = weight_BT * (mask_BT.sum() / keep_BT.sum().clamp(min=1))
        return weight_BT
