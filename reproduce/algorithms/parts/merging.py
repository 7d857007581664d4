"""Merge models in weight space (WARP, arXiv 2406.16768, stages 2 and 3): functions of one layer's weights."""

from collections.abc import Sequence

import torch
from torch import Tensor

PARALLEL = 1e-6
"""Sine of the angle below which two task vectors count as parallel, and SLERP is the linear merge that it tends to."""


def slerp(first: Tensor, second: Tensor, weight: float) -> Tensor:
    """Merge two task vectors on the arc between them: (sin((1 - w) O) first + sin(w O) second) / sin O, O the angle.

    Args:
        first: a task vector, of any shape.
        second: another one.
        weight: w, of the second, from 0 to 1.

    Returns:
        The merge, in float64; (1 - w) first + w second where one of them is 0 or both are parallel.
    """
    first, second = first.double(), second.double()
    lengths = first.norm() * second.norm()
    if lengths > 0:
        angle = torch.acos(((first * second).sum() / lengths).clamp(-1.0, 1.0))
        if angle.sin() > PARALLEL:
            return (torch.sin((1 - weight) * angle) * first + torch.sin(weight * angle) * second) / angle.sin()
    return (1 - weight) * first + weight * second


def warp_layer(start: Tensor, runs: Sequence[Tensor], step: float) -> Tensor:
    """Compute (1 - eta) start + eta (start + merged task vectors of the runs).

    Args:
        start: weights of a layer from which all runs began.
        runs: its weights after M of them. They are merged one after another; the m-th has weight 1 / m.
        step: eta.

    Returns:
        The layer that the next runs begin with, in the dtype of `start`.
    """
    merged = runs[0].double() - start.double()
    for count, run in enumerate(runs[1:], 2):
        merged = slerp(merged, run.double() - start.double(), 1 / count)
    return (start.double() + step * merged).to(start.dtype)
