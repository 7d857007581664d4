"""SPEAR, majority votes, sibling GRPO, PPO-BR and our two stand-ins: losses in numpy from their formulas, schedules,
votes, trees, and what they carry from step to step."""

import json
import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from process_groups import run
from stopping import train_until
from test_entropy_family import case, check, clipped
from test_entropy_family import loss_of as computed
from trainers import config, trainer

from reproduce.algorithms import for_run, inert_at_one_update, load
from reproduce.algorithms.parts.entropy_target import EntropyTarget, controlled, difficulty_weights
from reproduce.algorithms.parts.replay import chosen, falling, padded_rows, rising, varied_most
from reproduce.algorithms.parts.returns_window import ReturnsWindow, relative_change
from reproduce.algorithms.parts.siblings import nodes, sibling_values
from reproduce.algorithms.parts.state import Outcomes, RolloutBatch, RunServices, Sampling, SideRows
from reproduce.algorithms.parts.tool_reward import ToolReward
from reproduce.algorithms.parts.votes import VoteRewards, low_entropy_rows, majority
from reproduce.algorithms.ppo_br import adaptive_clip
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.grid.runnable import check_runnable
from reproduce.rollouts.fold import Whole
from reproduce.training.memory import estimate

STATEFUL = {
    "spear": {"replay_trigger": 0.0, "replay_ramp": 1, "tool_reward": 0.3, "tool_reward_steps": 2},
    "m-grpo": {"momentum": 0.5},
    "ppo-br": {"returns_kept": 2, "returns_needed": 2},
    "difficulty-entropy": {"entropy_share": 2.0},
}
RUN = RunServices(max_turns=4, seed=5, value_network=None, policy=None, policy_copy=None, logps=None, vocabulary=50)
NAN = math.nan


def outcomes(rewards, groups, *, step=0, calls=None, answers=None, sides=None, questions=None, correct=None):
    """Of so many trajectories."""
    zeros = [0] * len(rewards)
    return Outcomes(
        rewards_J=torch.tensor(rewards, dtype=torch.float64),
        groups_J=torch.tensor(groups),
        questions_J=torch.tensor(groups if questions is None else questions),
        correct_J=torch.tensor([r == 1 for r in rewards] if correct is None else correct),
        sides_J=torch.tensor(zeros if sides is None else sides).bool(),
        calls_J=torch.tensor(zeros if calls is None else calls),
        answers=answers,
        step=step,
    )


def rollout_batch(found, **tensors):
    """A batch of rows that are whole trajectories, of 3 tokens that all learn."""
    rows = len(found.rewards_J)
    mask = torch.ones(rows, 3, dtype=torch.bool)
    return RolloutBatch(tensors, mask, found.rewards_J, Whole(mask), found)


# ---------------------------------------------------------------- SPEAR


def test_spears_loss_before_any_draw():
    algorithm, data, advantages, ratio, a, mask = case("spear", covariance_low=99.0, covariance_high=100.0)
    rewards, groups = data["rewards_B"].numpy(), data["groups_B"].numpy()
    centred = np.array([r - rewards[groups == g].mean() for r, g in zip(rewards, groups, strict=True)])
    np.testing.assert_allclose(a, np.where(mask, centred[:, None], 0.0), atol=1e-12)
    value, gradient = clipped(ratio, a, 0.8, 1.28)
    size = len(mask) * mask.shape[1]
    check(algorithm, data, advantages, value / size, gradient / size)


def test_the_groups_that_vary_most_learn():
    rewards = torch.tensor([0.0, 1, 0, 0, 0.4, 0.6, 0, 0.5])
    groups = torch.tensor([7, 7, 1, 1, 2, 2, 5, 5])
    assert varied_most(rewards, groups, 0.75).tolist() == [True, True, False, False, True, True, True, True]
    assert varied_most(rewards, groups, 0.25).tolist() == [True, True] + [False] * 6
    assert varied_most(rewards, groups, 0.26).sum() == 4, "rounded up"
    found = load("spear").advantages(rewards, groups, torch.ones(8, 1))
    assert found[:, 0].tolist() == pytest.approx([-0.5, 0.5, 0, 0, -0.1, 0.1, -0.25, 0.25])
    none = load("spear", varied_share=0.25).advantages(rewards, groups, torch.ones(8, 1))
    assert none[:, 0].tolist() == pytest.approx([-0.5, 0.5] + [0] * 6)


