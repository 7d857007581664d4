"""OPO, On-Policy RL with Optimal reward baseline (arXiv 2505.23585).

A_i = R_i - b, b = sum_G |y_i| R_i / sum_G |y_i|: the baseline of least variance if the squared norm of grad log pi(y)
grows with the length of y. No standard deviation, no clip, no KL, no entropy term. "On-policy" is exact in the paper:
one update per rollout batch (epochs = minibatches = 1). With more, delta A corrects for the moved policy, unbounded.
"""

from dataclasses import dataclass

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import PolicyGradient, TokenMean
from reproduce.algorithms.parts.advantages import group_centred
from reproduce.algorithms.policies import Independent


@dataclass(frozen=True)
class LengthWeightedBaseline:
    """A = R - sum_G |y| R / sum_G |y| with |y| the row's loss-mask tokens, the same at every token of a row."""

    needs = ()

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        return group_centred(rewards_B, groups_B, weights_B=mask_BT.sum(-1))[:, None].expand(mask_BT.shape), {}


OPO = Algorithm(
    name="opo",
    citation="Hao et al. 2025, OPO, arXiv 2505.23585",
    rollout=Independent(),
    advantage=LengthWeightedBaseline(),
    surrogate=PolicyGradient(importance_weight=True),
    aggregation=TokenMean(),
    sources={
        "aggregation": "verl's default (assumed: the paper states the gradient per completion)",
        "importance_weight": "without effect on policy, which the paper demands; for further updates verl's ratio "
        "without its clip (assumed)",
    },
)
