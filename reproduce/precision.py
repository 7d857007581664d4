"""The precision of what is computed from a model's outputs."""

import torch
from torch import Tensor


def wide(values: Tensor) -> Tensor:
    """`values` in float32, or in float64 where they are already: no log-probability is taken in half precision."""
    return values if values.dtype == torch.float64 else values.float()