def test_both_schedules_and_the_reward_for_calls():
    steps = (0, 50, 100, 150, 200, 300)
    expected = [0, 0.146447, 0.5, 0.853553, 1, 1]
    assert [rising(k, 200) for k in steps] == pytest.approx(expected, abs=1e-6)
    assert [falling(k, 200) for k in steps] == pytest.approx([1 - e for e in expected], abs=1e-6)
    state = ToolReward(0.1, 1.0, 200, "spear/tool_reward")
    rewards, found = state.rewards(outcomes([0.0, 1.0, 0.5], [0, 0, 0], step=50, calls=[0, 3, 25]))
    assert rewards.tolist() == pytest.approx([0, 1 + 0.3 * 0.853553, 0.5 + 0.853553], abs=1e-6)
    assert found == {"spear/tool_reward": pytest.approx(1.3 * 0.853553 / 3, abs=1e-6)}
    late, _ = state.rewards(outcomes([0.0, 1.0], [0, 0], step=200, calls=[4, 4]))
    assert late.tolist() == [0.0, 1.0]
    assert load("spear", tool_reward=0.0).reward_shaping.state(RUN) is None


def replayed(**settings):
    """A replay's state, for batches of 4 trajectories."""
    return load("spear", **{"replay_trigger": 0.0, "replay_ramp": 1} | settings).regularisers[0].state(RUN)


def play(state, step, rewards, calls=(1, 1, 1, 1)):
    """A step of two groups of two; (metrics, the batches that it replays)."""
    ids = 100 * step + torch.arange(12).reshape(4, 3)
    ones = torch.ones(4, 3, dtype=torch.int64)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]])
    tensors = {"prompt_ids": ids, "prompt_mask": ones, "completion_ids": ids, "completion_mask": mask}
    tensors |= {"tool_mask": ones, "old_per_token_logps": -ids.double(), "trajectories_B": torch.arange(4)}
    batch = rollout_batch(outcomes(rewards, [0, 0, 1, 1], step=step, calls=list(calls)), **tensors)
    _, metrics = state.on_batch(batch)
    advantages = load("spear").advantages(batch.rewards_J, batch.outcomes.groups_J, mask)
    state.on_advantages(advantages, mask.bool())
    state.on_minibatch({}, mask[:2])
    found = list(state.further_updates())
    state.on_step_end()
    return metrics, found


def test_what_is_stored_when_it_is_replayed_and_that_the_buffer_is_empty_then():
    state = replayed(replay_trigger=0.5)  # more than two of four
    metrics, found = play(state, 0, [0.0, 1.0, 0.5, 0.5])
    assert not found and metrics["spear/stored"] == 0 and math.isnan(metrics["spear/median"])
    assert [one["reward"] for one in state.stored] == [1.0], "above its group's mean"
    assert state.means == [0.5, 0.5], "of all groups"
    play(state, 1, [0.0, 1.0, 0.0, 1.0], calls=(1, 0, 0, 2))
    assert [one["reward"] for one in state.stored] == [1.0, 1.0], "only with a tool call"
    metrics, found = play(state, 2, [0.2, 0.0, 0.9, 0.0])
    assert metrics["spear/stored"] == 2 and not found, "two are not more than half of four"
    assert len(state.stored) == 4 and state.means[-2:] == [0.1, 0.45]
    metrics, found = play(state, 3, [0.0, 1.0, 0.0, 0.0])
    assert metrics == {"spear/stored": 3.0, "spear/replayed": 2.0, "spear/weight": 1.0, "spear/median": 0.5}
    assert len(found) == 1 and found[0].weight == 1.0
    rows = found[0].rows
    drawn = sorted(rows["advantages"][:, 0].tolist())
    assert drawn in ([pytest.approx(0.4), pytest.approx(0.5)], [pytest.approx(0.5)] * 2), "R - P50 of 1, 1 and 0.9"
    assert (rows["old_per_token_logps"] == -rows["completion_ids"].double()).all(), "the stored log-probabilities"
    assert [one["step"] for one in state.stored] == [3], "the buffer was emptied"


def test_old_trajectories_leave_and_the_list_of_means_is_bounded():
    state = replayed(replay_trigger=99.0, replay_age=2, replay_baselines=5)
    for step in range(5):
        play(state, step, [0.0, 1.0, 0.0, 0.0])
    assert [one["step"] for one in state.stored] == [2, 3, 4] and len(state.means) == 5


def test_a_replay_has_the_largest_power_of_two_and_mini_batches_of_the_steps_size():
    things = [{"n": n} for n in range(11)]
    for count, size, drawn in ((0, 8, 0), (1, 8, 1), (7, 8, 4), (8, 8, 8), (11, 8, 8), (11, 3, 3)):
        found = [one["n"] for one in chosen(things[:count], size, seed=1)]
        assert len(found) == len(set(found)) == drawn
    assert chosen(things, 8, 1) != chosen(things, 8, 2)
    state = replayed(replay_rows=4)
    for step in range(2):
        play(state, step, [0.0, 1.0, 0.0, 1.0], calls=(1, 1, 1, 1)) if step else play(state, 0, [0.0, 1.0, 0.0, 1.0])
    assert len(state.stored) == 2, "the second step replayed the first's"
    _, found = play(replayed_full(), 9, [0.0, 1.0, 0.0, 1.0])
    assert [len(update.rows["advantages"]) for update in found] == [2, 2]
    assert found[0].numbers != found[1].numbers, "each has draws of its own"
    assert play(replayed_full(replay_coefficient=1e-9, replay_ramp=10**6), 0, [0.0, 1.0, 0.0, 1.0])[1] == []


