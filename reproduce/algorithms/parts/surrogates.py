"""Surrogate objectives, per token, to be maximised.

Parts: (ratio, advantages_BT) -> `Surrogate`.

acts_only_off_policy: what the part adds to PPO-min has no effect where pi = pi_old (see `algorithms.run`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from reproduce.algorithms.parts.ratios import Ratio


class Surrogate(NamedTuple):
    """An objective per token, and the tokens on which a bound acts. All tensors are (B, T).

    objective_BT: with gradient. low_BT, high_BT (bool): the gradient is removed or bounded because the ratio is too low
    or too high. kept_BT (bool): the part of both whose gradient is bounded but not removed. metrics: name -> number, of
    those that the part declares.
    """

    objective_BT: Tensor
    low_BT: Tensor
    high_BT: Tensor
    kept_BT: Tensor
    metrics: Mapping[str, float] = MappingProxyType({})


def ppo_min(
    ratio: Ratio,
    advantages_BT: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
    keep_low: float | None = None,
    keep_high: float | None = None,
) -> Surrogate:
    """Compute PPO's min(delta A, clip(delta, lo, hi) A) with lo = 1 - clip_low, hi = 1 + clip_high, case by case.

    g is the gradient with respect to log pi:

    | case                         | value         | g             |                                                  |
    |------------------------------|---------------|---------------|--------------------------------------------------|
    | delta < lo, A < 0            | lo A          | 0             | low                                              |
    | the same, keep_low = b1      | b1 lo A       | b1 lo A       | low and kept: GPPO (2508.07629), CE-GPPO         |
    | delta > hi, A > 0            | hi A          | 0             | high                                             |
    | the same, keep_high = b2     | b2 hi A       | b2 hi A       | high and kept: those and AEPO (2510.14545)       |
    | delta > dual_clip, A < 0     | dual_clip A   | 0             | high; only with dual_clip (1912.09729, eq. 5)    |
    | otherwise                    | delta A       | delta A       |                                                  |

    At a factor of 1 a kept bound leaves the value PPO's (GPPO, AEPO); CE-GPPO (2509.20712) scales value and gradient. A
    kept term is its bound * exp(log delta - sg(log delta)) * A, evaluated only where it applies and log delta is
    finite: no ratio, 0 and inf included, makes it NaN (hi * delta / sg(delta) is NaN once delta underflows).

    Args:
        ratio: delta, of shape (B, T).
        advantages_BT: A (B, T).
        clip_low: 1 - lo.
        clip_high: hi - 1.
        dual_clip: the bound for A < 0; None: there is none.
        keep_low: b1; None: the gradient is removed.
        keep_high: b2; None: the gradient is removed.
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
    """Compute CISPO's sg(clip(delta, lo, hi)) A log pi, lo = 1 - clip_low, hi = 1 + clip_high (arXiv 2506.13585).

    g = clip(delta, lo, hi) A: every token keeps a gradient, whatever its ratio and the sign of its advantage.

    Args:
        ratio: delta, of shape (B, T).
        advantages_BT: A (B, T).
        clip_low: 1 - lo.
        clip_high: hi - 1.
    """
    low_bound, high_bound = 1.0 - clip_low, 1.0 + clip_high
    weight_BT = ratio.value_BT.detach()
    low_BT = (weight_BT < low_bound) & (advantages_BT != 0)
    high_BT = (weight_BT > high_bound) & (advantages_BT != 0)
    objective_BT = weight_BT.clamp(low_bound, high_bound) * advantages_BT * ratio.logps_BT
    return Surrogate(objective_BT, low_BT, high_BT, low_BT | high_BT)


def policy_gradient(ratio: Ratio, advantages_BT: Tensor, importance_weight: bool) -> Surrogate:
    """Compute A log pi (REINFORCE; g is A whatever the ratio), or delta A (g is delta A). There is no bound.

    Both have the same gradient where pi = pi_old.

    Args:
        ratio: delta, of shape (B, T).
        advantages_BT: A (B, T).
        importance_weight: True: delta A.
    """
    nowhere_BT = torch.zeros_like(advantages_BT, dtype=torch.bool)
    objective_BT = (ratio.value_BT if importance_weight else ratio.logps_BT) * advantages_BT
    return Surrogate(objective_BT, nowhere_BT, nowhere_BT, nowhere_BT)


@dataclass(frozen=True)
class PPOMin:
    """min(delta A, clip(delta, 1 - clip_low, 1 + clip_high) A), with a dual clip if dual_clip is not None."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    needs = ("advantages_BT",)
    acts_only_off_policy = False

    @property
    def clip_range(self) -> tuple[float, float]:
        return 1.0 - self.clip_low, 1.0 + self.clip_high

    def __call__(self, ratio, advantages_BT):
        return ppo_min(ratio, advantages_BT, self.clip_low, self.clip_high, self.dual_clip)


@dataclass(frozen=True)
class UpperGradientKeeping(PPOMin):
    """PPO-min whose upper bound keeps the gradient (1 + clip_high) A (AEPO); PPO-min if the switch is off."""

    gradient_keeping_clip: bool = True

    @property
    def acts_only_off_policy(self) -> bool:
        return self.gradient_keeping_clip

    def __call__(self, ratio, advantages_BT):
        keep_high = 1.0 if self.gradient_keeping_clip else None
        return ppo_min(ratio, advantages_BT, self.clip_low, self.clip_high, self.dual_clip, keep_high=keep_high)


@dataclass(frozen=True)
class GradientKeeping(PPOMin):
    """PPO-min whose bounds keep the gradients beta_1 (1 - clip_low) A and beta_2 (1 + clip_high) A.

    GPPO at beta_1 = beta_2 = 1, where the value is PPO-min's; CE-GPPO otherwise, where value and gradient are scaled.
    """

    beta_1: float = 1.0
    beta_2: float = 1.0
    acts_only_off_policy = True

    def __call__(self, ratio, advantages_BT):
        return ppo_min(ratio, advantages_BT, self.clip_low, self.clip_high, self.dual_clip, self.beta_1, self.beta_2)


@dataclass(frozen=True)
class ClippedWeight:
    """sg(clip(delta, 1 - clip_low, 1 + clip_high)) A log pi (CISPO); clip_low 1 is no lower bound."""

    clip_low: float = 1.0
    clip_high: float = 4.0
    needs = ("advantages_BT",)
    acts_only_off_policy = True

    @property
    def clip_range(self) -> tuple[float, float]:
        return 1.0 - self.clip_low, 1.0 + self.clip_high

    def __call__(self, ratio, advantages_BT):
        return clipped_weight(ratio, advantages_BT, self.clip_low, self.clip_high)


@dataclass(frozen=True)
class PolicyGradient:
    """A log pi (REINFORCE), or delta A with importance_weight; no ratio is out of range."""

    importance_weight: bool = False
    needs = ("advantages_BT",)
    clip_range = (0.0, float("inf"))
    acts_only_off_policy = False

    @property
    def only_on_policy(self) -> bool:
        """Whether rows of an older policy count as those of the current one."""
        return not self.importance_weight

    def __call__(self, ratio, advantages_BT):
        return policy_gradient(ratio, advantages_BT, self.importance_weight)
