"""KL-Cov (arXiv 2505.22617): a penalty on the few tokens that drive entropy down, and no clip at all.

J = mean over tokens of delta A - beta |log delta| [t among the top f by cov]
cov_t = (A_t - mean A)(log pi_t - mean log pi), log pi of the current policy, means over all loss-mask tokens
The top f are max(1, floor(f N)) of N tokens. |log delta| is no estimate of a KL divergence. Where delta is 1, the
gradient of it is 0 and the method is REINFORCE: it needs more than one update per rollout batch.

The paper's covariance is an expectation over the batch; its code takes it over a micro-batch, we over the tokens of one
call, which is the whole update in training. Where all advantages are equal every cov is 0 and the first tokens are
chosen (the code: arbitrary ones).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import DynamicSampling, GroupZScore, PolicyGradient, TokenMean
from reproduce.algorithms.parts.token_weights import highest
from reproduce.algorithms.policies import Independent


def covariance(advantages_BT: Tensor, logps_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Compute cov_BT (B, T) of each loss-mask token, without gradient; 0 outside the mask.

    advantages_BT: A (B, T). logps_BT: log pi (B, T), in nats. mask_BT: loss mask (B, T).
    """
    tokens = mask_BT.sum().clamp(min=1)
    centred = [torch.where(mask_BT, x.detach(), 0.0) for x in (advantages_BT, logps_BT)]
    centred = [x - x.sum() / tokens for x in centred]
    return torch.where(mask_BT, centred[0] * centred[1], 0.0)


@dataclass(frozen=True)
class CovariancePenalty:
    """penalty_coefficient * |log delta| at the covariance_fraction of the tokens with the largest covariance.

    Metrics of an update: kl_cov/tokens, how many tokens the penalty acts on; kl_cov/share of all loss-mask tokens;
    kl_cov/covariance and kl_cov/log_ratio, the means of cov and of |log delta| over them.
    """

    covariance_fraction: float = 0.002
    penalty_coefficient: float = 1.0
    needs = ("logps_BT", "old_logps_BT", "advantages_BT")
    metrics = ("kl_cov/tokens", "kl_cov/share", "kl_cov/covariance", "kl_cov/log_ratio")
    ranges = {"covariance_fraction": (0.0, 1.0, False), "penalty_coefficient": (0.0, math.inf, True)}
    acts_only_off_policy = True
    over_one_call = True

    @property
    def active(self) -> bool:
        return self.penalty_coefficient != 0

    def __call__(self, tensors, mask_BT):
        cov_BT = covariance(tensors["advantages_BT"], tensors["logps_BT"], mask_BT)
        tokens = int(mask_BT.sum())
        chosen_BT = highest(cov_BT, mask_BT, max(1, math.floor(self.covariance_fraction * tokens + 1e-9)))
        distance_BT = (tensors["logps_BT"] - tensors["old_logps_BT"].detach()).abs()
        chosen = int(chosen_BT.sum())
        means = [float(x_BT.detach()[chosen_BT].sum()) / max(1, chosen) for x_BT in (cov_BT, distance_BT)]
        reported = dict(zip(self.metrics, (float(chosen), chosen / max(1, tokens), *means), strict=True))
        return self.penalty_coefficient * torch.where(chosen_BT, distance_BT, 0.0), reported


KL_COV = Algorithm(
    name="kl-cov",
    citation="Cui et al. 2025, The Entropy Mechanism of RL, arXiv 2505.22617, KL-Cov",
    rollout=Independent(),
    advantage=GroupZScore(std_epsilon=1e-6),
    surrogate=PolicyGradient(importance_weight=True),
    regularisers=(CovariancePenalty(covariance_fraction=0.002, penalty_coefficient=1.0),),
    aggregation=TokenMean(),
    group_filter=DynamicSampling(dynamic_sampling=True, max_generation_batches=10),
    sources={
        "aggregation": "authors' code",
        "std_epsilon": "as grpo",
        "importance_weight": "authors' code: the ratio without any bound",
        "covariance_fraction": "launcher for 7B, `7b_kl_cov.sh` (32B, and verl's default: 0.0002)",
        "penalty_coefficient": "authors' code and launchers",
        "dynamic_sampling": "launchers: on accuracy; the test is as in dapo",
        "max_generation_batches": "launchers: at most 10",
    },
)
