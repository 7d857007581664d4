"""The parts that algorithms are composed of: frozen records of settings around the functions of `objectives`.

A part is any frozen dataclass with a call as below and `needs`, the names of the tensors that it reads (an absent one
is refused before the part is called). `tensors` is a dict of named tensors in which masked-out entries are already
zero; `mask_BT` is boolean. Your own object can stand in any slot: `load("grpo", token_weight=MyWeight())`; its fields
are then settings like all others.

| slot           | call                                                       | returns                       |
|----------------|------------------------------------------------------------|-------------------------------|
| rollout        | a policy of `reproduce.rollouts.policies`                  |                               |
| advantage      | (rewards_B, groups_B, tensors, mask_BT)                    | advantages_BT, dict of floats |
| ratio          | (tensors, mask_BT)                                         | objectives.ratios.Ratio       |
| surrogate      | (ratio, advantages_BT); has `clip_range`                   | objectives.surrogates.Surrogate |
| token_weight   | (tensors, mask_BT), or None                                | weight_BT                     |
| regularisers   | tuple of (tensors, mask_BT); `active` False skips one      | value_BT, added to the loss   |
| aggregation    | (values_BT, mask_BT, normalizer, rows)                     | scalar                        |
| group_filter   | (rewards_B, groups_B), or None                             | keep_B                        |
| reward_shaping | (lengths_B, max_length), or None                           | penalty_B                     |
"""

from reproduce.algorithms.parts.advantages import EntropyAware, GroupZScore
from reproduce.algorithms.parts.aggregation import SequenceMean, TokenMean, TokenSumConst
from reproduce.algorithms.parts.groups import DynamicSampling, OverlongPenalty
from reproduce.algorithms.parts.ratios import TokenRatio
from reproduce.algorithms.parts.regularisers import ReferenceKL
from reproduce.algorithms.parts.rollouts import SwitchableAEPORollout
from reproduce.algorithms.parts.surrogates import PPOMin, UpperGradientKeeping
from reproduce.rollouts.policies import ARPORollout, Independent

PARTS: dict[str, dict[str, type | None]] = {
    "rollout": {"independent": Independent, "arpo": ARPORollout, "aepo": SwitchableAEPORollout},
    "advantage": {"group_zscore": GroupZScore, "entropy_aware": EntropyAware},
    "ratio": {"token": TokenRatio},
    "surrogate": {"ppo_min": PPOMin, "upper_gradient_keeping": UpperGradientKeeping},
    "token_weight": {"none": None},
    "regularisers": {"none": None, "reference_kl": ReferenceKL},
    "aggregation": {"sequence_mean": SequenceMean, "token_mean": TokenMean, "token_sum_const": TokenSumConst},
    "group_filter": {"none": None, "dynamic_sampling": DynamicSampling},
    "reward_shaping": {"none": None, "overlong_penalty": OverlongPenalty},
}


def part_name(slot: str, part: object | None) -> str:
    """The name under which a part can be asked for; the class name of a user's own part."""
    kind = None if part is None else type(part)
    return next((name for name, known in PARTS[slot].items() if known is kind), kind.__name__ if kind else "none")
