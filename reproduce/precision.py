"""The precision of numbers that are computed from a model's outputs."""

import torch
from torch import Tensor


def wide(values: Tensor) -> Tensor:
    """Convert `values` (any shape) to float32, or keep float64: no log-probability is computed in half precision."""
    return values if values.dtype == torch.float64 else values.float()
