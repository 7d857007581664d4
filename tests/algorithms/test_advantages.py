"""Advantages of single-turn methods, against plain Python over lists of rewards."""

import statistics
from math import sqrt

import numpy as np
import pytest
import torch

from reproduce.algorithms import load, names

GROUP_SIZES = {"unequal": (5, 2, 9, 1), "constant": (4, 4, 3), "pairs": (2, 2, 2), "one": (7,)}


def rollout_batch(kind: str, seed: int):
    """Rewards, shuffled group ids, and ragged masks with holes; of kind "constant", two groups have equal rewards."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat([7, -3, 1000, 4][: len(GROUP_SIZES[kind])], GROUP_SIZES[kind]))
    rewards = rng.normal(size=groups.size)
    if kind == "constant":
        rewards[groups == 7], rewards[groups == 1000] = 1.1, -0.3
    mask = rng.random((groups.size, 8)) < 0.6
    mask[:, 0] = True
    return rewards, groups, mask


def group_mates(rewards, groups, row):
    return [reward for reward, group in zip(rewards, groups, strict=True) if group == groups[row]]


def grpo(rewards, groups, mask, row):
    mates = group_mates(rewards, groups, row)
    if len(mates) == 1:
        return 0.0
    return (rewards[row] - statistics.fmean(mates)) / (statistics.stdev(mates) + 1e-6)


def dr_grpo(rewards, groups, mask, row):
    return rewards[row] - statistics.fmean(group_mates(rewards, groups, row))


def rloo(rewards, groups, mask, row):
    others = [rewards[other] for other in range(len(rewards)) if groups[other] == groups[row] and other != row]
    return rewards[row] - statistics.fmean(others) if others else 0.0


def opo(rewards, groups, mask, row):
    mates = [other for other in range(len(rewards)) if groups[other] == groups[row]]
    lengths = {other: int(mask[other].sum()) for other in mates}
    return rewards[row] - sum(lengths[i] * rewards[i] for i in mates) / sum(lengths.values())


def whitened(returns, mask, row):
    tokens = [value for value, tokens in zip(returns, mask, strict=True) for _ in range(int(tokens.sum()))]
    return (returns[row] - statistics.fmean(tokens)) / sqrt(statistics.variance(tokens) + 1e-8)


def reinforce_plus_plus(rewards, groups, mask, row):
    return whitened(list(rewards), mask, row)


def reinforce_plus_plus_baseline(rewards, groups, mask, row):
    return whitened([dr_grpo(rewards, groups, mask, other) for other in range(len(rewards))], mask, row)


REFERENCE = {
    "grpo": grpo,
    "dapo": grpo,
    "gspo": grpo,
    "gppo": grpo,
    "ce-gppo": grpo,
    "cispo": grpo,
    "arpo": grpo,
    "dr-grpo": dr_grpo,
    "rloo": rloo,
    "opo": opo,
    "reinforce++": reinforce_plus_plus,
    "reinforce++-baseline": reinforce_plus_plus_baseline,
}


@pytest.mark.parametrize("kind", GROUP_SIZES)
@pytest.mark.parametrize("name", REFERENCE)
def test_advantages_equal_a_plain_computation(name, kind):
    for seed in range(3):
        rewards, groups, mask = rollout_batch(kind, seed)
        ours = load(name).advantages(torch.tensor(rewards), torch.tensor(groups), torch.tensor(mask))
        rows = np.array([REFERENCE[name](rewards, groups, mask, row) for row in range(len(rewards))])
        np.testing.assert_allclose(ours.numpy(), rows[:, None] * mask, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name in REFERENCE if name != "reinforce++"])
def test_constant_groups_and_lone_rows_have_exactly_no_advantage(name, dtype):
    rewards = torch.tensor([1.1] * 12 + [0.1] * 7 + [0.7], dtype=dtype)  # values that no float represents exactly
    groups = torch.tensor([0] * 12 + [1] * 7 + [2])
    mask = torch.arange(9) < torch.arange(1, 21)[:, None]
    assert torch.equal(load(name).advantages(rewards, groups, mask), torch.zeros(20, 9, dtype=dtype))


def test_whitening_counts_tokens_and_needs_no_group():
    rewards, mask = torch.tensor([1.0, 0.0]), torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])
    advantages = load("reinforce++").advantages(rewards, torch.tensor([0, 1]), mask)
    assert advantages[0].tolist() == pytest.approx([0.2 / sqrt(0.2)] * 4)  # four of five tokens have return 1
    assert advantages[1].tolist() == pytest.approx([-0.8 / sqrt(0.2), 0.0, 0.0, 0.0])
    centred = load("reinforce++-baseline").advantages(rewards, torch.tensor([0, 1]), mask)
    assert not centred.any()  # each row is its own group


def test_the_length_weighted_baseline_follows_long_completions():
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    advantages = load("opo").advantages(torch.tensor([1, 0]), torch.tensor([3, 3]), mask)  # integer rewards too
    assert advantages.tolist() == [[0.25, 0.25, 0.25], [-0.75, 0.0, 0.0]]


@pytest.mark.parametrize("name", sorted(REFERENCE.keys() & set(names())))
def test_rewards_that_are_not_finite_are_refused(name):
    with pytest.raises(ValueError, match="finite"):
        load(name).advantages(torch.tensor([0.0, float("nan")]), torch.tensor([0, 0]), torch.ones(2, 3))
