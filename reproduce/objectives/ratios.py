"""Importance ratios between the policy being updated and the policy that sampled."""

from typing import NamedTuple

import torch
from torch import Tensor


class Ratio(NamedTuple):
    """log_BT: log pi - log pi_old, with gradient and unbounded; value_BT: its exponential after the numeric bound."""

    log_BT: Tensor
    value_BT: Tensor


def token_ratio(logps_BT: Tensor, old_logps_BT: Tensor, mask_BT: Tensor, log_bound: float = 20.0) -> Ratio:
    """Token ratio delta = pi / pi_old; 1 where masked out, and nothing at those positions can reach the result.

    The log-ratio is clamped to +-`log_bound` before the exponential (20 as in verl), so that value_BT and its gradient
    are finite in float32; beyond the bound value_BT carries no gradient. `old_logps_BT` is taken without gradient.
    """
    zero = logps_BT.new_zeros(())
    log_BT = torch.where(mask_BT, logps_BT, zero) - torch.where(mask_BT, old_logps_BT.detach(), zero)
    return Ratio(log_BT, log_BT.clamp(-log_bound, log_bound).exp())


def k3(log_ratio_BT: Tensor) -> Tensor:
    """k3_BT = e^u - u - 1 >= 0 with u = `log_ratio_BT`, Schulman's estimator.

    With tokens sampled from p and u = log q - log p its mean estimates KL(p || q), in nats.
    """
    return log_ratio_BT.exp() - log_ratio_BT - 1.0
