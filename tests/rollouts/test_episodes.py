"""Episodes: every turn a row of its own, the same path for a model and for an expert, and training that is exact."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from house import Told, collector, config, loaded, model, setup_of, trainer
from stopping import train_until
from tiny import full_forward

from reproduce.algorithms import load
from reproduce.algorithms.parts.advantages import group_zscore
from reproduce.algorithms.parts.released.epo import turn_row_zscore
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.evaluation.checks import Checks
from reproduce.evaluation.evaluate import evaluate
from reproduce.rollouts.fold import Fold
from reproduce.rollouts.records import batch_metrics, early_and_late, rollout_records
from reproduce.rollouts.tensors import rollout_tensors
from reproduce.runs.manifest import config_hash
from reproduce.training.padding_rows import with_filler, without_filler
from reproduce.worlds.text_environment import EpisodeLost


def collected(k=4, questions=3, job=None, **changes):
    made = collector(job=job or config(**changes))
    return made, made.collect(made.task.train_questions(questions, 1), k, load("grpo"), 1)


def expert(made, questions):
    """An engine that answers with each game's own plan; paths come in the order of the episodes that are not over."""
    played = {}

    def say(number, path):
        if path.turn == 0:
            played[number] = list(range(len(questions))) if number == 0 else played[0]
        live = [i for i in played[0] if len(plans[i]) > path.turn]
        return made.task.form.response(plans[live[number]][path.turn])

    plans = [question.gold.split(" > ") for question in questions]
    return Told(made.grammar, say)


def test_an_expert_on_the_same_path_wins_every_episode_and_is_rewarded_at_the_end():
    job = config(turns=30, episodes={"success_reward": 2.0})
    made = collector(job=job)
    questions = made.task.panel("validation", 2) + made.task.panel("test", 1)
    made.engine = lambda *arguments: expert(made, questions)
    groups, rollout = made.sample(questions, 1, ("expert",))
    for group in groups:
        (episode,), (reward,) = group.trajectories, group.rewards
        assert (reward.reward, reward.correct, reward.format_ok, reward.answer) == (2.0, True, True, "won 1")
        assert episode.actions == group.question.gold.split(" > ") and episode.step.done
        assert episode.text.count("\n> ") == len(episode.turns) == episode.calls
    assert rollout.tool_calls == sum(len(group.trajectories[0].turns) for group in groups)


def test_every_turn_is_a_row_with_its_own_message_and_the_old_log_probs_of_a_full_forward_pass():
    lm = model()
    made = collector(lm)
    batch = made.collect(made.task.train_questions(3, 1), 4, load("grpo"), 1)
    rows = batch.training_rows()
    assert len(rows) == 3 * 4 * 4 and len(batch.rows()) == 12, "an untrained model wins nothing in four turns"
    tokenizer = loaded()[1]
    for row in rows[::5]:
        turn = row.path.turn
        assert row.path.turns == [turn] * row.path.length and all(row.path.sampled)
        goal = row.trajectory.step.info["goal"].removeprefix("Your task is to: ").rstrip(".")
        text = tokenizer.decode(list(row.path.prompt[1:]))  # what is left of a cut answer may be an unknown word
        assert text.startswith(goal) and list(row.path.prompt) == made.message_ids(text)
        last = text.split("<last>")[1].split("<now>")[0].split()
        assert turn or not last
        logps, entropies = full_forward(lm, row.path.prompt, row.path.completion)
        np.testing.assert_allclose(logps, row.path.logps, atol=1e-4)
        np.testing.assert_allclose(entropies, row.path.entropies, atol=1e-4)


def test_groups_share_the_exact_task_and_a_step_is_a_function_of_its_seed_and_number():
    made, batch = collected()
    assert all(len({e.question.id for e in group.trajectories}) == 1 for group in batch.groups)
    tokens = [row.path.tokens for row in batch.training_rows()]
    again = made.collect(made.task.train_questions(3, 1), 4, load("grpo"), 1)
    assert [row.path.tokens for row in again.training_rows()] == tokens
    other = made.collect(made.task.train_questions(3, 1), 4, load("grpo"), 2)
    assert [row.path.tokens for row in other.training_rows()] != tokens


def test_training_tasks_come_once_a_pass_and_never_from_a_panel():
    task = loaded()[0].task
    drawn = [q.id for q in task.train_questions(1820, 3)]
    panels = {q.id for split in ("validation", "test") for q in task.panel(split, 10)}
    assert len(set(drawn[:900])) == 900 == len(set(drawn[900:1800])) and not panels & set(drawn)
    assert {q.split for q in task.panel("test", 1)} == {"iid", "ood"} and len(task.panel("test", 20)) == 240
    assert len({q.family for q in task.panel("validation", 1)}) == 6
    with pytest.raises(UserError, match="the panel validation holds 30 tasks"):
        task.panel("validation", 31)
    with pytest.raises(UserError, match="there is no kind of task 'cook'"):
        job = config()
        setup_of(replace(job, task=replace(job.task, families=["cook"])))