def replayed_full(**settings):
    """A state with four good trajectories in store and a median of 0.5."""
    state = replayed(replay_age=9, **settings)
    row = {name: torch.ones(3, dtype=torch.int64) for name in ("prompt_ids", "prompt_mask", "completion_ids")}
    row |= {name: torch.ones(3, dtype=torch.int64) for name in ("completion_mask", "tool_mask")}
    row["old_per_token_logps"] = -torch.ones(3, dtype=torch.float64)
    state.load_state_dict({"stored": [{"step": 1, "reward": 1.0, "rows": [row]}] * 4, "means": [0.5]})
    return state


def test_rows_of_other_lengths_are_padded_on_their_sides():
    def row(prompt, completion):
        ids = {"prompt_ids": prompt, "prompt_mask": [1] * len(prompt), "completion_ids": completion}
        ids |= {"completion_mask": [1] * len(completion), "tool_mask": [1] * len(completion)}
        return {name: torch.tensor(value) for name, value in ids.items()} | {
            "old_per_token_logps": -torch.tensor(completion).double()
        }

    found = padded_rows([(row([1, 2], [3]), 0.5), (row([4], [5, 6]), 0.25)])
    assert found["prompt_ids"].tolist() == [[1, 2], [0, 4]] and found["prompt_mask"].tolist() == [[1, 1], [0, 1]]
    assert found["completion_ids"].tolist() == [[3, 0], [5, 6]] and found["completion_mask"].tolist() == [
        [1, 0],
        [1, 1],
    ]
    assert found["advantages"].tolist() == [[0.5, 0.5], [0.25, 0.25]]


def test_a_restart_in_the_middle_of_a_buffer_replays_the_same(tmp_path):
    whole, first = replayed(replay_trigger=0.5), replayed(replay_trigger=0.5)
    rewards = [[0.0, 1.0, 0.5, 0.6], [0.0, 1.0, 0.0, 1.0], [0.2, 0.0, 0.9, 0.0]]
    for step, values in enumerate(rewards[:2]):
        play(whole, step, values), play(first, step, values)
    torch.save(first.state_dict(), tmp_path / "carried.pt")
    again = replayed(replay_trigger=0.5)
    again.load_state_dict(torch.load(tmp_path / "carried.pt", weights_only=True))
    (metrics, expected), (metrics2, found) = play(whole, 2, rewards[2]), play(again, 2, rewards[2])
    assert metrics == metrics2 and len(found) == len(expected) > 0
    for update, other in zip(found, expected, strict=True):
        assert all(torch.equal(update.rows[name], other.rows[name]) for name in other.rows)
        assert (update.numbers, update.weight, update.changes) == (other.numbers, other.weight, other.changes)


def test_a_replayed_token_above_the_upper_bound_gets_no_gradient():
    """The overrides of a replay: the base's loss, with Clip-Cov's settings of the replay."""
    changes = replayed(replay_drop=0.5, replay_low=2.0, replay_high=60.0).changes
    algorithm = load("spear", length_constant=1).with_overrides(**changes)
    assert algorithm.regularisers == () and algorithm.token_weight.covariance_high == 60.0
    old = torch.full((1, 4), -2.0, dtype=torch.float64)
    logps = (old + torch.tensor([[0.5, 1.0, 1.27, 1.5]], dtype=torch.float64).log()).requires_grad_()
    loss, _ = algorithm.loss(logps, old, torch.full_like(old, 0.5), torch.ones(1, 4), draw_seed=3)
    loss.backward()
    assert (-logps.grad[0] / 0.5).tolist() == pytest.approx([0.5, 1.0, 1.27, 0.0])


# ---------------------------------------------------------------- votes


@pytest.mark.parametrize(
    ("answers", "consensus", "rewards", "label"),
    [
        (["a", "b", "a", "c"], 0.5, [1, 0, 1, 0], "a"),  # half is enough
        (["a", "b", "a", "c", "d"], 0.5, [0] * 5, None),
        (["a", "b", "a", "c", "d"], 0.0, [1, 0, 1, 0, 0], "a"),  # the paper's description has no threshold
        (["a", None, "a", None, None, "b"], 0.5, [1, 0, 1, 0, 0, 0], "a"),  # two of three readable ones
        (["a", "b", "a", "b"], 0.5, [0] * 4, None),  # a tie
        ([None, None], 0.0, [0, 0], None),
        (["a"], 0.5, [1], "a"),
    ],
)
def test_the_label_is_the_most_frequent_answer(answers, consensus, rewards, label):
    found = majority(answers, [3] * len(answers), consensus)
    assert found.rewards == rewards and found.labels == {3: label}


