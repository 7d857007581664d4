"""The parts that algorithms are composed of: frozen records of settings, one file per slot.

Each file also holds the tensor functions that its parts call. They import torch and hold no settings. Shapes: `_BT` is
rows x completion tokens, `_B` rows. Log-probabilities and entropies are in nats. A mask is boolean, True at the tokens
that are trained on (the loss mask). Every other position may hold anything, NaN and inf included.

A part is a frozen dataclass with a call as below and `needs`, the names of the tensors that it reads; a missing one is
refused before the part is called. `tensors` is a dict of named tensors whose masked-out entries are already zero, and
of numbers: the surrogate's `clip_range` is always there in a loss. `mask_BT` is boolean. Your own object fits in any
slot: `load("grpo", token_weight=MyWeight())`. Its fields are then settings like all others. A part may also have:

    metrics                names of what it reports, as `part/metric` (`reproduce.runs.schema.PART_METRIC`): they become
                           columns of a run's steps
    ranges                 setting -> (lowest, highest, whether the lowest itself is allowed)
    acts_only_off_policy   True: no effect at one update per rollout batch, which is then refused
    only_on_policy         True: reads no ratio; refused where rollouts are stale (`training.stale_steps`)
    over_one_call          True: it ranks or counts all tokens of a call, so an update is not split into micro-batches
    sources                setting -> source of its default, where that is the same in every method
    check(method)          raises UserError where its settings do not fit each other; called once all of them are set
    state(run)             what it carries from step to step (`parts.state`)
    needs_answers          of an advantage: True: it compares final answers, which an environment's episodes lack
    numbers                of a surrogate: numbers among its `needs` that its call takes by name

| slot           | call                                                       | returns                       |
|----------------|------------------------------------------------------------|-------------------------------|
| rollout        | a policy of `reproduce.algorithms.policies`                |                               |
| advantage      | (rewards_B, groups_B, tensors, mask_BT)                    | advantages_BT, dict of floats |
| ratio          | (tensors, mask_BT)                                         | ratios.Ratio                  |
| surrogate      | (ratio, advantages_BT); has `clip_range`                   | surrogates.Surrogate          |
| token_weight   | (tensors, mask_BT), or None                                | weight_BT,                    |
|                |                                                            | or (weight_BT, dict of floats) |
| regularisers   | tuple of (tensors, mask_BT); `active` False skips one      | value_BT, added to the loss,  |
|                |                                                            | or (value_BT, dict of floats) |
|                | or, with `own_aggregation`, (tensors, mask_BT, normalizer, rows) | scalar, dict of floats  |
| aggregation    | (values_BT, mask_BT, normalizer, rows)                     | scalar                        |
| group_filter   | (rewards_B, groups_B), or None                             | keep_B                        |
| reward_shaping | (lengths_B, max_length), or None                           | penalty_B                     |
| critic         | (values_BT, old_values_BT, returns_BT, mask_BT, normalizer), or None | critics.ValueLoss   |

An advantage part that reads `sides_BT` may have `trained_rows(rewards_B, groups_B, tensors, mask_BT)` -> keep_B: the
rows that updates hold. With a critic, the advantage part also has `returns(rewards_B, values_BT, mask_BT)`: what the
critic is fitted to.
"""

from reproduce.algorithms.parts.advantages import EntropyAware, GroupCentred, GroupZScore, LeaveOneOut, Whitened
from reproduce.algorithms.parts.aggregation import SequenceMean, TokenMean, TokenSumConst
from reproduce.algorithms.parts.critics import GAE, TokenCritic
from reproduce.algorithms.parts.groups import DynamicSampling, OverlongPenalty
from reproduce.algorithms.parts.ratios import SequenceRatio, TokenRatio
from reproduce.algorithms.parts.regularisers import (
    EPO,
    BoundedReferenceKL,
    DecayingEntropyBonus,
    EntropyBonus,
    ReferenceKL,
)
from reproduce.algorithms.parts.released.epo import ReleasedEPO, TurnRowZScore
from reproduce.algorithms.parts.released.rollouts import ReleasedAEPORollout, ReleasedARPORollout
from reproduce.algorithms.parts.released.trees import CurrentEntropyFactor, MicroBatchTokenMean
from reproduce.algorithms.parts.surrogates import (
    ClippedWeight,
    GradientKeeping,
    PolicyGradient,
    PPOMin,
    UpperGradientKeeping,
)
from reproduce.algorithms.parts.token_weights import TopEntropy
from reproduce.algorithms.parts.turns import EpisodeAndStep, HardAttribution
from reproduce.algorithms.policies import AEPORollout, ARPORollout, Independent

PARTS: dict[str, dict[str, type | None]] = {
    "rollout": {
        "independent": Independent,
        "arpo": ARPORollout,
        "aepo": AEPORollout,
        "arpo_released": ReleasedARPORollout,
        "aepo_released": ReleasedAEPORollout,
    },
    "advantage": {
        "group_zscore": GroupZScore,
        "group_centred": GroupCentred,
        "leave_one_out": LeaveOneOut,
        "whitened": Whitened,
        "entropy_aware": EntropyAware,
        "gae": GAE,
        "turn_row_zscore": TurnRowZScore,
        "episode_and_step": EpisodeAndStep,
        "hard_attribution": HardAttribution,
    },
    "ratio": {"token": TokenRatio, "sequence": SequenceRatio},
    "surrogate": {
        "ppo_min": PPOMin,
        "upper_gradient_keeping": UpperGradientKeeping,
        "gradient_keeping": GradientKeeping,
        "clipped_weight": ClippedWeight,
        "policy_gradient": PolicyGradient,
    },
    "token_weight": {"none": None, "top_entropy": TopEntropy, "current_entropy_factor": CurrentEntropyFactor},
    "regularisers": {
        "none": None,
        "reference_kl": ReferenceKL,
        "bounded_reference_kl": BoundedReferenceKL,
        "entropy_bonus": EntropyBonus,
        "decaying_entropy_bonus": DecayingEntropyBonus,
        "epo": EPO,
        "epo_released": ReleasedEPO,
    },
    "aggregation": {
        "sequence_mean": SequenceMean,
        "token_mean": TokenMean,
        "token_sum_const": TokenSumConst,
        "micro_batch_token_mean": MicroBatchTokenMean,
    },
    "group_filter": {"none": None, "dynamic_sampling": DynamicSampling},
    "reward_shaping": {"none": None, "overlong_penalty": OverlongPenalty},
    "critic": {"none": None, "token": TokenCritic},
}


def part_name(slot: str, part: object | None) -> str:
    """Name a part as `PARTS` lists it; a part of your own goes by its class name."""
    kind = None if part is None else type(part)
    return next((name for name, known in PARTS[slot].items() if known is kind), kind.__name__ if kind else "none")
