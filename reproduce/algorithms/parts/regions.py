"""Weights by what a token is part of: a tag, a tool's name, its arguments, or reasoning (ResT, arXiv 2509.21826)."""

import math
from dataclasses import dataclass

import torch

FORMAT, NAME, ARGUMENTS, REASONING = 1, 2, 4, 8
"""Bits of `regions_BT`; a token may be in several regions, or in none."""
AT_LEAST_0 = (0.0, math.inf, True)


@dataclass(frozen=True)
class RegionWeight:
    """Weight by region with mean 1 over a row's tokens in regions, 0 outside; scaled so that a token mean divides by
    the sum of the weights.

    At RL step s (from 0) the weights before the row's mean are region_format, region_name,
    min(region_start + region_slope s, region_arguments) and min(region_start + region_slope s, region_reasoning). Where
    regions overlap the largest counts. Those above 0 are bounded to region_least and region_most.

    Metrics: rest/in_regions, share of the loss-mask tokens with a weight; rest/arguments_weight, before the mean.
    """

    region_format: float = 1.0
    region_name: float = 1.2
    region_start: float = 0.6
    region_slope: float = 0.002
    region_arguments: float = 1.2
    region_reasoning: float = 1.0
    region_least: float = 0.001
    region_most: float = 8.0
    needs = ("regions_BT", "advantages_BT", "rl_step")
    metrics = ("rest/in_regions", "rest/arguments_weight")
    ranges = dict.fromkeys(
        ("region_format", "region_name", "region_start", "region_slope", "region_arguments", "region_reasoning"),
        AT_LEAST_0,
    ) | dict.fromkeys(("region_least", "region_most"), (0.0, math.inf, False))
    over_one_call = True

    def of_regions(self, step: int) -> dict[int, float]:
        """List bit -> weight before the mean. step: RL step, from 0."""
        risen = self.region_start + self.region_slope * step
        return {
            FORMAT: self.region_format,
            NAME: self.region_name,
            ARGUMENTS: min(risen, self.region_arguments),
            REASONING: min(risen, self.region_reasoning),
        }

    def __call__(self, tensors, mask_BT):
        regions_BT, weights = tensors["regions_BT"], self.of_regions(tensors["rl_step"])
        weight_BT = torch.zeros_like(tensors["advantages_BT"])
        for bit, weight in weights.items():
            inside_BT = mask_BT & (regions_BT & bit != 0)
            weight_BT = torch.where(inside_BT, weight_BT.clamp(min=weight), weight_BT)
        inside_BT = weight_BT > 0
        weight_BT = torch.where(inside_BT, weight_BT.clamp(self.region_least, self.region_most), 0.0)
        mean_B = weight_BT.sum(1) / inside_BT.sum(1).clamp(min=1)
        weight_BT = torch.where(inside_BT, weight_BT / torch.where(mean_B > 0, mean_B, 1.0)[:, None], 0.0)
        tokens, whole = mask_BT.sum().clamp(min=1), weight_BT.sum()
        weight_BT = weight_BT * tokens / torch.where(whole > 0, whole, 1.0)
        found = (float(inside_BT.sum() / tokens), weights[ARGUMENTS])
        return weight_BT, dict(zip(self.metrics, found, strict=True))
