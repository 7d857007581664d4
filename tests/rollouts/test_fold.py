"""Rows of single turns as trajectories: joined and taken apart, statistics per trajectory, turns weighted as in EPO."""

import pytest
import torch

from reproduce.algorithms import load
from reproduce.rollouts.fold import Fold

# two trajectories of one group: a won in two turns, b lost in three; turns of 2, 1, 3, 1, 2 tokens
MASK = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0], [1, 1, 0]]).bool()
TRAJECTORIES = torch.tensor([0, 0, 1, 1, 1])
TURNS = torch.tensor([0, 1, 0, 1, 2])[:, None].expand(5, 3)
ANCHORS = torch.tensor([0, 1, 0, 2, 0])[:, None].expand(5, 3)  # states s0 s1, s0 s2 s0
REWARDS, GROUPS = torch.tensor([10.0, 0.0]), torch.zeros(2, dtype=torch.int64)


def by_row(algorithm) -> list[float]:
    """The advantage of each row's tokens, which must all be the same."""
    fold = Fold(TRAJECTORIES, MASK)
    extra = {"turns_BT": fold.join(TURNS), "anchors_BT": fold.join(ANCHORS)}
    needed = {name: extra[name] for name in algorithm.advantage_needs}
    advantages_BT = fold.split(algorithm.advantages(REWARDS, GROUPS, fold.mask_JL, **needed))
    assert (advantages_BT[~MASK] == 0).all()
    rows = [row[mask] for row, mask in zip(advantages_BT, MASK, strict=True)]
    assert all((row == row[0]).all() for row in rows)
    return [float(row[0]) for row in rows]


def test_joined_and_taken_apart_again():
    fold = Fold(TRAJECTORIES, MASK)
    values = torch.arange(15.0).reshape(5, 3)
    joined = fold.join(values)
    assert joined.tolist() == [[0, 1, 3, 0, 0, 0], [6, 7, 8, 9, 12, 13]]
    assert fold.mask_JL.tolist() == [[True] * 3 + [False] * 3, [True] * 6]
    assert torch.equal(fold.split(joined), torch.where(MASK, values, 0.0))
    assert fold.join(TURNS).tolist() == [[0, 0, 1, -1, -1, -1], [0, 0, 0, 1, 2, 2]]


def test_rows_in_another_order_or_without_a_token_are_refused():
    for trajectories in ([0, 1, 0, 1, 1], [0, 0, 2, 2, 2]):
        with pytest.raises(ValueError, match="sorted by trajectory"):
            Fold(torch.tensor(trajectories), MASK)


def test_grpo_counts_trajectories_and_the_released_form_counts_turns():
    """The two numbers that verl's way and a per-trajectory way give for a winner of 2 and a loser of 3 turns."""
    assert by_row(load("grpo")) == pytest.approx([0.7071] * 2 + [-0.7071] * 3, abs=1e-4)
    assert by_row(load("grpo-released")) == pytest.approx([1.0954] * 2 + [-0.7303] * 3, abs=1e-4)


def test_gigpo_steps_meet_where_the_observation_is_the_same():
    expected = [2.250, 1.095, -1.308, -0.730, -1.308]  # by hand: returns 9.5, 10, 0, 0, 0; states s0 s1 s0 s2 s0
    assert by_row(load("gigpo", episode_statistics="steps")) == pytest.approx(expected, abs=1e-3)
    paper = by_row(load("gigpo"))
    assert paper[1] == pytest.approx(0.7071, abs=1e-4) and paper[3] == pytest.approx(-0.7071, abs=1e-4)


def test_undiscounted_gae_of_a_trajectory_is_reward_minus_value_in_every_turn():
    fold = Fold(TRAJECTORIES, MASK)
    values_BT = torch.where(MASK, torch.arange(15.0).reshape(5, 3), 0.0)
    ppo = load("ppo", whiten=False)
    found = fold.split(ppo.advantages(REWARDS, GROUPS, fold.mask_JL, values_BT=fold.join(values_BT)))
    expected = torch.where(MASK, REWARDS[TRAJECTORIES][:, None] - values_BT, 0.0)
    torch.testing.assert_close(found, expected)
    returns = fold.split(ppo.returns(REWARDS, fold.mask_JL, fold.join(values_BT)))
    torch.testing.assert_close(returns, torch.where(MASK, REWARDS[TRAJECTORIES][:, None].expand(5, 3), 0.0))
