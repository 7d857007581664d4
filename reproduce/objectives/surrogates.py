"""Surrogate objectives, per token, to be maximised."""

from typing import NamedTuple

import torch
from torch import Tensor

from reproduce.objectives.ratios import Ratio


class Surrogate(NamedTuple):
    """objective_BT with gradient, and which tokens a bound acts on.

    low_BT / high_BT (bool): the gradient is removed, or bounded, because the ratio is too low / too high.
    kept_BT (bool): the part of high_BT whose gradient is bounded but not removed.
    """

    objective_BT: Tensor
    low_BT: Tensor
    high_BT: Tensor
    kept_BT: Tensor


def ppo_min(
    ratio: Ratio,
    advantages_BT: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
    keep_upper_gradient: bool = False,
) -> Surrogate:
    """PPO's clipped objective min(delta A, clip(delta, lo, hi) A) with lo = 1 - clip_low, hi = 1 + clip_high.

    Written case by case; g is the gradient with respect to log pi:

    | case                          | value   | g       |                                                    |
    |-------------------------------|---------|---------|----------------------------------------------------|
    | delta < lo and A < 0          | lo A    | 0       | low                                                |
    | delta > hi and A > 0          | hi A    | 0       | high                                               |
    | the same, keep_upper_gradient | hi A    | hi A    | high and kept: AEPO's clip (arXiv 2510.14545)      |
    | delta > dual_clip and A < 0   | c A     | 0       | high; only with dual_clip (arXiv 1912.09729 eq. 5) |
    | otherwise                     | delta A | delta A |                                                    |

    The kept term is hi * exp(log delta - sg(log delta)) * A, evaluated only where it applies: finite for every finite
    pair of log-probabilities (hi * delta / sg(delta) is NaN once delta underflows).
    """
    low_bound, high_bound = 1.0 - clip_low, 1.0 + clip_high
    low_BT = (ratio.value_BT < low_bound) & (advantages_BT < 0)
    high_BT = (ratio.value_BT > high_bound) & (advantages_BT > 0)
    kept_BT = high_BT if keep_upper_gradient else torch.zeros_like(high_BT)
    bounded_BT = torch.where(low_BT, low_bound, torch.where(high_BT, high_bound, ratio.value_BT))
    if keep_upper_gradient:
        log_BT = torch.where(high_BT, ratio.log_BT, 0.0)
        bounded_BT = torch.where(high_BT, high_bound * (log_BT - log_BT.detach()).exp(), bounded_BT)
    if dual_clip is not None:
        dual_BT = (ratio.value_BT > dual_clip) & (advantages_BT < 0)
        bounded_BT = torch.where(dual_BT, dual_clip, bounded_BT)
        high_BT = high_BT | dual_BT
    return Surrogate(bounded_BT * advantages_BT, low_BT, high_BT, kept_BT)