def test_votes_are_counted_by_question_over_side_rows_too_and_never_see_the_gold_answer():
    state = VoteRewards(0.5, ("vote/labelled", "vote/right"))
    answers = ["x", "y", "y", "z", "q", "q", "x", "x"]
    own = outcomes([0.0] * 8, [0, 0, 0, 1, 1, 1, 2, 2], questions=[0, 0, 0, 1, 1, 1, 0, 0], answers=answers)
    rewards, found = state.rewards(replace(own, correct_J=torch.tensor([1, 0, 0, 1, 0, 0, 1, 1]).bool()))
    assert rewards.tolist() == [1, 0, 0, 0, 1, 1, 1, 1], "x wins by the side rows"
    assert found == {"vote/labelled": 1.0, "vote/right": 0.5}
    other, _ = state.rewards(replace(own, rewards_J=torch.rand(8)))
    assert other.tolist() == rewards.tolist()
    nothing, found = state.rewards(outcomes([1.0, 1.0], [0, 0], answers=[None, None]))
    assert nothing.tolist() == [0, 0] and found == {"vote/labelled": 0.0}
    with pytest.raises(UserError, match="majority vote: an environment's episodes end without an answer"):
        state.rewards(outcomes([1.0], [0]))


def test_rows_of_low_entropy_are_left_out_of_the_statistics():
    means = np.array([0.9, 1.0, 1.1, 1.2, 1.0, 0.1, 1.05, 0.95])
    mask = torch.ones(8, 3, dtype=torch.bool)
    mask[0, 1:] = False
    entropies = torch.tensor(means)[:, None] + torch.tensor([0.0, 0.1, -0.1])
    entropies[0, 1:] = NAN
    first, third = np.quantile(means, [0.25, 0.75])
    expected = means < first - 0.75 * (third - first)
    assert expected.sum() == 1
    assert low_entropy_rows(entropies, mask, 0.75).tolist() == expected.tolist()
    assert not low_entropy_rows(entropies, mask, 0.75, torch.tensor(~expected)).any(), "quartiles of the others alone"
    assert not low_entropy_rows(entropies, torch.zeros_like(mask), 0.75).any()
    rewards, groups = torch.tensor([1.0, 0, 1, 0, 1, 1, 0, 0]), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    found, metrics = load("majority-vote").advantages_and_metrics(rewards, groups, mask, entropies_BT=entropies)
    rest = np.array([1.0, 0, 0])
    z = (rest - rest.mean()) / (rest.std(ddof=1) + 1e-6)
    assert found[4:, 0].tolist() == pytest.approx([z[0], 0, z[1], z[2]], abs=1e-6)
    assert metrics == {"vote/left_out": 0.125}
    plain = load("majority-vote", entropy_reach=None)
    assert plain.advantage_needs == ()
    torch.testing.assert_close(
        plain.advantages(rewards, groups, mask), load("grpo").advantages(rewards, groups, mask), atol=0, rtol=0
    )


def test_majority_votes_loss_is_grpos_with_a_dual_clip_and_a_penalty():
    algorithm, data, advantages, ratio, a, mask = case("majority-vote", seed=1)
    rows, counts = len(mask), mask.sum(1, keepdims=True)
    value, gradient = clipped(ratio, a, 0.8, 1.2, 3.0)
    apart = (data["ref_logps_BT"] - data["logps_BT"]).numpy()
    value, gradient = value - 0.005 * (np.exp(apart) - apart - 1), gradient - 0.005 * (1 - np.exp(apart))
    check(algorithm, data, advantages, value / counts / rows, gradient / counts / rows)


