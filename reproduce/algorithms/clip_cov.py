"""Clip-Cov (arXiv 2505.22617): a few tokens that drive entropy down are left out of each update, drawn at random.

J = mean over tokens of k min(delta A, clip(delta, 0, 2) A)
k = 0 for n = max(1, floor(2e-4 N)) of the N tokens, drawn without replacement among those whose covariance
cov = (A - mean A)(log pi - mean log pi) lies between 1 and 5 and whose gradient the ratio bound does not remove; all of
them if there are fewer. The mean is over all N tokens.

The authors' code draws in every micro-batch; here a draw is over the tokens of one call, which is the whole update in
training, so that it does not depend on how passes are split.
"""

import math
from dataclasses import dataclass

import torch

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.kl_cov import covariance
from reproduce.algorithms.parts import DynamicSampling, GroupZScore, PPOMin, TokenMean
from reproduce.algorithms.parts.draws import DRAW_SEED, Draws
from reproduce.algorithms.policies import Independent


@dataclass(frozen=True)
class CovarianceDrop:
    """Weight 0 for the tokens that are drawn, 1 for the others.

    covariance_drop: share of the loss-mask tokens that are drawn. covariance_low, covariance_high: the covariance of
    those that may be, both ends excluded. Metrics of an update: clip_cov/dropped, how many tokens were drawn, and
    clip_cov/candidates, out of how many.
    """

    covariance_drop: float = 2e-4
    covariance_low: float = 1.0
    covariance_high: float = 5.0
    needs = ("logps_BT", "old_logps_BT", "advantages_BT", DRAW_SEED)
    metrics = ("clip_cov/dropped", "clip_cov/candidates")
    ranges = {"covariance_drop": (0.0, 1.0, False)}
    over_one_call = True

    def state(self, run) -> Draws:
        """The seed of each update's draw."""
        return Draws(run.seed, "clip-cov")

    def __call__(self, tensors, mask_BT):
        advantages_BT = tensors["advantages_BT"]
        cov_BT = covariance(advantages_BT, tensors["logps_BT"], mask_BT)
        ratio_BT = (tensors["logps_BT"] - tensors["old_logps_BT"]).detach().exp()
        low, high = tensors["clip_range"]
        clipped_BT = ((advantages_BT > 0) & (ratio_BT > high)) | ((advantages_BT < 0) & (ratio_BT < low))
        may_BT = mask_BT & (cov_BT > self.covariance_low) & (cov_BT < self.covariance_high) & ~clipped_BT
        places = may_BT.flatten().nonzero()[:, 0]
        count = max(1, math.floor(self.covariance_drop * int(mask_BT.sum()) + 1e-9))
        generator = torch.Generator().manual_seed(int(tensors[DRAW_SEED]))
        drawn = places[torch.randperm(len(places), generator=generator)[:count].to(places.device)]
        weight_BT = torch.ones_like(advantages_BT).flatten().index_fill(0, drawn, 0.0).view(mask_BT.shape)
        return weight_BT, dict(zip(self.metrics, (float(len(drawn)), float(len(places))), strict=True))


CLIP_COV = Algorithm(
    name="clip-cov",
    citation="Cui et al. 2025, The Entropy Mechanism of RL, arXiv 2505.22617, Clip-Cov",
    rollout=Independent(),
    advantage=GroupZScore(std_epsilon=1e-6),
    surrogate=PPOMin(clip_low=1.0, clip_high=1.0, dual_clip=None),
    token_weight=CovarianceDrop(covariance_drop=2e-4, covariance_low=1.0, covariance_high=5.0),
    aggregation=TokenMean(),
    group_filter=DynamicSampling(dynamic_sampling=True, max_generation_batches=10),
    sources={
        "aggregation": "authors' code, over all tokens",
        "std_epsilon": "as grpo",
        "clip_low": "authors' code: the ratio is bounded to 0 and 2",
        "clip_high": "authors' code: the ratio is bounded to 0 and 2",
        "dual_clip": "authors' code: `clip_ratio_c` of the launchers is not read there",
        "covariance_drop": "launchers for 7B and 32B, `7b_clip_cov.sh`, `32b_clip_cov.sh`",
        "covariance_low": "launchers",
        "covariance_high": "launchers",
        "dynamic_sampling": "launchers: on accuracy; the test is as in dapo",
        "max_generation_batches": "launchers: at most 10",
    },
)
