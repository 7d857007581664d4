"""Tensors of turns, anchors and shared tokens, built from trees; and hard attribution, which reads them."""

import numpy as np
import pytest
import torch
from scripted import PROMPTS, QUESTIONS, scripted, search

from reproduce.algorithms import load
from reproduce.algorithms.parts.turns import shared_mean
from reproduce.algorithms.policies import ARPORollout
from reproduce.rollouts.collector import Batch, ScoredGroup
from reproduce.rollouts.tensors import rollout_tensors

ALL = ("turns_BT", "anchors_BT", "owners_BT")


def tree(text=search, k=6, questions=2):
    """A batch in which every path forks as soon as it may, and its rows."""
    rollout = scripted(text, lambda turn: 0.1 + turn).rollout(
        QUESTIONS[:questions],
        PROMPTS[:questions],
        k,
        ARPORollout(entropy_tokens=3, initial_fraction=0.3),
        np.random.default_rng(0),
    )
    batch = Batch([ScoredGroup(q, g, [], []) for q, g in zip(QUESTIONS, rollout.groups, strict=False)])
    return batch, [group.trajectories[i] for _, group, i in batch.rows()]


def test_turns_are_those_of_the_paths_and_padding_is_minus_one():
    batch, rows = tree()
    width = max(t.path.length for t in rows) + 3
    made = rollout_tensors(batch, ALL, width, "cpu")
    assert tuple(made) == ALL and all(x.shape == (12, width) and x.dtype == torch.int64 for x in made.values())
    for row, t in enumerate(rows):
        assert made["turns_BT"][row, : t.path.length].tolist() == t.path.turns
        assert all(
            (x[row, t.path.length :] == -1).all() and (x[row, : t.path.length] >= 0).all() for x in made.values()
        )
    assert set(rollout_tensors(batch, ("turns_BT",), width, "cpu")) == {"turns_BT"}


def test_anchors_are_equal_if_and_only_if_group_and_text_are():
    """Turn 1 starts from a sum that all paths of all questions compute, turns 2 and later from another one."""

    def text(turn):
        return (
            None
            if turn == 4
            else "<python> print ( 3 + 4 ) </python>"
            if turn == 0
            else ("<python> print ( 1 + 2 ) </python>")
        )

    batch, rows = tree(text)
    width = max(t.path.length for t in rows)
    anchors = rollout_tensors(batch, ("anchors_BT",), width, "cpu")["anchors_BT"]
    seen: dict[tuple, set] = {}
    for row, t in enumerate(rows):
        assert t.results == ["7", "3", "3", "3"]
        for turn, anchor in zip(t.path.turns, anchors[row].tolist(), strict=False):
            seen.setdefault((t.group, ("question", "7", "3", "3", "3")[turn]), set()).add(anchor)
    assert len(seen) == 6 and all(len(ids) == 1 for ids in seen.values())
    assert len(set.union(*seen.values())) == 6, "no id of one group or text is that of another"


def owner_in_tree(trajectory, rows, position):
    """The trajectory whose own tokens start at or before `position`, going up from the leaf."""
    path = trajectory.path
    while position < path.inherited:
        path = path.parent
    return next(number for number, t in enumerate(rows) if t.path is path)


def test_owners_say_which_tokens_are_one_token():
    batch, rows = tree(k=16)
    assert any(t.parent >= 0 and rows[t.parent].parent >= 0 for t in rows[:16]), "a fork of a fork"
    width = max(t.path.length for t in rows)
    owners = rollout_tensors(batch, ("owners_BT",), width, "cpu")["owners_BT"]
    for row, t in enumerate(rows):
        assert owners[row, : t.path.length].tolist() == [owner_in_tree(t, rows, p) for p in range(t.path.length)]
    new = sum(t.new_tokens for t in rows)
    mask = torch.zeros(owners.shape, dtype=torch.bool)
    for row, t in enumerate(rows):
        mask[row, : t.path.length] = torch.tensor(t.path.sampled)
    tokens = {(int(owners[r, p]), int(p)) for r, p in mask.nonzero()}
    assert len(tokens) == new < int(mask.sum()), "each sampled token once"


