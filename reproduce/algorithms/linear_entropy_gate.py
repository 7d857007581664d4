"""A linear entropy gate, ours by name: every token learns in proportion to the policy's entropy there.

J = mean over tokens of (H_t / ln V) min(delta A, clip(delta, 1 - eps, 1 + eps) A); H of the current policy, without
gradient, V the entries of its softmax

This is the form that the first author of EGSPO (2026, arXiv 2602.03309) released as a baseline of a later project,
EGSPO-CA. EGSPO itself gives high-entropy tokens the full term and low-entropy tokens a part of it; its threshold and
that part are in no public source, so results of this file are not EGSPO's and do not carry its name.

The mean weight is about 0.01 to 0.1 (`linear_gate/weight_mean`). Adam hides such a factor, a bound on the gradient's
norm does not: it acts later than in GRPO.
"""

from dataclasses import dataclass

import torch

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GroupZScore, PPOMin, TokenMean
from reproduce.algorithms.parts.vocabulary import LOG_VOCABULARY, Vocabulary
from reproduce.algorithms.policies import Independent


@dataclass(frozen=True)
class LinearEntropyGate:
    """Weight H_t / ln V. Metrics: linear_gate/weight_mean, its mean over the loss-mask tokens, and _max."""

    needs = ("entropies_BT", LOG_VOCABULARY)
    metrics = ("linear_gate/weight_mean", "linear_gate/weight_max")

    def state(self, run) -> Vocabulary:
        """ln V."""
        return Vocabulary(run)

    def __call__(self, tensors, mask_BT):
        weight_BT = tensors["entropies_BT"].detach() / tensors[LOG_VOCABULARY]
        inside_BT = torch.where(mask_BT, weight_BT, 0.0)
        found = (inside_BT.sum() / mask_BT.sum().clamp(min=1), inside_BT.amax() if inside_BT.numel() else 0.0)
        return weight_BT, dict(zip(self.metrics, map(float, found), strict=True))


LINEAR_ENTROPY_GATE = Algorithm(
    name="linear-entropy-gate",
    citation="ours by name: the baseline form of EGSPO (2026, arXiv 2602.03309) released with EGSPO-CA, not EGSPO",
    rollout=Independent(),
    advantage=GroupZScore(std_epsilon=1e-6),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=None),
    token_weight=LinearEntropyGate(),
    aggregation=TokenMean(),
    sources={
        "advantage": "groups of 8 in the released baseline; their z-score is assumed",
        "token_weight": "released baseline: the entropy divided by ln V",
        "aggregation": "released baseline: mean over tokens, gated or not",
        "std_epsilon": "as grpo (assumed)",
        "clip_low": "released baseline",
        "clip_high": "released baseline",
        "dual_clip": "not stated (assumed: none)",
    },
)