def test_rows_of_the_momentum_model_vote_and_do_not_learn():
    algorithm = load("m-grpo", entropy_reach=None)
    mask, sides = torch.ones(5, 2), torch.tensor([[0, 0]] * 4 + [[1, -1]])
    rewards, groups = torch.tensor([1.0, 0, 1, 0, 1]), torch.tensor([0, 0, 1, 1, 2])
    found = algorithm.advantages(rewards, groups, mask, sides_BT=sides)
    assert found[:4, 0].tolist() == pytest.approx([0.7071, -0.7071, 0.7071, -0.7071], abs=1e-4) and not found[4].any()
    with pytest.raises(UserError, match=r"side_rows.group_share must be above 0 and at most 1, not 1.5"):
        SideRows(1.0, 1.0, group_share=1.5)
    with pytest.raises(UserError, match="m-grpo: momentum_share must be a number above 0 to 1, not 0"):
        load("m-grpo", momentum_share=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_momentum_model_follows_the_policy_and_samples_a_quarter_beside_it(dtype, tmp_path):
    """In float32 also where the weights are in bfloat16, which would round most of such a move away."""
    policy = tiny.model(scale=2.0).to(getattr(torch, dtype))
    made = trainer(tmp_path, config("m-grpo", steps=1, learning_rate=1e-2, dtype=dtype), policy)
    state = tiny.state(made, "momentum")
    before = [own.clone() for own in state.model.parameters()]
    assert state.sampling(Sampling(0.7)).side_rows == SideRows(1.0, 0.7, state.model, 0.25)
    made.train()
    side = [group for group in made.batch.groups if group.side]
    assert [len(group.trajectories) for group in made.batch.groups] == [4, 4, 1, 1] and len(side) == 2
    moved = 0.0
    for start, own, trained in zip(before, state.model.parameters(), made.model.parameters(), strict=True):
        torch.testing.assert_close(own, 0.99 * start.float() + 0.01 * trained.float(), atol=1e-6, rtol=1e-5)
        moved = max(moved, float((own - start).abs().max()))
    assert moved > 1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_memory_estimate_counts_each_moving_average_in_float32(dtype):
    names = ("majority-vote", "m-grpo", "rloo", "warp")
    votes, momentum, plain, anchor = (estimate(config(name, dtype=dtype), card=8e9) for name in names)
    assert votes.average == plain.average == 0
    assert momentum.average == anchor.average == {"float32": 1, "bfloat16": 2}[dtype] * plain.weights > 0
    assert anchor.reference == plain.reference and momentum.resting - votes.resting == momentum.average


# ---------------------------------------------------------------- siblings


def test_turns_are_compared_with_those_after_the_same_prefix():
    """Rows 0 to 3 are a tree: 2 forks from 0 after turn 0, 3 forks from 2 after turn 1; row 4 starts by itself."""
    turns = torch.tensor([[0, 0, 1, 1, 2, 2]]).repeat(5, 1)
    owners = torch.tensor([[0] * 6, [1] * 6, [0, 0, 2, 2, 2, 2], [0, 0, 2, 2, 3, 3], [4] * 6])
    mask = torch.tensor([[1, 0, 1, 1, 1, 1]] * 5).bool()
    rewards, groups = torch.tensor([1.0, 0.0, 0.5, 0.0, 1.0], dtype=torch.float64), torch.tensor([0, 0, 0, 0, 1])

    def z(values):
        values = np.array(values)
        return (values - values.mean()) / (values.std(ddof=1) + 1e-6)

    roots, second, third = z([0.5, 0.0]), z([1.0, 0.25]), z([0.5, 0.0])
    expected = [
        [roots[0] / 3, 0, second[0], second[0], 0, 0],  # turn 2 of row 0 has no sibling
        [roots[1], 0, 0, 0, 0, 0],
        [roots[0] / 3, 0, second[1] / 2, second[1] / 2, third[0], third[0]],
        [roots[0] / 3, 0, second[1] / 2, second[1] / 2, third[1], third[1]],
        [0] * 6,  # another group
    ]
    found, metrics = load("sibling-grpo").advantages_and_metrics(
        rewards, groups, mask, turns_BT=turns, owners_BT=owners
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    assert metrics == {"sibling/compared": 14 / 25, "sibling/nodes": 12.0, "sibling/groups": 3.0}
    with pytest.raises(ValueError, match="must not be negative"):
        nodes(groups, turns, owners - 1, mask)


def test_sibling_advantages_on_random_trees_are_those_of_a_plain_recursion():
    rng = np.random.default_rng(3)
    for _ in range(5):
        rows, turns = 7, 4
        owners = np.zeros((rows, turns), dtype=int)
        for row in range(rows):
            owners[row] = row
            if row and rng.random() < 0.7:
                parent, cut = rng.integers(row), rng.integers(1, turns)
                owners[row, :cut] = owners[parent, :cut]
        rewards = rng.normal(size=rows)
        below = defaultdict(set)
        for row in range(rows):
            for turn in range(turns):
                below[tuple(owners[row, : turn + 1])].add(row)
        q = {node: np.mean([rewards[r] for r in leaves]) for node, leaves in below.items()}
        expected = np.zeros((rows, turns))
        for node, leaves in below.items():
            siblings = [q[other] for other in below if other[:-1] == node[:-1]]
            if len(siblings) > 1:
                score = (q[node] - np.mean(siblings)) / (np.std(siblings, ddof=1) + 1e-6)
                expected[list(leaves), len(node) - 1] = score / len(leaves)
        mask, groups = torch.ones(rows, turns, dtype=torch.bool), torch.zeros(rows, dtype=torch.int64)
        found = nodes(groups, torch.arange(turns).expand(rows, turns), torch.tensor(owners), mask)
        values = sibling_values(torch.tensor(rewards), groups, found, mask)
        np.testing.assert_allclose(values.numpy(), expected, atol=1e-9)


def test_siblings_of_equal_value_get_nothing_and_an_empty_batch_neither():
    groups, mask = torch.zeros(3, dtype=torch.int64), torch.ones(3, 2, dtype=torch.bool)
    owners, turns = torch.arange(3)[:, None].expand(3, 2), torch.zeros(3, 2, dtype=torch.int64)
    found = load("sibling-grpo").advantages(torch.full((3,), 0.1), groups, mask, turns_BT=turns, owners_BT=owners)
    assert not found.any()
    none, metrics = load("sibling-grpo").advantages_and_metrics(
        torch.rand(3), groups, ~mask, turns_BT=turns - 1, owners_BT=owners - 9
    )
    assert not none.any() and metrics["sibling/nodes"] == 0


def test_sibling_grpos_loss():
    algorithm, data, advantages, ratio, a, mask = case("sibling-grpo", seed=2)
    assert len(np.unique(a[0][mask[0]])) > 1, "turns of a row have advantages of their own"
    value, gradient = clipped(ratio, a, 0.8, 1.28)
    check(algorithm, data, advantages, value / mask.sum(), gradient / mask.sum())


# ---------------------------------------------------------------- PPO-BR


def test_the_clip_follows_entropy_and_returns():
    def eps(share, change):
        return adaptive_clip(share, 1 - math.tanh(abs(change)), 0.2, 0.5, 0.3)

    assert (eps(0, 0), eps(1, 5)) == pytest.approx((0.154304, 0.276154), abs=1e-6)
    assert eps(1, 5) > eps(1, 0) > eps(0, 0) and eps(0, 5) < 0.2001
    assert adaptive_clip(9.0, 0.0, 0.2, 0.5, 0.3) < 0.3, "the stated ends are bounds, never reached"
    assert relative_change([1.0] * 5 + [1.5] * 5, 10) == pytest.approx(0.5)
    assert relative_change([-1.0, -2.0, -1.0], 2) == pytest.approx(-0.5), "against the size of the earlier mean"
    assert relative_change([1.0] * 9, 10) == 0.0
    assert relative_change([0.0, 1.0], 2) == math.inf and relative_change([0.0, 0.0], 2) == 0.0


def test_the_window_of_returns_gives_the_updates_clip():
    state = load("ppo-br", returns_kept=3, returns_needed=2).surrogate.state(RUN)
    assert isinstance(state, ReturnsWindow)
    heights = torch.full((2, 3), 0.25 * math.log(50))
    seen = []
    for rewards in ([0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]):
        batch = rollout_batch(outcomes(rewards, [0, 0], sides=[0, 0]), entropies_BT=heights)
        seen.append((state.on_batch(batch)[1], state.numbers()["ppo_br_clip"]))
    assert state.returns == [1.0, 0.5, 1.0]
    for (metrics, factor), change in zip(seen, (0, 1.0, 0.5, -0.25), strict=True):
        psi = 1 - math.tanh(abs(change))
        expected = 1 + 0.5 * math.tanh(0.25) - 0.3 * math.tanh(psi)
        assert factor == pytest.approx(expected)
        assert metrics == pytest.approx({"ppo_br/clip": 0.2 * expected, "ppo_br/phi": 0.25, "ppo_br/psi": psi})
    again = load("ppo-br", returns_kept=3, returns_needed=2).surrogate.state(RUN)
    again.load_state_dict(json.loads(json.dumps(state.state_dict())))
    for one in (state, again):
        one.on_batch(rollout_batch(outcomes([1.0, 0.0], [0, 0]), entropies_BT=heights))
    assert state.numbers() == again.numbers()


@pytest.mark.parametrize("eps", [0.154304, 0.2, 0.276154])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_ppo_brs_gradient_factors(eps, sign):
    """Section 2 of the table, and the ratios that tell it from a fixed clip of 0.2."""
    ratios = (0.5, 0.75, 0.8, 0.9, 1.0, 1.1, 1.17, 1.25, 1.5, 4.0)
    algorithm = load("ppo-br")
    old = torch.full((len(ratios), 1), -6.0, dtype=torch.float64)
    logps = (old + torch.tensor(ratios, dtype=torch.float64).log()[:, None]).requires_grad_()
    loss, _ = algorithm.loss(
        logps, old, torch.full_like(old, sign), torch.ones_like(old), normalizer=1.0, ppo_br_clip=eps / 0.2
    )
    loss.backward()
    expected = [sign * r if (r <= 1 + eps if sign > 0 else r >= 1 - eps - 1e-12) else 0.0 for r in ratios]
    assert (-logps.grad[:, 0]).tolist() == pytest.approx(expected)


def test_ppo_brs_loss():
    algorithm, data, _, ratio, _, mask = case("ppo-br", seed=2)
    a = np.where(mask, np.random.default_rng(0).normal(size=mask.shape), 0.0)
    data["ppo_br_clip"] = 1.2
    value, gradient = clipped(ratio, a, 1 - 0.24, 1.24)
    check(algorithm, data, torch.tensor(a), value / mask.sum(), gradient / mask.sum())


# ---------------------------------------------------------------- ours


def test_the_linear_gate_weighs_by_the_share_of_the_largest_entropy():
    algorithm, data, advantages, ratio, a, mask = case("linear-entropy-gate", seed=1)
    weight = data["entropies_BT"].numpy() / data["log_vocabulary"]
    value, gradient = clipped(ratio, a, 0.8, 1.2)
    check(algorithm, data, advantages, weight * value / mask.sum(), weight * gradient / mask.sum())
    _, metrics = computed(algorithm, data, advantages)
    assert metrics["linear_gate/weight_mean"] == pytest.approx(weight[mask].mean())
    assert metrics["linear_gate/weight_max"] == pytest.approx(weight[mask].max())
    assert algorithm.token_weight.state(RUN).numbers() == {"log_vocabulary": math.log(50)}
    entropies = data["entropies_BT"].requires_grad_()
    computed(algorithm, data | {"logps_BT": data["logps_BT"].clone().requires_grad_()}, advantages)[0].backward()
    assert entropies.grad is None, "the gate itself does not learn"


def test_the_bonus_is_on_hard_questions_and_reaches_the_entropies():
    algorithm, data, advantages, ratio, a, mask = case("difficulty-entropy", seed=1)
    entropies = data["entropies_BT"].clone().requires_grad_()
    data |= {"entropies_BT": entropies, "difficulty_weights_BT": torch.rand(mask.shape).double()}
    loss, metrics = computed(algorithm, data, advantages)
    loss.backward()
    weights = data["difficulty_weights_BT"].numpy()
    rows, counts = len(mask), mask.sum(1, keepdims=True)
    value, _ = clipped(ratio, a, 0.8, 1.2)
    bonus = data["difficulty_coefficient"] * (weights * entropies.detach().numpy())[mask].sum() / mask.sum()
    assert float(loss.detach()) == pytest.approx(-(value / counts / rows)[mask].sum() - bonus, abs=1e-12)
    expected = -data["difficulty_coefficient"] * weights / mask.sum()
    np.testing.assert_allclose(entropies.grad.numpy(), np.where(mask, expected, 0.0), atol=1e-12)
    assert metrics["regulariser_loss"] == pytest.approx(-bonus)


def test_weights_by_difficulty():
    correct = torch.tensor([1, 0, 0, 0, 1, 1, 1, 0, 0, 0], dtype=torch.bool)
    groups = torch.tensor([4, 4, 4, 4, 2, 2, 2, 2, 9, 9])
    found = difficulty_weights(correct, groups, 0.5).tolist()
    assert found == pytest.approx([0.75] * 4 + [0.0] * 4 + [1.0] * 2)
    assert difficulty_weights(correct[:2], groups[:2], 0.5).tolist() == [0.0, 0.0], "at the threshold: none"


def test_the_controller_holds_the_entropy_at_its_target():
    assert controlled(0.2, 1.0, 2.0, 0.05) == pytest.approx(0.25)
    assert controlled(0.01, 2.0, 1.0, 0.05) == 0.0, "never negative"
    names = ("c", "target", "entropy", "weight")
    for start in (0.0, 1.0):
        state = EntropyTarget(0.5, 0.4, 0.05, start, names)
        height, found = 2.0, {}
        for _ in range(400):  # an entropy that goes to 0.2 without a bonus, and higher with one
            batch = rollout_batch(outcomes([1.0, 0.0, 0.0], [0, 0, 0]), entropies_BT=torch.full((3, 3), height))
            made, found = state.on_batch(batch)
            height += 0.3 * (0.2 + 2.0 * state.coefficient - height)
        assert made["difficulty_weights_BT"].flatten().tolist() == pytest.approx([2 / 3] * 9)
        assert found["target"] == pytest.approx(0.8) and state.coefficient == pytest.approx(0.3, abs=1e-3)
        assert height == pytest.approx(0.8, abs=1e-3), "whatever the first coefficient"
    again = EntropyTarget(0.5, 0.4, 0.05, 0.0, names)
    again.load_state_dict(json.loads(json.dumps(state.state_dict())))
    batch = rollout_batch(outcomes([1.0], [0]), entropies_BT=torch.full((1, 3), 0.3))
    assert again.on_batch(batch)[1] == state.on_batch(batch)[1] and again.numbers() == state.numbers()


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize(
    ("name", "inert"),
    [
        ("ppo-br", ("surrogate AdaptiveClip",)),
        *((name, ()) for name in ("spear", "majority-vote", "m-grpo", "sibling-grpo", "linear-entropy-gate")),
        ("difficulty-entropy", ()),
    ],
)
def test_which_of_them_need_several_updates(name, inert):
    assert inert_at_one_update(load(name)) == inert
    if inert:
        with pytest.raises(UserError, match="would change nothing with one update"):
            for_run(load(name), max_completion_tokens=9, updates_per_rollout=1)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("majority-vote", "majority-vote: it votes on final answers, but"),
        ("m-grpo", "m-grpo: it votes on final answers, but"),
        ("sibling-grpo", "sibling-grpo: it forks trajectories, but"),
    ],
)
def test_what_cannot_run_in_an_environment_is_refused_before_anything_starts(name, problem):
    with pytest.raises(UserError, match=problem):
        check_runnable(TableConfig.load(3).jobs("smoke", [name], [0]))


