"""Aggregate token values to one scalar. The caller can fix the denominator for a whole update batch.

An update batch is everything between two optimiser steps. If you split it into micro-batches and add their losses, each
micro-batch must divide by the number of the update batch: its rows (`rows`) or its loss-mask tokens (`normalizer`).
None counts them in the tensors given, which is right only without splitting. Under data parallelism that averages
gradients, pass the global number divided by the number of processes.

Parts: (values_BT, mask_BT, normalizer, rows) -> scalar.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def masked_sum(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum the masked-in tokens of each row.

    Args:
        values_BT: values (B, T).
        mask_BT: loss mask (B, T).

    Returns:
        sums (B,).
    """
    return torch.where(mask_BT, values_BT, 0.0).sum(-1)


def _denominator(number, default: Tensor | int, like: Tensor) -> Tensor:
    """The caller's number (or the local default) as a tensor of at least 1."""
    chosen = default if number is None else number
    return torch.as_tensor(chosen, dtype=like.dtype, device=like.device).clamp(min=1.0)


def sequence_mean(values_BT: Tensor, mask_BT: Tensor, rows=None) -> Tensor:
    """Compute (1 / rows) sum_i (1 / |y_i|) sum_t v, the mean over rows of token means (DeepSeekMath eq. 3; TRL `grpo`).

    A row without any loss-mask token adds 0 and stays in the denominator, as in TRL.

    Args:
        values_BT: values (B, T).
        mask_BT: loss mask (B, T).
        rows: rows of the update batch; None: B.

    Returns:
        a scalar.
    """
    row_means_B = masked_sum(values_BT, mask_BT) / mask_BT.sum(-1).clamp(min=1)
    return row_means_B.sum() / _denominator(rows, values_BT.shape[0], values_BT)


def token_mean(values_BT: Tensor, mask_BT: Tensor, normalizer=None) -> Tensor:
    """Compute the sum over loss-mask tokens / `normalizer` (DAPO, section 3.3). TRL: `dapo` with it, `bnpo` without.

    Args:
        values_BT: values (B, T).
        mask_BT: loss mask (B, T).
        normalizer: loss-mask tokens of the update batch; None: those given.

    Returns:
        a scalar.
    """
    return masked_sum(values_BT, mask_BT).sum() / _denominator(normalizer, mask_BT.sum(), values_BT)


def token_sum_const(values_BT: Tensor, mask_BT: Tensor, length: float, rows=None) -> Tensor:
    """Compute the sum over loss-mask tokens / (rows * length) (Dr. GRPO, arXiv 2503.20783; TRL `dr_grpo`).

    Args:
        values_BT: values (B, T).
        mask_BT: loss mask (B, T).
        length: a constant, in tokens.
        rows: rows of the update batch; None: B.

    Returns:
        a scalar.
    """
    return masked_sum(values_BT, mask_BT).sum() / (_denominator(rows, values_BT.shape[0], values_BT) * length)


@dataclass(frozen=True)
class SequenceMean:
    """Mean over `rows` of token means; ignores `normalizer`."""

    needs = ()

    def __call__(self, values_BT, mask_BT, normalizer, rows):
        return sequence_mean(values_BT, mask_BT, rows)


@dataclass(frozen=True)
class TokenMean:
    """Sum over tokens / `normalizer`; ignores `rows`."""

    needs = ()

    def __call__(self, values_BT, mask_BT, normalizer, rows):
        return token_mean(values_BT, mask_BT, normalizer)


@dataclass(frozen=True)
class TokenSumConst:
    """Sum over tokens / (`rows` * length_constant); ignores `normalizer`.

    length_constant: in tokens. None leaves it to the run (`algorithms.run.for_run`: its longest possible completion); a
    loss before that is refused.
    """

    length_constant: int | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        return ("length_constant",) if self.length_constant is None else ()

    def __call__(self, values_BT, mask_BT, normalizer, rows):
        if self.length_constant is None:
            raise ValueError("token_sum_const: length_constant is a setting; give it to `load`, not to the loss")
        return token_sum_const(values_BT, mask_BT, self.length_constant, rows)
