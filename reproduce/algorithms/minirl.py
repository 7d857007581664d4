"""MiniRL (arXiv 2512.01374): REINFORCE with the true importance weight of the sampler, and PPO's mask.

J = E sum_t M_t sg(min(pi / mu, 5)) A log pi, A = R - group mean
M_t = 0 if A > 0 and delta > 1 + eps_high, or A < 0 and delta < 1 - eps_low, else 1; delta = pi / pi_old
mu is the policy as the sampler computed it, pi_old as the trainer did. Where both are one implementation, mu is pi_old,
and the gradient is that of PPO's clip with a cap: the method then differs from GRPO in its advantages and token sum
alone. The weight replaces the engine's correction of the same gap (`engine.correction`), which is not applied again.

Routing replay, which the paper adds for mixtures of experts, is not part of it.
"""

from dataclasses import dataclass

import torch

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GroupCentred, PPOMin, TokenSumConst
from reproduce.algorithms.parts.surrogates import Surrogate
from reproduce.algorithms.policies import Independent


@dataclass(frozen=True)
class MaskedPolicyGradient(PPOMin):
    """A log pi where PPO's clip would leave a gradient, 0 elsewhere."""

    def __call__(self, ratio, advantages_BT):
        low, high = self.clip_range
        low_BT = (ratio.value_BT < low) & (advantages_BT < 0)
        high_BT = (ratio.value_BT > high) & (advantages_BT > 0)
        learns_BT = ~(low_BT | high_BT)
        objective_BT = torch.where(learns_BT, advantages_BT * ratio.logps_BT, 0.0)
        return Surrogate(objective_BT, low_BT, high_BT, torch.zeros_like(high_BT))


@dataclass(frozen=True)
class SamplerWeight:
    """sg(min(pi / mu, weight_cap)). Metrics: minirl/weight_mean, minirl/capped (share of the tokens at the cap)."""

    weight_cap: float = 5.0
    needs = ("logps_BT", "sampler_logps_BT")
    metrics = ("minirl/weight_mean", "minirl/capped")
    ranges = {"weight_cap": (0.0, float("inf"), False)}

    def __call__(self, tensors, mask_BT):
        log_BT = (tensors["logps_BT"] - tensors["sampler_logps_BT"]).detach().clamp(-20.0, 20.0)
        weight_BT = log_BT.exp().clamp(max=self.weight_cap)
        tokens = mask_BT.sum().clamp(min=1)
        capped = (mask_BT & (log_BT.exp() > self.weight_cap)).sum() / tokens
        mean = torch.where(mask_BT, weight_BT, 0.0).sum() / tokens
        return weight_BT, dict(zip(self.metrics, (float(mean), float(capped)), strict=True))


MINIRL = Algorithm(
    name="minirl",
    citation="Zheng et al. 2025, Stabilizing RL with LLMs, arXiv 2512.01374, MiniRL",
    rollout=Independent(),
    advantage=GroupCentred(),
    surrogate=MaskedPolicyGradient(clip_low=0.2, clip_high=0.27, dual_clip=None),
    token_weight=SamplerWeight(weight_cap=5.0),
    aggregation=TokenSumConst(length_constant=1),
    sources={
        "aggregation": "the objective: a sum over tokens, a mean over rows",
        "length_constant": "the objective: no length normalisation",
        "clip_low": "the paper's settings",
        "clip_high": "the paper's settings",
        "dual_clip": "the objective has none",
        "weight_cap": "the paper's settings",
    },
)
