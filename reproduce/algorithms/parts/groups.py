"""Filters of groups and shaping of rewards, before advantages exist."""

from dataclasses import dataclass

import torch
from torch import Tensor


def overlong_penalty(lengths_B: Tensor, max_length: int, buffer: float, factor: float = 1.0) -> Tensor:
    """DAPO's soft overlong punishment (arXiv 2503.14476, sec. 3.4), to be added to the reward.

    penalty_B = factor * min(0, -(length - (max_length - B)) / B), not below -factor, with a buffer of
    B = round(buffer * max_length) tokens (at least 1). Lengths in tokens, on the scale on which `max_length` cuts.
    """
    buffer_tokens = max(1, round(buffer * max_length))
    lengths_B = lengths_B if lengths_B.is_floating_point() else lengths_B.to(torch.get_default_dtype())
    excess_B = (lengths_B - (max_length - buffer_tokens)) / buffer_tokens
    return -factor * excess_B.clamp(0.0, 1.0)


def varied_groups(rewards_B: Tensor, groups_B: Tensor) -> Tensor:
    """Keep_B (bool): rows whose group holds at least two different rewards, i.e. whose reward std is not 0."""
    group_ids, index_B = torch.unique(groups_B, return_inverse=True)
    start_G = rewards_B.new_zeros(group_ids.numel())
    highest_G = start_G.scatter_reduce(0, index_B, rewards_B, "amax", include_self=False)
    lowest_G = start_G.scatter_reduce(0, index_B, rewards_B, "amin", include_self=False)
    return (highest_G > lowest_G)[index_B]


@dataclass(frozen=True)
class DynamicSampling:
    """Drop groups whose rewards are all equal and sample other prompts, for at most max_generation_batches batches."""

    dynamic_sampling: bool = True
    max_generation_batches: int = 10
    needs = ()

    def __call__(self, rewards_B, groups_B):
        return varied_groups(rewards_B, groups_B)


@dataclass(frozen=True)
class OverlongPenalty:
    """Soft punishment inside the last overlong_buffer (a fraction of the maximum length), down to -overlong_factor."""

    overlong_penalty: bool = True
    overlong_buffer: float = 0.2
    overlong_factor: float = 1.0
    needs = ()

    def __call__(self, lengths_B, max_length):
        return overlong_penalty(lengths_B, max_length, self.overlong_buffer, self.overlong_factor)
