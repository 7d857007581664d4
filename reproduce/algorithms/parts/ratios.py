"""Importance ratios between the policy that is updated and the policy that sampled.

Parts: (tensors, mask_BT) -> `Ratio`.

acts_only_off_policy: where pi = pi_old the gradient is that of the plain token ratio (see `algorithms.run`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Ratio(NamedTuple):
    """A ratio at every token, as surrogates read it. Nothing outside the mask is in it.

    log_BT: its logarithm (B, T), with gradient and unbounded. value_BT: its exponential after the numeric bound (B, T).
    logps_BT: log pi itself (B, T), with gradient, for surrogates that weight it.
    """

    log_BT: Tensor
    value_BT: Tensor
    logps_BT: Tensor


def token_ratio(logps_BT: Tensor, old_logps_BT: Tensor, mask_BT: Tensor, log_bound: float = 20.0) -> Ratio:
    """Compute the token ratio delta = pi / pi_old, 1 outside the mask.

    The log-ratio is clamped to +-`log_bound` before the exponential (20 as in verl), so that value_BT and its gradient
    are finite in float32. Beyond the bound value_BT carries no gradient.

    Args:
        logps_BT: log pi (B, T), in nats.
        old_logps_BT: log pi_old (B, T), in nats, taken without gradient.
        mask_BT: loss mask (B, T).
        log_bound: the bound, in nats.
    """
    logps_BT, log_BT = _log_ratio(logps_BT, old_logps_BT, mask_BT)
    return Ratio(log_BT, log_BT.clamp(-log_bound, log_bound).exp(), logps_BT)


def sequence_ratio(logps_BT: Tensor, old_logps_BT: Tensor, mask_BT: Tensor, log_bound: float = 20.0) -> Ratio:
    """Compute GSPO's ratio s_i = (pi(y_i) / pi_old(y_i))^(1 / |y_i|), the same at every token of row i (arXiv
    2507.18071).

    As in the paper's GSPO-token, s_i(t) = sg(s_i) pi_t / sg(pi_t): the value at every token is s_i, the gradient there
    s_i times that of log pi_t. Under a sequence mean this is the gradient of s_i itself if the advantage is the same at
    every token, and it stays meaningful if it is not. |y_i| counts loss-mask tokens; it is 1 for a row without any.

    Args:
        logps_BT: log pi (B, T), in nats.
        old_logps_BT: log pi_old (B, T), in nats, taken without gradient.
        mask_BT: loss mask (B, T).
        log_bound: as in `token_ratio`.
    """
    logps_BT, log_BT = _log_ratio(logps_BT, old_logps_BT, mask_BT)
    log_s_B = log_BT.detach().sum(-1) / mask_BT.sum(-1).clamp(min=1)
    log_BT = torch.where(mask_BT, log_s_B[:, None] + (logps_BT - logps_BT.detach()), 0.0)
    return Ratio(log_BT, log_BT.clamp(-log_bound, log_bound).exp(), logps_BT)


def _log_ratio(logps_BT: Tensor, old_logps_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """log pi and log pi - sg(log pi_old), both 0 where masked out."""
    zero = logps_BT.new_zeros(())
    logps_BT = torch.where(mask_BT, logps_BT, zero)
    return logps_BT, logps_BT - torch.where(mask_BT, old_logps_BT.detach(), zero)


def k3(log_ratio_BT: Tensor) -> Tensor:
    """Compute Schulman's estimator k3 = e^u - u - 1, at least 0.

    With tokens sampled from p and u = log q - log p its mean estimates KL(p || q).

    Args:
        log_ratio_BT: u (B, T), in nats.

    Returns:
        k3_BT (B, T), in nats.
    """
    return log_ratio_BT.exp() - log_ratio_BT - 1.0


@dataclass(frozen=True)
class TokenRatio:
    """delta_t = pi / pi_old per token, with the log-ratio clamped to +-log_ratio_bound."""

    log_ratio_bound: float = 20.0
    needs = ("logps_BT", "old_logps_BT")
    acts_only_off_policy = False
    sources = {"log_ratio_bound": "verl; a numeric guard, no part of the method"}

    def __call__(self, tensors, mask_BT):
        return token_ratio(tensors["logps_BT"], tensors["old_logps_BT"], mask_BT, self.log_ratio_bound)


@dataclass(frozen=True)
class SequenceRatio(TokenRatio):
    """s_i = exp(mean over the row's loss-mask tokens of log delta_t), at every token of the row (GSPO)."""

    acts_only_off_policy = True

    def __call__(self, tensors, mask_BT):
        return sequence_ratio(tensors["logps_BT"], tensors["old_logps_BT"], mask_BT, self.log_ratio_bound)
