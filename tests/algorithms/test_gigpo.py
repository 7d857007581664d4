"""GiGPO's advantages: the numbers of its released code, an independent computation, and what it needs to be given."""

import numpy as np
import pytest
import torch

from reproduce.algorithms import load
from reproduce.errors import UserError

# Two rows of a group: a wins in two turns, b loses in three. Observations s0 s1 and s0 s2 s0, two tokens per turn.
TURNS = torch.tensor([[0, 0, 1, 1, -1, -1], [0, 0, 1, 1, 2, 2]])
ANCHORS = torch.tensor([[0, 0, 1, 1, -1, -1], [0, 0, 2, 2, 0, 0]])
MASK = TURNS >= 0
REWARDS, GROUP = torch.tensor([10.0, 0.0], dtype=torch.float64), torch.tensor([4, 4])


def advantages(rewards=REWARDS, groups=GROUP, mask=MASK, turns=TURNS, anchors=ANCHORS, **overrides):
    return load("gigpo", **overrides).advantages(rewards, groups, mask, turns_BT=turns, anchors_BT=anchors)


def by_turn(advantages_BT):
    return [*advantages_BT[0, [0, 2]].tolist(), *advantages_BT[1, [0, 2, 4]].tolist()]


def test_the_released_codes_own_numbers():
    """Its output for this batch: step returns 9.5, 10, 0, 0, 0, statistics over turns, mean and std."""
    released = advantages(episode_statistics="steps")
    assert by_turn(released) == pytest.approx([2.250, 1.095, -1.308, -0.730, -1.308], abs=5e-4)
    assert torch.equal(released[:, 0::2], released[:, 1::2]), "every token of a turn has the turn's advantage"
    assert not released[0, 4:].any()


def test_a_trajectory_counts_once_by_default_however_many_turns_it_has():
    alone = advantages(step_weight=0.0)
    assert by_turn(alone) == pytest.approx([0.7071] * 2 + [-0.7071] * 3, abs=1e-4)
    per_turn = advantages(step_weight=0.0, episode_statistics="steps")
    assert by_turn(per_turn) == pytest.approx([1.0954] * 2 + [-0.7303] * 3, abs=1e-4)
    assert by_turn(advantages(step_weight=0.0, normalisation="mean")) == pytest.approx([5.0] * 2 + [-5.0] * 3)


def random_batch(seed, rows=8, tokens=12):
    rng = np.random.default_rng(seed)
    turns = np.sort(rng.integers(0, 4, (rows, tokens)), axis=1)
    seen = rng.integers(0, 3, (rows, 4))
    mask = rng.random((rows, tokens)) < 0.7
    return rng.normal(size=rows), np.arange(rows) % 3, turns, np.take_along_axis(seen, turns, 1), mask


def reference(rewards, groups, turns, anchors, mask, weight, discount, std, over_steps):
    def against(value, others):
        spread = np.std(others, ddof=1) + 1e-6 if len(others) > 1 else 1.0
        return (value - np.mean(others)) / (spread if std else 1.0)

    steps = sorted({(i, turns[i, t]) for i, t in zip(*np.nonzero(mask), strict=True)})
    anchor = {(i, turn): anchors[i, turns[i] == turn][0] for i, turn in steps}
    returns = {(i, turn): discount ** (max(t for j, t in steps if j == i) - turn) * rewards[i] for i, turn in steps}
    out = np.zeros(mask.shape)
    for i, t in zip(*np.nonzero(mask), strict=True):
        step = (i, turns[i, t])
        if over_steps:
            episodes = [rewards[j] for j, _ in steps if groups[j] == groups[i]]
        else:
            episodes = [rewards[j] for j in range(len(rewards)) if groups[j] == groups[i]]
        same = [returns[s] for s in steps if groups[s[0]] == groups[i] and anchor[s] == anchor[step]]
        out[i, t] = against(rewards[i], episodes) + weight * against(returns[step], same)
    return out


@pytest.mark.parametrize("normalisation", ["mean", "mean_std"])
@pytest.mark.parametrize("statistics", ["trajectories", "steps"])
def test_advantages_equal_an_independent_computation(normalisation, statistics):
    for seed in range(3):
        rewards, groups, turns, anchors, mask = random_batch(seed)
        ours = advantages(
            *map(torch.from_numpy, (rewards, groups, mask, turns, anchors)),
            normalisation=normalisation,
            episode_statistics=statistics,
            step_weight=0.7,
            step_discount=0.8,
        )
        expected = reference(
            rewards, groups, turns, anchors, mask, 0.7, 0.8, normalisation == "mean_std", statistics == "steps"
        )
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-9)


def test_a_turn_that_no_other_turn_meets_adds_nothing():
    lonely = torch.tensor([[0, 0, 1, 1, -1, -1], [2, 2, 3, 3, 4, 4]])
    grpo = load("grpo").advantages(REWARDS, GROUP, MASK)
    torch.testing.assert_close(advantages(anchors=lonely), grpo, rtol=0, atol=0)
    torch.testing.assert_close(advantages(step_weight=0.0), grpo, rtol=0, atol=0)


def test_equal_anchors_of_different_groups_do_not_meet():
    rewards = torch.tensor([10.0, 0.0, 10.0, 0.0], dtype=torch.float64)
    turns, mask = torch.zeros(4, 1, dtype=torch.int64), torch.ones(4, 1)
    crossed = advantages(rewards, torch.tensor([0, 0, 1, 1]), mask, turns, torch.tensor([[5], [6], [6], [5]]))
    torch.testing.assert_close(crossed[:, 0].numpy(), np.array([1, -1, 1, -1]) / np.sqrt(2), atol=1e-6, rtol=0)


def test_a_longer_way_to_the_same_reward_is_worth_less():
    rewards = torch.ones(2, dtype=torch.float64)
    a0, _, b0, _, b2 = by_turn(advantages(rewards, normalisation="mean"))
    mean = (0.95 + 0.9025 + 1.0) / 3  # of the three turns from s0
    assert [a0, b0, b2] == pytest.approx([0.95 - mean, 0.9025 - mean, 1.0 - mean])
    assert not advantages(rewards, step_discount=1.0).any(), "without a discount equal rewards say nothing"


def test_wrong_tensors_are_refused():
    with pytest.raises(ValueError, match="'episode_and_step' needs turns_BT"):
        load("gigpo").advantages(REWARDS, GROUP, MASK, anchors_BT=ANCHORS)
    with pytest.raises(ValueError, match="must not be negative"):
        advantages(mask=torch.ones(2, 6))
    with pytest.raises(ValueError, match="two anchors in one turn"):
        advantages(anchors=torch.arange(12).reshape(2, 6))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"normalisation": "std"}, "normalisation must be"),
        ({"episode_statistics": "turns"}, "episode_statistics must be"),
        ({"normalisation": "mean", "std_epsilon": 1e-4}, "std_epsilon has no effect with normalisation=mean"),
        ({"step_weight": 0.0, "step_discount": 0.9}, "step_discount has no effect with step_weight=0"),
        ({"step_discount": 1.5}, "step_discount must be a number from 0 to 1"),
    ],
)
def test_settings_without_effect_or_out_of_range_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        load("gigpo", **overrides)