def test_answers_in_the_wrong_format_are_counted_and_penalised_as_configured():
    made, batch = collected(episodes={"invalid_penalty": 0.25})
    for group in batch.groups:
        for episode, reward in zip(group.trajectories, group.rewards, strict=True):
            faults = sum(turn.fault != "" for turn in episode.turns)
            assert reward.reward == -0.25 * faults and reward.format_ok == (faults == 0)
    assert any(turn.fault for row in batch.training_rows() for turn in row.trajectory.turns)
    assert batch_metrics(batch, 3)["format_ok_mean"] < 1


def test_a_method_that_branches_is_refused():
    made = collector()
    with pytest.raises(UserError, match="ARPORollout forks"):
        made.collect(made.task.train_questions(1, 1), 4, load("arpo"), 1)


def test_a_lost_episode_is_played_again_from_its_start():
    made = collector()
    environment = made.task.environments(2)[1]
    step, calls = environment.step, []

    def unlucky(action):
        calls.append(action)
        if len(calls) in (2, 4):  # the second action of an attempt, twice
            raise EpisodeLost("gone")
        return step(action)

    environment.step = unlucky
    (group,), rollout = made.sample(made.task.train_questions(1, 1), 2, ("lost",))
    assert [len(episode.turns) for episode in group.trajectories] == [4, 4]
    assert len(calls) == 4 + 2 * 2 and rollout.tool_calls == 4 + len(calls), "two turns were dropped twice"
    assert [path.turn for path in group.trajectories[1].paths] == [0, 1, 2, 3]
    assert rollout.sampled_tokens > sum(episode.length for episode in group.trajectories)


# ---------------------------------------------------------------- tensors and advantages


def test_turn_weights_give_the_mean_over_trajectories_turns_and_tokens():
    made, batch = collected(turns=6)
    for episode in batch.groups[0].trajectories[:2]:
        del episode.turns[3:]  # as if they had ended earlier
    rows = batch.training_rows()
    names = ("turns_BT", "turn_weights_BT", "trajectory_turns_B", "trajectories_B", "anchors_BT")
    tensors = rollout_tensors(batch, names, 8, "cpu")
    values = torch.rand(len(rows), 8)
    nested = np.mean(
        [
            np.mean([float(v[: path.length].mean()) for v, path in zip(values[i : i + e.calls], e.paths, strict=True)])
            for e in (group.trajectories[i] for _, group, i in batch.rows())
            for i in [next(n for n, row in enumerate(rows) if row.trajectory is e)]
        ]
    )
    assert float((tensors["turn_weights_BT"] * values).sum() / len(rows)) == pytest.approx(nested, rel=1e-5)
    assert tensors["trajectory_turns_B"].tolist() == [row.trajectory.calls for row in rows]
    seen = {}
    for row, anchors in zip(rows, tensors["anchors_BT"], strict=True):
        seen.setdefault((row.group, row.trajectory.observations[row.path.turn]), set()).add(int(anchors[0]))
    ids = [anchor for found in seen.values() for anchor in found]
    assert len(ids) == len(set(ids)) == len(seen), "equal if and only if group and observation are"


@pytest.mark.parametrize("method", ["grpo", "grpo-released"])
def test_the_trainer_counts_trajectories_and_in_the_released_form_turns(tmp_path, method):
    made = trainer(tmp_path, config(method, turns=3, epochs=1))
    output = made.collect_batch([0, 1])
    mask_BT = made.loss_mask(output)
    rows = made.batch.training_rows()
    mask_BT, advantages_BT = mask_BT[: len(rows)], output["advantages"][: len(rows)]
    rewards = [g.rewards[i].reward for _, g, i in made.batch.rows()]
    groups = torch.tensor([g for g, _, _ in made.batch.rows()])
    if method == "grpo":
        by_trajectory = group_zscore(torch.tensor(rewards), groups)
    else:
        named = rollout_tensors(made.batch, ("trajectories_B",), mask_BT.shape[1], "cpu")
        fold = Fold(named["trajectories_B"], mask_BT)
        turns = rollout_tensors(made.batch, ("turns_BT",), mask_BT.shape[1], "cpu")["turns_BT"]
        by_trajectory = turn_row_zscore(torch.tensor(rewards), groups, fold.mask_JL, fold.join(turns))
    number = {id(g.trajectories[i]): n for n, (_, g, i) in enumerate(made.batch.rows())}
    for row, mask, advantages in zip(rows, mask_BT, advantages_BT, strict=True):
        expected = float(by_trajectory[number[id(row.trajectory)]])
        assert advantages[mask].tolist() == pytest.approx([expected] * mask.sum())


