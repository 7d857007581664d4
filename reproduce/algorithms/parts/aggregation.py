"""From token values to one scalar. Each has a denominator that the caller can fix for a whole update batch.

An update batch is everything between two optimiser steps. When it is split into micro-batches whose losses are
summed, each micro-batch must divide by the number of the *update batch*: its rows (`rows`) or its loss-mask tokens
(`normalizer`). Left at None they are counted in the tensors given, which is right only without splitting. Under data
parallelism that averages gradients, pass the global number divided by the number of processes.

Parts: (values_BT, mask_BT, normalizer, rows) -> scalar.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def masked_sum(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum_B over the masked-in tokens of each row."""
    return torch.where(mask_BT, values_BT, 0.0).sum(-1)


def _denominator(number, default: Tensor | int, like: Tensor) -> Tensor:
    """The caller's number (or the local default) as a tensor of at least 1."""
    chosen = default if number is None else number
    return torch.as_tensor(chosen, dtype=like.dtype, device=like.device).clamp(min=1.0)


def sequence_mean(values_BT: Tensor, mask_BT: Tensor, rows=None) -> Tensor:
    """Mean over rows of each row's token mean: (1 / rows) sum_i (1 / |y_i|) sum_t v (DeepSeekMath eq. 3; TRL `grpo`).

    A row without any loss-mask token adds 0 and stays in the denominator, as in TRL.
    """
    row_means_B = masked_sum(values_BT, mask_BT) / mask_BT.sum(-1).clamp(min=1)
    return row_means_B.sum() / _denominator(rows, values_BT.shape[0], values_BT)


def token_mean(values_BT: Tensor, mask_BT: Tensor, normalizer=None) -> Tensor:
    """Sum over loss-mask tokens / `normalizer` (DAPO, sec. 3.3). TRL: `dapo` when given, `bnpo` when None (local)."""
    return masked_sum(values_BT, mask_BT).sum() / _denominator(normalizer, mask_BT.sum(), values_BT)


def token_sum_const(values_BT: Tensor, mask_BT: Tensor, length: float, rows=None) -> Tensor:
    """Sum over loss-mask tokens / (rows * length), `length` constant (Dr. GRPO, arXiv 2503.20783; TRL `dr_grpo`)."""
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

    length_constant: in tokens; None leaves it to the run (`algorithms.run.for_run`: its longest possible completion),
    and a loss before that is refused.
    """

    length_constant: int | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        return ("length_constant",) if self.length_constant is None else ()

    def __call__(self, values_BT, mask_BT, normalizer, rows):
        if self.length_constant is None:
            raise ValueError("token_sum_const: length_constant is a setting; give it to `load`, not to the loss")
        return token_sum_const(values_BT, mask_BT, self.length_constant, rows)