def recorded(made):
    return [path.read_text().split('"seconds"')[0] for path in sorted(made.run.parts.glob("*.steps.json"))]


@pytest.mark.parametrize("name", ["majority-vote", "sibling-grpo", "linear-entropy-gate"])
def test_a_run_trains_and_records_what_the_method_did(tmp_path, name):
    made = trainer(tmp_path, config(name), tiny.talker())
    made.train()
    steps = [json.loads(path.read_text())["metrics"] for path in sorted(made.run.parts.glob("*.steps.json"))]
    assert len(steps) == 2 and all(metric in step for step in steps for metric in made.algorithm.metrics)
    if name == "sibling-grpo":
        assert all(step["sibling/compared"] > 0.1 for step in steps)
    if name == "linear-entropy-gate":
        assert all(0 < step["linear_gate/weight_mean"] < step["linear_gate/weight_max"] <= 1 for step in steps)
    if name == "majority-vote":
        assert any(step["vote/labelled"] > 0 for step in steps) and steps[0]["reward_mean"] not in (0.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", STATEFUL)
def test_killed_and_resumed_equals_uninterrupted(tmp_path, name):
    """Stop after step 2 of 3, start again from the checkpoint: the same weights and records, bit for bit."""

    def trained(folder, stops):
        for stop in stops:
            torch.manual_seed(stop)
            lm = tiny.talker()
            job = config(name, steps=3, learning_rate=1e-2)
            made = trainer(tmp_path / folder, job, lm, **STATEFUL[name])
            train_until(made, stop)
        return lm.state_dict(), recorded(made), made

    weights, steps, made = trained("whole", [3])
    resumed, steps2, _ = trained("halves", [2, 3])
    assert len(steps) == 3 and steps == steps2
    assert all(torch.equal(value, resumed[name]) for name, value in weights.items())
    last = [json.loads(path.read_text())["metrics"] for path in sorted(made.run.parts.glob("*.steps.json"))][-1]
    if name == "spear":
        assert last["spear/replayed"] >= 1 and math.isfinite(last["spear/replay_loss"])
    if name == "difficulty-entropy":
        assert last["difficulty/coefficient"] > 0 and last["regulariser_loss"] < 0


@pytest.mark.slow
def test_two_processes_replay_as_one_where_a_trajectory_is_several_rows(tmp_path):
    words = ["house=1", "minibatches=2", 'dtype="float64"', "steps=3"]
    words.append('algorithm={"replay_trigger": 0.0, "replay_ramp": 1}')
    one, two = (run(tmp_path / str(count), "spear", count, *words) for count in (1, 2))
    assert sum(step["spear/replayed"] for step in one[1]) >= 1
    assert len(one[0]["gradients"]) == len(two[0]["gradients"]) > len(one[0]["losses"]), "of further updates too"
    for a, b in zip(one[0]["gradients"], two[0]["gradients"], strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-6)
    for name, value in one[0]["weights"].items():
        torch.testing.assert_close(value, two[0]["weights"][name], atol=1e-6, rtol=1e-6)


def test_a_replay_moves_the_policy_once_more(tmp_path):
    """With and without replay the first two steps sample the same; the replay of the second then changes weights."""
    found = {}
    for coefficient in (0.0, 1.0):
        settings = STATEFUL["spear"] | {"replay_coefficient": coefficient}
        lm = tiny.talker()
        made = trainer(tmp_path / str(coefficient), config("spear", learning_rate=1e-2), lm, **settings)
        made.train()
        steps = [json.loads(path.read_text())["metrics"] for path in sorted(made.run.parts.glob("*.steps.json"))]
        found[coefficient] = lm.state_dict(), steps
    (plain, without), (moved, with_replay) = found[0.0], found[1.0]
    same = ("reward_mean", "loss", "sampled_tokens", "grad_norm")
    before, after = ([[step[name] for name in same] for step in steps] for steps in (without, with_replay))
    assert before == after
    assert with_replay[1]["spear/replayed"] >= 1 and with_replay[0]["spear/replayed"] == 0
    assert max(float((moved[name] - plain[name]).abs().max()) for name in plain) > 1e-4
