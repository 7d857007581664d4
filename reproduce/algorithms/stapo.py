"""STAPO (arXiv 2602.15620): spurious tokens, rare ones in confident places that were rewarded, do not learn.

J = sum of k min(delta A, clip(delta, 1 - eps_low, 1 + eps_high) A) / sum of k
k = 0 if A > 0 and pi(y_t) < tau_p and H_t < tau_h, else 1; pi and H of the current policy, tau_h the 80 % quantile of
the update's entropies

Known from two independent notes, not from code. "Low entropy" is read as "below the 80 % quantile": then the share that
the paper's study varies is the protected one, and both quoted passages fit. The quantile's interpolation (linear) and
its scope (the update) are ours. The paper reports that less than 1e-4 of the tokens are silenced.
"""

from dataclasses import dataclass

import torch

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GroupZScore, PPOMin, TokenMean
from reproduce.algorithms.policies import Independent


@dataclass(frozen=True)
class SpuriousGate:
    """Weight 0 for spurious tokens; the others are scaled so that a token mean is over them alone.

    spurious_probability: tau_p. spurious_quantile: of the entropies given, tau_h. Metrics, shares of the loss-mask
    tokens: stapo/silenced; stapo/rare, those with A > 0 and pi < tau_p at any entropy; and stapo/entropy_threshold,
    tau_h in nats.
    """

    spurious_probability: float = 0.002
    spurious_quantile: float = 0.8
    needs = ("logps_BT", "advantages_BT", "entropies_BT")
    metrics = ("stapo/silenced", "stapo/rare", "stapo/entropy_threshold")
    ranges = {"spurious_probability": (0.0, 1.0, True), "spurious_quantile": (0.0, 1.0, True)}
    over_one_call = True

    def __call__(self, tensors, mask_BT):
        entropies_BT = tensors["entropies_BT"].detach()
        tokens = mask_BT.sum().clamp(min=1)
        threshold = entropies_BT.new_tensor(0.0)
        if bool(mask_BT.any()):
            threshold = quantile(entropies_BT[mask_BT], self.spurious_quantile)
        probability_BT = tensors["logps_BT"].detach().exp()
        rare_BT = mask_BT & (tensors["advantages_BT"] > 0) & (probability_BT < self.spurious_probability)
        silent_BT = rare_BT & (entropies_BT < threshold)
        kept = (mask_BT & ~silent_BT).sum().clamp(min=1)
        weight_BT = torch.where(silent_BT, 0.0, tokens.to(entropies_BT.dtype) / kept)
        found = (float(silent_BT.sum() / tokens), float(rare_BT.sum() / tokens), float(threshold))
        return weight_BT, dict(zip(self.metrics, found, strict=True))


def quantile(values: torch.Tensor, share: float) -> torch.Tensor:
    """The quantile of a vector with linear interpolation, of any length (`torch.quantile` takes 16 million values)."""
    ordered = values.sort().values
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


STAPO = Algorithm(
    name="stapo",
    citation="STAPO 2026, arXiv 2602.15620, as two independent notes describe it",
    rollout=Independent(),
    advantage=GroupZScore(std_epsilon=1e-6),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.28, dual_clip=None),
    token_weight=SpuriousGate(spurious_probability=0.002, spurious_quantile=0.8),
    aggregation=TokenMean(),
    sources={
        "aggregation": "the objective: over the tokens that learn",
        "std_epsilon": "as grpo",
        "clip_low": "notes on the paper's settings",
        "clip_high": "notes on the paper's settings",
        "dual_clip": "not known (assumed: none)",
        "spurious_probability": "tau_p, notes on the paper's settings",
        "spurious_quantile": "tau_h: the 80 % quantile, one of two readings (see above)",
    },
)
