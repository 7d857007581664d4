"""Surrogate objectives, per token, to be maximised."""

from typing import NamedTuple

import torch
from torch import Tensor

from reproduce.objectives.ratios import Ratio


class Surrogate(NamedTuple):
    """objective_BT with gradient, and which tokens a bound acts on.

    low_BT / high_BT (bool): the gradient is removed, or bounded, because the ratio is too low / too high.
    kept_BT (bool): the part of low_BT and high_BT whose gradient is bounded but not removed.
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
    keep_low: float | None = None,
    keep_high: float | None = None,
) -> Surrogate:
    """PPO's clipped objective min(delta A, clip(delta, lo, hi) A) with lo = 1 - clip_low, hi = 1 + clip_high.

    Written case by case; g is the gradient with respect to log pi:

    | case                         | value         | g             |                                                  |
    |------------------------------|---------------|---------------|--------------------------------------------------|
    | delta < lo, A < 0            | lo A          | 0             | low                                              |
    | the same, keep_low = b1      | b1 lo A       | b1 lo A       | low and kept: GPPO (2508.07629), CE-GPPO         |
    | delta > hi, A > 0            | hi A          | 0             | high                                             |
    | the same, keep_high = b2     | b2 hi A       | b2 hi A       | high and kept: those and AEPO (2510.14545)       |
    | delta > dual_clip, A < 0     | dual_clip A   | 0             | high; only with dual_clip (1912.09729, eq. 5)    |
    | otherwise                    | delta A       | delta A       |                                                  |

    At a factor of 1 a kept bound leaves the value PPO's (GPPO, AEPO); CE-GPPO (2509.20712) scales value and gradient.
    A kept term is its bound * exp(log delta - sg(log delta)) * A, evaluated only where it applies and log delta is
    finite: no ratio, 0 and inf included, makes it NaN (hi * delta / sg(delta) is NaN once delta underflows).
    """
    low_bound, high_bound = 1.0 - clip_low, 1.0 + clip_high
    low_BT = (ratio.value_BT < low_bound) & (advantages_BT < 0)
    high_BT = (ratio.value_BT > high_bound) & (advantages_BT > 0)
    kept_BT = torch.zeros_like(high_BT)
    bounded_BT = torch.where(low_BT, low_bound, torch.where(high_BT, high_bound, ratio.value_BT))
    for side_BT, bound, factor in ((low_BT, low_bound, keep_low), (high_BT, high_bound, keep_high)):
        if factor is not None:
            log_BT = torch.where(side_BT & ratio.log_BT.isfinite(), ratio.log_BT, 0.0)
            bounded_BT = torch.where(side_BT, factor * bound * (log_BT - log_BT.detach()).exp(), bounded_BT)
            kept_BT = kept_BT | side_BT
    if dual_clip is not None:
        dual_BT = (ratio.value_BT > dual_clip) & (advantages_BT < 0)
        bounded_BT = torch.where(dual_BT, dual_clip, bounded_BT)
        high_BT = high_BT | dual_BT
    return Surrogate(bounded_BT * advantages_BT, low_BT, high_BT, kept_BT)


def clipped_weight(ratio: Ratio, advantages_BT: Tensor, clip_low: float, clip_high: float) -> Surrogate:
    """CISPO's objective sg(clip(delta, lo, hi)) A log pi, lo = 1 - clip_low, hi = 1 + clip_high (arXiv 2506.13585).

    g = clip(delta, lo, hi) A: every token keeps a gradient, whatever its ratio and the sign of its advantage.
    """
    low_bound, high_bound = 1.0 - clip_low, 1.0 + clip_high
    weight_BT = ratio.value_BT.detach()
    low_BT = (weight_BT < low_bound) & (advantages_BT != 0)
    high_BT = (weight_BT > high_bound) & (advantages_BT != 0)
    objective_BT = weight_BT.clamp(low_bound, high_bound) * advantages_BT * ratio.logps_BT
    return Surrogate(objective_BT, low_BT, high_BT, low_BT | high_BT)


def policy_gradient(ratio: Ratio, advantages_BT: Tensor, importance_weight: bool) -> Surrogate:
    """No bound at all: A log pi, whose g is A whatever the ratio (REINFORCE); with importance_weight delta A.

    The latter's g is delta A. Both have the same gradient where pi = pi_old.
    """
    nowhere_BT = torch.zeros_like(advantages_BT, dtype=torch.bool)
    objective_BT = (ratio.value_BT if importance_weight else ratio.logps_BT) * advantages_BT
    return Surrogate(objective_BT, nowhere_BT, nowhere_BT, nowhere_BT)
