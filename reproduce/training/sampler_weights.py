"""Importance weights for tokens that one implementation of the policy sampled and another one trains on.

vLLM and the trainer hold the same weights but round differently, so a token sampled under mu is trained as if sampled
under pi_old. The weight pi_old / mu corrects that; bounds keep its variance finite. As in TRL (1.16,
`vllm_importance_sampling_mode`), the surrogate of each token is multiplied by it, the regularisers are not.
"""

import torch
from torch import Tensor

from reproduce.config.engine import CORRECTIONS

_LOG_BOUND = 20.0


def sampler_weights(
    old_logps_BT: Tensor,
    sampler_logps_BT: Tensor,
    mask_BT: Tensor,
    mode: str = "token_truncate",
    low: float | None = None,
    high: float | None = 3.0,
) -> tuple[Tensor, dict[str, float]]:
    """Weight tokens by pi_old / mu, within bounds.

    Args:
        old_logps_BT: the trainer's log-probabilities at rollout, in nats.
        sampler_logps_BT: the sampler's, of the same tokens at the same temperature.
        mask_BT: the loss mask.
        mode: the ratio of each token, or of each row (the product over its tokens, the same at all of them); ratios
            outside [low, high] are set to the nearer bound (`truncate`) or to 0 (`mask`).
        low, high: None: no bound. high is 3 as TRL's `vllm_importance_sampling_clip_max`.

    Returns:
        (weights_BT without gradient, 1 where masked out; metrics). sampler_ratio_mean and sampler_ratio_max are of the
        unbounded ratio, over loss-mask tokens (token modes) or rows that have one (sequence modes);
        sampler_share_capped is the share of those that a bound changed; sampler_gap_mean and sampler_gap_max are of
        |log pi_old - log mu| over loss-mask tokens, in nats.

    Raises:
        ValueError: an unknown mode, or a log-probability of a loss-mask token that is not finite.
    """
    if mode not in CORRECTIONS:
        raise ValueError(f"there is no mode {mode!r}; modes: {', '.join(CORRECTIONS)}")
    mask_BT = mask_BT.bool()
    gap_BT = torch.where(mask_BT, old_logps_BT.detach().double() - sampler_logps_BT.detach().double(), 0.0)
    if not bool(torch.isfinite(gap_BT).all()):
        raise ValueError("a sampled token has no finite log-probability from the sampler or the trainer")
    by_row = mode.startswith("sequence")
    log_ratio = gap_BT.sum(-1, keepdim=True) if by_row else gap_BT
    ratio = log_ratio.clamp(-_LOG_BOUND, _LOG_BOUND).exp()
    counted = mask_BT.any(-1, keepdim=True) if by_row else mask_BT
    lowest, highest = float("-inf") if low is None else low, float("inf") if high is None else high
    outside = (ratio < lowest) | (ratio > highest)
    bounded = ratio.clamp(lowest, highest) if mode.endswith("truncate") else torch.where(outside, 0.0, ratio)
    weights_BT = torch.where(mask_BT, bounded.expand(mask_BT.shape), 1.0)
    units, tokens = counted.sum().clamp(min=1), mask_BT.sum().clamp(min=1)
    found = {
        "sampler_ratio_mean": ratio[counted].sum() / units,
        "sampler_ratio_max": ratio[counted].amax() if bool(counted.any()) else ratio.new_ones(()),
        "sampler_share_capped": (outside & counted).sum() / units,
        "sampler_gap_mean": gap_BT.abs().sum() / tokens,
        "sampler_gap_max": gap_BT.abs().amax() if gap_BT.numel() else gap_BT.new_zeros(()),
    }
    return weights_BT.to(old_logps_BT.dtype), {name: float(value) for name, value in found.items()}