# ---------------------------------------------------------------- filler


def test_a_mini_batch_with_filler_is_the_one_without_it(tmp_path):
    made = trainer(tmp_path, config("ppo+epo", turns=3, epochs=1), corridor_low=0.5, corridor_high=1.0)
    history, critic = tiny.state(made, "entropy_history"), tiny.state(made, "critic")
    history.means, history.turn_means = [1.0], [[1.0]]
    output = made.collect_batch([0, 1])
    made.state.global_step = made.updates_per_step  # the second RL step, so that there is a history
    rows = len(made.batch.training_rows())
    plain = {name: v[:rows] if torch.is_tensor(v) and v.dim() else v for name, v in output.items()}
    more = with_filler(plain, 2 * rows + 5)
    assert len(more["completion_ids"]) == 2 * rows + 5 and not made.loss_mask(more)[rows:].any()

    def update(inputs):
        made.model.zero_grad()
        before = {name: value.clone() for name, value in critic.network.state_dict().items()}
        loss = made.loss_on(made.model, inputs)
        loss.backward()
        critic.network.load_state_dict(before)
        return loss, [p.grad.clone() for p in made.model.parameters()], made.updates.pop()

    shuffled = torch.randperm(len(more["completion_ids"]), generator=torch.Generator().manual_seed(0))
    order = shuffled[shuffled < rows]
    loss, gradients, metrics = update({n: v[order] if torch.is_tensor(v) and v.dim() else v for n, v in plain.items()})
    moved = {n: v[shuffled] if torch.is_tensor(v) and v.dim() else v for n, v in more.items()}
    loss2, gradients2, metrics2 = update(moved)
    assert torch.equal(loss, loss2) and all(map(torch.equal, gradients, gradients2))
    assert metrics["tokens"] == metrics2["tokens"] > 0
    same = {name for name in metrics if not name.startswith("value_")}  # the critic's optimiser made a step in between
    assert {name: metrics[name] for name in same} == {name: metrics2[name] for name in same}


def test_filler_is_cut_off_before_statistics_and_dropped_from_mini_batches(tmp_path):
    made = trainer(tmp_path, config("grpo", turns=3, epochs=1, minibatches=2, steps=1, group_size=4))
    collect = made.collector.collect

    def uneven(*args):
        batch = collect(*args)
        del batch.groups[0].trajectories[0].turns[1:]  # 8 episodes, 22 rows
        return batch

    made.collector.collect = uneven
    seen = []
    inner = made.loss_on

    def spy(lm, inputs):
        seen.append(made.loss_mask(inputs).any(1))
        return inner(lm, inputs)

    made.loss_on = spy
    made.train()
    assert [len(mask) for mask in seen] == [11, 11] and sum(int(mask.sum()) for mask in seen) == 22
    paths = [row.path for row in made.batch.training_rows()]
    metrics = json.loads(next(iter(made.run.parts.glob("*.steps.json"))).read_text())["metrics"]
    assert metrics["trained_tokens"] == sum(path.length for path in paths) and metrics["trajectories"] == 8
    lone = {"completion_mask": torch.zeros(3, 2), "x": torch.ones(3), "n": 4}
    assert len(without_filler(lone, torch.zeros(3, 2).bool())["x"]) == 1


# ---------------------------------------------------------------- training and evaluation


