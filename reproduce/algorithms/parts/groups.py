"""Filter groups and shape rewards, before advantages exist."""

from dataclasses import dataclass

import torch
from torch import Tensor


def overlong_penalty(lengths_B: Tensor, max_length: int, buffer: float, factor: float = 1.0) -> Tensor:
    """Compute DAPO's soft overlong punishment (arXiv 2503.14476, section 3.4), to be added to the reward.

    It is factor * min(0, -(length - (max_length - b)) / b), at least -factor, with b = round(buffer * max_length)
    tokens (at least 1).

    Args:
        lengths_B: completion lengths (B,), in tokens, counted as `max_length` counts them.
        max_length: the length at which completions are cut, in tokens.
        buffer: a share of max_length.
        factor: the largest penalty.

    Returns:
        penalty_B (B,), at most 0.
    """
    buffer_tokens = max(1, round(buffer * max_length))
    lengths_B = lengths_B if lengths_B.is_floating_point() else lengths_B.to(torch.get_default_dtype())
    excess_B = (lengths_B - (max_length - buffer_tokens)) / buffer_tokens
    return -factor * excess_B.clamp(0.0, 1.0)


def varied_groups(rewards_B: Tensor, groups_B: Tensor) -> Tensor:
    """Mark the rows whose group holds at least two different rewards, that is, whose reward std is not 0.

    Args:
        rewards_B: rewards (B,).
        groups_B: group ids (B,).

    Returns:
        keep_B (B,), bool.
    """
    group_ids, index_B = torch.unique(groups_B, return_inverse=True)
    start_G = rewards_B.new_zeros(group_ids.numel())
    highest_G = start_G.scatter_reduce(0, index_B, rewards_B, "amax", include_self=False)
    lowest_G = start_G.scatter_reduce(0, index_B, rewards_B, "amin", include_self=False)
    return (highest_G > lowest_G)[index_B]


@dataclass(frozen=True)
class DynamicSampling:
    """Drop groups whose rewards are all equal and sample other questions, in at most max_generation_batches batches."""

    dynamic_sampling: bool = True
    max_generation_batches: int = 10
    needs = ()

    def __call__(self, rewards_B, groups_B):
        return varied_groups(rewards_B, groups_B)


@dataclass(frozen=True)
class OverlongPenalty:
    """Soft punishment in the last overlong_buffer (a share of the maximum length), down to -overlong_factor."""

    overlong_penalty: bool = True
    overlong_buffer: float = 0.2
    overlong_factor: float = 1.0
    needs = ()

    def __call__(self, lengths_B, max_length):
        return overlong_penalty(lengths_B, max_length, self.overlong_buffer, self.overlong_factor)