def test_unknown_names_and_narrow_widths_are_refused():
    batch, rows = tree(questions=1)
    with pytest.raises(ValueError, match="no tensor values_BT, nodes_BT"):
        rollout_tensors(batch, ("turns_BT", "values_BT", "nodes_BT"), 500, "cpu")
    longest = max(t.path.length for t in rows)
    with pytest.raises(ValueError, match=f"{longest} tokens, .* {longest - 1}"):
        rollout_tensors(batch, ("turns_BT",), longest - 1, "cpu")


# ---------------------------------------------------------------- hard attribution

# three leaves: rows 0 and 1 share tokens 0-3, all three share 0-1; row 3 is a trajectory of its own
OWNERS = torch.tensor([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1], [0, 0, 2, 2, 2, 2], [3, 3, 3, 3, 3, 3]])
REWARDS, GROUPS = torch.tensor([1.0, 0.0, 0.5, 0.2], dtype=torch.float64), torch.zeros(4, dtype=torch.int64)


def test_shared_tokens_get_the_mean_of_their_leaves():
    ours = shared_mean(torch.tensor([4.0, 2.0, -3.0, 7.0]), OWNERS, torch.ones(4, 6, dtype=torch.bool))
    assert ours.tolist() == [[1, 1, 3, 3, 4, 4], [1, 1, 3, 3, 2, 2], [1, 1, -3, -3, -3, -3], [7] * 6]
    hard, soft = load("arpo-hard"), load("arpo")
    advantages = hard.advantages(REWARDS, GROUPS, torch.ones(4, 6), owners_BT=OWNERS)
    rows = soft.advantages(REWARDS, GROUPS, torch.ones(4, 6))
    torch.testing.assert_close(advantages[0, 2:4], (rows[0, 2:4] + rows[1, 2:4]) / 2)
    torch.testing.assert_close(advantages[:3, 0], rows[:3, 0].mean().expand(3))
    assert torch.equal(advantages[:3, 4:], rows[:3, 4:]) and torch.equal(advantages[3], rows[3])


def token_gradients(algorithm, mask, logps=None):
    """d loss / d log pi of every physical token: the copies of a shared one add up."""
    old = torch.full((4, 6), -1.0, dtype=torch.float64)
    logps = (old if logps is None else logps).clone().requires_grad_()
    extra = {"owners_BT": OWNERS} if algorithm.advantage_needs else {}
    advantages = algorithm.advantages(REWARDS, GROUPS, mask, **extra)
    algorithm.loss(logps, old, advantages, mask)[0].backward()
    keys, index = torch.unique((OWNERS * 6 + torch.arange(6)).flatten(), return_inverse=True)
    return torch.zeros(len(keys), dtype=torch.float64).index_add(0, index, logps.grad.flatten())


def test_hard_and_soft_have_one_gradient_if_leaves_are_equally_long_and_nothing_is_clipped():
    hard, soft, mask = load("arpo-hard"), load("arpo"), torch.ones(4, 6)
    torch.testing.assert_close(token_gradients(hard, mask), token_gradients(soft, mask), atol=1e-12, rtol=0)
    shorter = mask.clone()
    shorter[0, 5] = 0
    apart = token_gradients(hard, shorter) - token_gradients(soft, shorter)
    assert apart.abs().max() > 1e-3, "each copy has its own leaf's 1 / length"
    moved = torch.full((4, 6), -1.0, dtype=torch.float64) + 0.5  # ratio 1.65: clipped where A > 0 only
    apart = token_gradients(hard, mask, moved) - token_gradients(soft, mask, moved)
    assert apart.abs().max() > 1e-3


def test_hard_attribution_of_rollouts_without_forks_is_the_group_zscore():
    mask, lone = torch.ones(4, 6), torch.arange(4)[:, None].expand(4, 6)
    hard = load("arpo-hard").advantages(REWARDS, GROUPS, mask, owners_BT=lone)
    assert torch.equal(hard, load("arpo").advantages(REWARDS, GROUPS, mask))


def test_hard_attribution_without_its_tensor_is_refused():
    with pytest.raises(ValueError, match="'hard_attribution' needs owners_BT"):
        load("arpo-hard").advantages(REWARDS, GROUPS, torch.ones(4, 6))
    with pytest.raises(ValueError, match="must not be negative"):
        load("arpo-hard").advantages(REWARDS, GROUPS, torch.ones(4, 6), owners_BT=torch.full((4, 6), -1))