def test_training_ids_are_sampled_ids_and_ratios_start_at_one(tmp_path):
    made = trainer(tmp_path, config("grpo+epo", learning_rate=1e-9, steps=1))
    seen, metrics = [], []
    inner, loss = made.loss_on, made.algorithm.loss

    class Spy:
        def __getattr__(self, name):
            return getattr(algorithm, name)

        def loss(self, *args, **kwargs):
            assert kwargs["turn_weights_BT"].shape == args[0].shape == kwargs["turns_BT"].shape
            value, found = loss(*args, **kwargs)
            metrics.append(found)
            return value, found

    def spy(lm, inputs):
        seen.append({k: v.clone() for k, v in inputs.items() if torch.is_tensor(v)})
        return inner(lm, inputs)

    algorithm, made.algorithm, made.loss_on = made.algorithm, Spy(), spy
    made.train()
    trained = []
    for inputs in seen[:2]:  # the first pass over the rollout batch
        for row in range(len(inputs["prompt_ids"])):
            mask = (inputs["completion_mask"][row] * inputs["tool_mask"][row]).bool()
            prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()].tolist()
            trained.append(tuple(prompt + inputs["completion_ids"][row][mask].tolist()))
    assert sorted(trained) == sorted(tuple(row.path.tokens) for row in made.batch.training_rows())
    assert all(abs(m["ratio_max"] - 1) < 1e-4 and m["outside_clip_fraction"] == 0 for m in metrics)


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    def run(folder, stops):
        for stop in stops:
            torch.manual_seed(len(stops) * 100 + stop)  # whatever the global generator holds must not matter
            lm = model()
            job = config("ppo+epo", turns=3, steps=3, epochs=1)
            checks = Checks(collector(lm, job, temperature=0.4), 2, 2)
            made = trainer(tmp_path / folder, job, lm, checks=checks)
            assert train_until(made, stop) == (stop < 3)
        parts = [p.read_bytes() for p in sorted(made.run.parts.glob("*.rollouts.parquet"))]
        steps = [p.read_text().split('"seconds"')[0] for p in sorted(made.run.parts.glob("*.steps.json"))]
        return lm.state_dict(), parts, steps

    weights, parts, steps = run("whole", [3])
    weights2, parts2, steps2 = run("halves", [2, 3])
    assert len(parts) == 3 and parts == parts2 and steps == steps2
    assert all(torch.equal(value, weights2[name]) for name, value in weights.items())
    checked = [json.loads(s.rstrip().rstrip(",") + "}")["metrics"]["check_success_iid"] for s in steps]
    assert np.isnan(checked).tolist() == [True, False, True]


def test_checks_leave_training_alone_and_draw_new_tasks_each_time(tmp_path):
    made = collector(temperature=0.4)
    asked = []
    sample = made.sample
    made.sample = lambda questions, *args: asked.append([q.id for q in questions]) or sample(questions, *args)
    checks = Checks(made, 5, 6)
    assert checks(4) == {} and not checks.due(4) and checks.due(5)
    assert set(checks(5)) == {"check_success_iid", "check_success_ood"} and checks(10)
    assert len(asked) == 4 and asked[0] != asked[2] and all(len(ids) == 6 for ids in asked)
    assert all("-iid-" in name for name in asked[0]) and all("-ood-" in name for name in asked[1])
    assert checks(5) == checks(5)


def test_evaluation_rows_hold_both_splits_and_the_value_of_every_rule():
    made = collector(job=config(turns=2))
    rows = evaluate(made, "test", 1, 2, "last", lambda *a: None)
    assert len(rows) == 2 * 6 * 2 and {row["split"] for row in rows} == {"iid", "ood"}
    assert {row["answer"] for row in rows} == {"won 0"} and all(row["tool_calls"] == 2 for row in rows)
    assert all(" > " in row["gold"] for row in rows) and {row["sample"] for row in rows} == {0, 1}


def test_records_and_metrics_count_episodes():
    made, batch = collected()
    records = rollout_records(batch)
    assert len(records) == 12 and all(len(record["turn_entropies"]) == 4 for record in records)
    metrics = batch_metrics(batch, 3)
    assert metrics["trajectories"] == 12 and metrics["tool_calls_mean"] == 4 and metrics["tool_calls"] == 48
    assert metrics["trained_tokens"] == metrics["sampled_tokens"] == sum(record["sampled_tokens"] for record in records)
    heights = [e for row in batch.training_rows() for e in row.path.entropies]
    assert metrics["entropy"] == pytest.approx(np.mean(heights))
    assert early_and_late([[[1.0], [2.0], [3.0], [4.0]], [[5.0]]]) == (pytest.approx(8 / 3), pytest.approx(12 / 3))


def test_settings_of_episodes():
    job = config()
    data = job.to_dict()
    older = {**data, "task": {k: v for k, v in data["task"].items() if k != "episodes"}}
    older["evaluation"] = {k: v for k, v in data["evaluation"].items() if k != "checks"}
    newer = {**older, "task": older["task"] | {"episodes": None}, "evaluation": older["evaluation"] | {"checks": None}}
    assert config_hash(older) == config_hash(newer) != config_hash(data), "older configs keep their hash"
    with pytest.raises(UserError, match="'evaluation.checks'"):
        JobConfig.from_dict({**data, "task": newer["task"]})
    with pytest.raises(UserError, match="'task.episodes.invalid_penalty'"):
        JobConfig.from_dict({**data, "task": data["task"] | {"episodes": {"invalid_penalty": -0.1}}})
