"""MinPRO (arXiv 2601.22718): a token's weight also holds the smallest ratio that came before it in its trajectory.

J = (1 / sum_i |y_i|) sum_i sum_t sg(clip(m_t delta_t, 1 - eps_low, 1 + eps_high)) A_i log pi(y_t)
m_t = min_{j < t} delta_j
The exact weight of a prefix is the product of its ratios, whose variance is what the minimum avoids. Tool results are
no actions and are skipped; in a trajectory of several turns the minimum runs across turns. m_1 is 1 (assumed).

No code was found, and neither bound is printed. The bounds here are CISPO's, to compare at equal ones. With a floor of
0.8 nearly all tokens after a ratio below 0.8 get exactly 0.8, and the method is almost constant: the sweep to run is
clip_low 1 (no floor) or 0.2, times clip_high 0.28 or 4. It needs batches that are reused for several epochs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import ClippedWeight, GroupZScore, TokenMean
from reproduce.algorithms.parts.ratios import Ratio, TokenRatio
from reproduce.algorithms.policies import Independent


def prefix_minimum(log_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """min_{j < t} of log_BT over the loss-mask tokens before t, without gradient; 0 where there are none."""
    known_BT = torch.where(mask_BT, log_BT.detach(), float("inf"))
    earlier_BT = torch.cat([torch.full_like(known_BT[:, :1], float("inf")), known_BT[:, :-1]], dim=1)
    smallest_BT = earlier_BT.cummin(1).values if earlier_BT.shape[1] else earlier_BT
    return torch.where(smallest_BT.isinf(), 0.0, smallest_BT)


@dataclass(frozen=True)
class PrefixMinimum(TokenRatio):
    """m_t delta_t, whose gradient is that of delta_t. log_ratio_bound: as of the token ratio."""

    acts_only_off_policy = True

    def __call__(self, tensors, mask_BT):
        plain = super().__call__(tensors, mask_BT)
        log_BT = torch.where(mask_BT, plain.log_BT + prefix_minimum(plain.log_BT, mask_BT), 0.0)
        return Ratio(log_BT, log_BT.clamp(-self.log_ratio_bound, self.log_ratio_bound).exp(), plain.logps_BT)


MINPRO = Algorithm(
    name="minpro",
    citation="MinPRO 2026, arXiv 2601.22718",
    rollout=Independent(),
    advantage=GroupZScore(std_epsilon=1e-6),
    ratio=PrefixMinimum(),
    surrogate=ClippedWeight(clip_low=1.0, clip_high=4.0),
    aggregation=TokenMean(),
    sources={
        "aggregation": "the objective: all tokens",
        "std_epsilon": "as grpo",
        "log_ratio_bound": "as grpo",
        "clip_low": "not printed (assumed: no floor, as cispo)",
        "clip_high": "not printed (assumed: weights up to 5, as cispo)",
    },
)
