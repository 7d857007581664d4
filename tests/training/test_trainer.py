"""The TRL subclass: the private names it relies on, tokens in = tokens out, honest losses, and exact resumption."""

import copy
import inspect
import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from stopping import train_until
from tiny import model, talker
from trainers import config, trainer
from trl import GRPOTrainer

from reproduce.algorithms import load
from reproduce.algorithms.parts.advantages import GroupZScore
from reproduce.algorithms.parts.state import Sampling, SideRows, State
from reproduce.errors import UserError
from reproduce.rollouts.records import consecutive_high
from reproduce.runs.schema import SAMPLED_SUCCESS
from reproduce.training.checkpoints import last_checkpoint
from reproduce.training.own_forward import with_own_forward


def test_the_private_names_of_trl_are_still_there():
    def parameters(name):
        return list(inspect.signature(getattr(GRPOTrainer, name)).parameters)

    assert parameters("_generate_and_score_completions") == ["self", "inputs"]
    assert parameters("_compute_loss") == ["self", "model", "inputs"]
    assert parameters("log") == ["self", "logs", "start_time"]
    assert parameters("_save_checkpoint") == ["self", "model", "trial"]


@pytest.mark.parametrize("method", ["grpo", "dapo", "arpo", "aepo"])
def test_training_ids_equal_sampled_ids_and_ratios_start_at_one(tmp_path, method):
    made = trainer(tmp_path, config(method))
    seen = []
    inner = made.loss_on

    def spy(lm, inputs):
        seen.append({k: v.clone() for k, v in inputs.items() if torch.is_tensor(v)})
        return inner(lm, inputs)

    made.loss_on = spy
    first = []
    collect = made.collector.collect

    def record(*args):
        first.append(collect(*args))
        return first[-1]

    made.collector.collect = record
    made.train()
    sampled = {}
    for _, group, i in first[0].rows():
        path = group.trajectories[i].path
        sampled[tuple(path.tokens)] = path
    updates = seen[: made.updates_per_step]
    assert len(updates) == 4 and len(first) == 2
    trained = []
    for inputs in updates[:2]:  # the first pass over the rollout batch
        for row in range(len(inputs["prompt_ids"])):
            n = int(inputs["completion_mask"][row].sum())
            prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()].tolist()
            completion = inputs["completion_ids"][row][:n].tolist()
            path = sampled[tuple(prompt + completion)]
            assert inputs["tool_mask"][row][:n].bool().tolist() == path.sampled
            np.testing.assert_allclose(inputs["old_per_token_logps"][row][:n], path.logps, atol=1e-6)
            np.testing.assert_allclose(inputs["rollout_entropies"][row][:n], path.entropies, atol=1e-6)
            off = ~inputs["tool_mask"][row].bool() | ~inputs["completion_mask"][row].bool()
            assert (inputs["advantages"][row][off] == 0).all()
            trained.append(tuple(prompt + completion))
    assert sorted(trained) == sorted(tuple(g.trajectories[i].path.tokens) for _, g, i in first[0].rows())


def test_old_log_probs_of_the_sampler_are_those_of_the_trainer(tmp_path):
    """At the first update every ratio is 1: what the engine recorded is what the trainer's forward pass gives."""
    made = trainer(tmp_path, config(learning_rate=1e-9))
    metrics = []
    loss = made.algorithm.loss

    class Spy:
        def __getattr__(self, name):
            return getattr(algorithm, name)

        def loss(self, *args, **kwargs):
            value, m = loss(*args, **kwargs)
            metrics.append(m)
            return value, m

    algorithm, made.algorithm = made.algorithm, Spy()
    made.train()
    assert all(abs(m["ratio_max"] - 1) < 1e-4 and m["outside_clip_fraction"] == 0 for m in metrics)


def test_every_step_is_recorded_once_with_every_metric(tmp_path):
    made = trainer(tmp_path, config("aepo", steps=3, learning_rate=1e-2))
    made.train()
    run = made.run
    assert run.last_complete_step() == 3
    steps = [json.loads(p.read_text())["metrics"] for p in sorted(run.parts.glob("*.steps.json"))]
    for metrics in steps:
        for name in ("reward_mean", "entropy", "grad_norm", "loss", "sampled_tokens", "tool_calls", "kl_warm_start"):
            assert np.isfinite(metrics[name]), name
        assert metrics["trajectories"] == 8
    assert steps[0]["kl_warm_start"] == pytest.approx(0, abs=1e-5) and steps[2]["kl_warm_start"] > 0
    rollouts = pd.concat(pd.read_parquet(p) for p in sorted(run.parts.glob("*.rollouts.parquet")))
    assert (rollouts.groupby(["step", "group"]).size() == 4).all()
    per_step = rollouts.groupby("step")
    assert per_step["trained_tokens"].sum().tolist() == [m["trained_tokens"] for m in steps]
    assert all(per_step["sampled_tokens"].sum().to_numpy() < [m["sampled_tokens"] for m in steps]), "pilots count"
    assert per_step["reward"].mean().tolist() == pytest.approx([m["reward_mean"] for m in steps])


@pytest.mark.parametrize("method", [pytest.param("aepo", marks=pytest.mark.slow), "ppo+epo"])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, method):
    """Stop after step 2 of 4, start again from the checkpoint: the same weights and records, bit for bit."""

    def run(folder, stops):
        for stop in stops:
            torch.manual_seed(len(stops) * 100 + stop)  # whatever the global generator holds must not matter
            lm = model(scale=2.0)
            made = trainer(tmp_path / folder, config(method, steps=4), lm)
            assert train_until(made, stop) == (stop < 4)
        parts = sorted(made.run.parts.glob("*.rollouts.parquet"))
        metrics = [p.read_text().split('"seconds"')[0] for p in sorted(made.run.parts.glob("*.steps.json"))]
        critic = {f"critic.{name}": value for name, value in tiny.critic_weights(made).items()}
        return lm.state_dict() | critic, [p.read_bytes() for p in parts], metrics

    weights, rollouts, metrics = run("whole", [4])
    assert any(not torch.equal(value, weights[name]) for name, value in model(scale=2.0).state_dict().items())
    weights2, rollouts2, metrics2 = run("halves", [2, 4])
    assert weights.keys() == weights2.keys()
    assert any(name.startswith("critic.") for name in weights) == (method == "ppo+epo")
    assert len(metrics) == 4 and metrics == metrics2 and rollouts == rollouts2
    for name, value in weights.items():
        assert torch.equal(value, weights2[name]), name


def test_a_run_killed_before_its_evaluation_gets_its_last_weights_back(tmp_path):
    made = trainer(tmp_path, config())
    made.train()
    lm = model(scale=2.0)
    again = trainer(tmp_path, config(), lm)
    again.load_checkpoint(last_checkpoint(again.run.checkpoints))
    for name, value in made.model.state_dict().items():
        assert torch.equal(value, lm.state_dict()[name]), name
    assert not torch.equal(lm.lm_head.weight, model(scale=2.0).lm_head.weight)


def test_a_checkpoint_without_what_the_run_carries_is_refused(tmp_path):
    made = trainer(tmp_path, config("ppo", steps=1))
    made.train()
    checkpoint = last_checkpoint(made.run.checkpoints)
    (checkpoint / "carried.pt").unlink()
    with pytest.raises(UserError, match="carried.pt is missing"):
        made.load_checkpoint(checkpoint)


def records(made):
    made.train()
    return [json.loads(p.read_text())["metrics"] for p in sorted(made.run.parts.glob("*.steps.json"))]


def test_epo_compares_each_step_with_the_mean_entropy_of_the_steps_before_it(tmp_path):
    made = trainer(tmp_path, config("ppo+epo", steps=3), corridor_high=1.0, corridor_low=0.5)
    seen = []
    inner = made.algorithm.loss

    class Spy:
        def __getattr__(self, name):
            return getattr(algorithm, name)

        def loss(self, *args, **kwargs):
            seen.append({name: kwargs[name] for name in ("rl_step", "rl_steps", "entropy_reference")})
            assert kwargs["entropies_BT"].requires_grad and kwargs["turns_BT"].shape == args[0].shape
            return inner(*args, **kwargs)

    algorithm, made.algorithm = made.algorithm, Spy()
    steps = records(made)
    entropies = [m["entropy"] for m in steps]
    assert [s["rl_step"] for s in seen] == [0] * 4 + [1] * 4 + [2] * 4 and {s["rl_steps"] for s in seen} == {3}
    expected = [float("nan")] * 4 + [entropies[0]] * 4 + [(entropies[0] + entropies[1]) / 2] * 4
    assert [s["entropy_reference"] for s in seen] == pytest.approx(expected, nan_ok=True)
    assert [m["epo_reference_entropy"] for m in steps] == pytest.approx(expected[::4], nan_ok=True)
    assert np.isnan(steps[0]["epo_phase_weight"]) and steps[1]["epo_phase_weight"] == pytest.approx(1 + np.exp(-3))
    shares = [m["epo_share_below"] + m["epo_share_above"] for m in steps[1:]]
    assert all(0 < share <= 1 for share in shares)
    assert tiny.state(made, "entropy_history").means == pytest.approx(entropies)


def test_a_critic_is_trained_on_the_mini_batches_and_recorded(tmp_path):
    made = trainer(tmp_path, config("ppo", steps=3))
    updates = []
    inner = tiny.state(made, "critic").update

    def spy(inputs, mask_BT, old_BT, returns_BT):
        assert torch.equal(inputs["values_BT"], old_BT) and (returns_BT[~mask_BT] == 0).all()
        updates.append((old_BT, returns_BT, mask_BT))
        return inner(inputs, mask_BT, old_BT, returns_BT)

    tiny.state(made, "critic").update = spy
    steps = records(made)
    assert len(updates) == 3 * made.updates_per_step
    assert not updates[0][0].any() and updates[4][0].any(), "values are those at rollout: 0 before anything was learned"
    rewards = torch.cat([returns_BT[mask_BT] for _, returns_BT, mask_BT in updates[:2]])
    weights = pd.concat(pd.read_parquet(p) for p in sorted(made.run.parts.glob("000001.rollouts.parquet")))
    expected = np.repeat(weights["reward"], weights["trained_tokens"])
    assert sorted(rewards.tolist()) == pytest.approx(sorted(expected)), "undiscounted: every token's target is R"
    assert steps[0]["value_explained_variance"] == 0 and steps[2]["value_explained_variance"] != 0
    assert all(np.isfinite(m[name]) for m in steps for name in ("value_loss", "value_grad_norm", "value_clip_fraction"))
    assert all(np.isnan(m["epo_phase_weight"]) for m in steps)


def test_the_released_form_reads_the_warm_start_the_turns_and_the_current_step(tmp_path):
    made = trainer(tmp_path, config("epo-released", steps=2), turn_gate=0, corridor_high=1.0)
    apart = []
    inner = made.loss_on

    def spy(lm, inputs):
        mask_BT = made.loss_mask(inputs)
        apart.append(float((inputs["ref_logps_BT"] - inputs["old_per_token_logps"])[mask_BT].abs().max()))
        return inner(lm, inputs)

    made.loss_on = spy
    steps = records(made)
    assert max(apart[:4]) < 1e-4 < 0.1 < min(apart[4:]), "the reference is the warm start, which sampled step 1 only"
    assert steps[0]["epo_phase_weight"] == 1.0 and steps[0]["epo_smoothing_loss"] > 0, "smoothed from the first step on"
    assert all(m["epo_factor_above"] == 1.0 and 0 < m["epo_share_above"] <= 1 for m in steps)


def test_a_checkpoint_cut_short_does_not_count(tmp_path):
    for step, complete in ((4, True), (8, True), (12, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if complete:
            (folder / "complete").touch()
    assert last_checkpoint(tmp_path).name == "checkpoint-8"
    assert last_checkpoint(tmp_path / "none") is None


def test_rejected_groups_have_no_advantage_even_where_lengths_are_penalised(tmp_path):
    """Equal rewards, unequal lengths: the overlong penalty alone would become a z-score of full size."""
    made = trainer(tmp_path, config("dapo"), varied=False, max_generation_batches=1, overlong_buffer=1.0)
    shaped = []
    penalty = type(made.algorithm).overlong_penalty

    def spy(algorithm, lengths, limit):
        shaped.append(penalty(algorithm, lengths, limit))
        return shaped[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(made.algorithm), "overlong_penalty", spy)
        output = made.collect_batch([0, 1])
    assert all(group.rejected for group in made.batch.groups)
    assert all(len(set(part.tolist())) > 1 for part in shaped[0].split(4)), "the penalty differs inside each group"
    assert not output["advantages"].any()


def test_dapo_replaces_groups_without_a_signal_and_stops_at_its_limit(tmp_path):
    made = trainer(tmp_path, config("dapo"), varied=False, max_generation_batches=3)
    batch = made.collector.collect(made.questions[:2], 4, made.algorithm, 1)
    assert len(batch.groups) == 2
    assert batch.cost["groups_sampled"] > 2, "random models fail everywhere, so groups are drawn again"
    assert batch.cost["groups_sampled"] <= 2 + 4 + 4
    seen = []
    score = made.collector.task.score
    made.collector.task.score = lambda q, text: seen.append(q.id) or score(q, text)
    made.collector.collect(made.questions[:2], 4, made.algorithm, 1)
    assert len(set(seen)) == len(seen) // 4, "a replacement is a fresh question"
    correct = []

    def scored(question, text):
        correct.append(len(correct) % 3 == 0)
        return score(question, text)._replace(correct=correct[-1])

    made.collector.task.score = scored
    cost = made.collector.collect(made.questions[:2], 4, made.algorithm, 1).cost
    assert cost[SAMPLED_SUCCESS] == pytest.approx(np.mean(correct)), "over dropped groups too"
    assert SAMPLED_SUCCESS not in made.collector.collect(made.questions[:2], 4, load("grpo"), 1).cost


def test_one_update_per_rollout_is_refused_where_it_would_make_the_method_another_one(tmp_path):
    with pytest.raises(UserError, match="gspo: ratio sequence"):
        trainer(tmp_path / "gspo", config("gspo", epochs=1, minibatches=1))
    assert len(records(trainer(tmp_path / "rloo", config("rloo", epochs=1, minibatches=1)))) == 2


def test_consecutive_high_steps():
    follow, base = consecutive_high([[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]])
    assert follow == pytest.approx(0.5) and base == pytest.approx(2 * (2 * 1 / 4) / (2 * (2 * 3 / 4)))
    assert np.isnan(consecutive_high([[1.0], [1.0]])[0]) and np.isnan(consecutive_high([])[0])
    rng = np.random.default_rng(0)
    steps = [list(rng.random(6)) for _ in range(4000)]
    follow, base = consecutive_high(steps)
    assert follow == pytest.approx(base, abs=0.02), "independent steps do not cluster"


class Count(State):
    """Counts batches, mini-batches and steps."""

    name, reads = "count", ("turns_BT",)

    def __init__(self):
        self.seen = {"batches": 0, "minibatches": 0, "steps": 0}

    def on_batch(self, batch):
        assert batch.tensors["turns_BT"].shape == batch.mask_BT.shape
        self.seen["batches"] += 1
        return {}, {}

    def numbers(self):
        return {"count": self.seen["batches"]}

    def on_minibatch(self, tensors, mask_BT):
        self.seen["minibatches"] += 1
        return {}

    def on_step_end(self):
        self.seen["steps"] += 1

    def state_dict(self):
        return dict(self.seen)

    def load_state_dict(self, state):
        self.seen = dict(state)


@dataclass(frozen=True)
class Counted:
    """A token weight of 1 that needs to know how many batches there were."""

    needs = ("count",)

    def state(self, run):
        assert run.max_turns == 5
        return Count()

    def __call__(self, tensors, mask_BT):
        assert tensors["count"] >= 1
        return torch.ones_like(tensors["logps_BT"])


def test_a_part_of_a_users_own_has_memory_that_checkpoints_keep(tmp_path):
    settings = dict(steps=4, checkpoint_every=2)
    made = trainer(tmp_path, config("grpo", **settings), token_weight=Counted())
    steps = records(made)
    per_step = made.updates_per_step
    assert tiny.state(made, "count").seen == {"batches": 4, "minibatches": 4 * per_step, "steps": 4}
    assert len(steps) == 4
    again = trainer(tmp_path, config("grpo", **settings), token_weight=Counted())
    again.load_checkpoint(
        next(path for path in made.run.checkpoints.iterdir() if path.name == f"checkpoint-{2 * per_step}")
    )
    assert tiny.state(again, "count").seen == {"batches": 2, "minibatches": 2 * per_step, "steps": 2}


class Heat(State):
    """Samples hotter by half with every step."""

    name = "heat"

    def __init__(self):
        self.steps, self.used = 0, []

    def sampling(self, planned):
        assert planned.temperature == 1.0, "the run's"
        self.used.append(planned.temperature + 0.5 * self.steps)
        return replace(planned, temperature=self.used[-1])

    def on_step_end(self):
        self.steps += 1

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


@dataclass(frozen=True)
class Heated(GroupZScore):
    """The group z-score of rollouts at a temperature that rises."""

    def state(self, run):
        return Heat()


@pytest.mark.parametrize("method", ["grpo", "aepo-released"])
def test_a_part_of_a_users_own_samples_at_a_temperature_that_it_changes(tmp_path, method):
    """What was sampled, the recorded log-probs and those of the loss are all of the softmax at that temperature."""
    job = config(method, steps=3, learning_rate=1e-9, checkpoint_every=1)
    settings = dict(advantage=Heated(), kl_coefficient=0.1, clip_low=1e-4, clip_high=1e-4)
    made = trainer(tmp_path, job, talker(), **settings)
    gaps, update = [], made.loss_on

    def spy(lm, inputs):
        temperature = tiny.state(made, "heat").used[-1]
        for row in range(len(inputs["completion_ids"])):
            prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()].tolist()
            ids = inputs["completion_ids"][row][inputs["completion_mask"][row].bool()].tolist()
            logps, entropies = tiny.full_forward(lm, prompt, ids, temperature)
            mask = made.loss_mask(inputs)[row][: len(ids)]
            expected = {"old_per_token_logps": logps, "ref_logps_BT": logps, "rollout_entropies": entropies}
            for name, values in expected.items():
                gaps.append(float((inputs[name][row][: len(ids)] - values)[mask].abs().max()))
        return update(lm, inputs)

    made.loss_on = spy
    steps = records(made)
    assert tiny.state(made, "heat").used == [1.0, 1.5, 2.0]
    assert len(gaps) > 50 and max(gaps) < 1e-4
    assert all(step["outside_clip_fraction"] == 0 for step in steps), "the loss's ratios are 1 too"
    assert steps[0]["entropy"] < steps[1]["entropy"] < steps[2]["entropy"], "it was really hotter"
    again = trainer(tmp_path, job, talker(), **settings)
    again.load_checkpoint(again.run.checkpoints / f"checkpoint-{2 * again.updates_per_step}")
    assert tiny.state(again, "heat").sampling(Sampling(1.0)).temperature == 2.0


class Follows(State):
    """Side rows from a moving average of the policy's weights."""

    name = "follows"

    def __init__(self, run):
        self.policy, self.average = run.policy, run.policy_copy()

    def sampling(self, planned):
        return replace(planned, side_rows=SideRows(1.0, planned.temperature, self.average))

    @torch.no_grad()
    def on_step_end(self):
        for own, trained in zip(self.average.parameters(), self.policy().parameters(), strict=True):
            own.lerp_(trained, 0.5)

    def state_dict(self):
        return self.average.state_dict()

    def load_state_dict(self, state):
        self.average.load_state_dict(state)


@dataclass(frozen=True)
class Followed(GroupZScore):
    """The group z-score of own rows and of side rows."""

    needs = ("sides_BT",)

    def state(self, run):
        return Follows(run)


def test_a_part_of_a_users_own_samples_side_rows_from_other_weights(tmp_path):
    """They are drawn from the average, own rows from the policy; the loss has the policy's log-probs of both."""
    job = config("grpo", steps=3, learning_rate=1e-2, checkpoint_every=1)
    made = trainer(tmp_path, job, talker(), advantage=Followed())
    collect, drawn, olds = made.collector.collect, [], []
    collect_batch = made.collect_batch

    def record(*args):
        policy = with_own_forward(copy.deepcopy(made.model)).eval()
        average = copy.deepcopy(tiny.state(made, "follows").average)
        batch = collect(*args)
        drawn.append([(path, group.side, policy, average) for group in batch.groups for path in paths_of(group)])
        for group in batch.groups:
            for path in paths_of(group):
                path.drawn = list(path.logps)
        return batch

    def paths_of(group):
        return [trajectory.path for trajectory in group.trajectories]

    def keep(indices):
        output = collect_batch(indices)
        olds.append(output["old_per_token_logps"])
        return output

    made.collector.collect, made.collect_batch = record, keep
    made.train()
    apart = []
    for step, (paths, old_BT) in enumerate(zip(drawn, olds, strict=True)):
        for row, (path, side, policy, average) in enumerate(paths):
            mask = torch.tensor(path.sampled)
            own, other = (tiny.full_forward(lm, path.prompt, path.completion)[0][mask] for lm in (policy, average))
            assert torch.allclose(torch.tensor(path.drawn)[mask], other if side else own, atol=1e-4)
            assert torch.allclose(old_BT[row][: len(path.completion)][mask].float(), own, atol=1e-4)
            if side and step:
                apart.append(float((own - other).abs().max()))
    assert max(apart) > 0.1, "the average is not the policy"
    again = trainer(tmp_path, job, talker(), advantage=Followed())
    again.load_checkpoint(again.run.checkpoints / f"checkpoint-{3 * again.updates_per_step}")
    kept, found = (tiny.state(which, "follows").average.state_dict() for which in (made, again))
    assert all(torch.equal(kept[name], found[name]) for name in kept)


class Beside(State):
    """Asks for the first half of the questions once more, hotter."""

    name = "beside"

    def sampling(self, planned):
        return replace(planned, side_rows=SideRows(share=0.5, temperature=1.5))


@dataclass(frozen=True)
class Asks(GroupZScore):
    """The group z-score beside side rows that it does not read."""

    def state(self, run):
        return Beside()


@dataclass(frozen=True)
class Reads(Asks):
    """The group z-score; of side rows those above the mean count, and all alike."""

    needs = ("sides_BT",)

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        own_BT, metrics = super().__call__(rewards_B, groups_B, tensors, mask_BT)
        return torch.where(tensors["sides_BT"] == 1, (own_BT > 0.05).to(own_BT.dtype), own_BT), metrics


def test_a_part_of_a_users_own_trains_on_side_rows_and_nothing_else_reads_them(tmp_path):
    """Rows that reach the loss: (tokens, advantage of the last token, worst difference of old log-probs)."""

    def trained(name, advantage):
        job = config("grpo", steps=1, epochs=1, group_size=6)
        made = trainer(tmp_path / name, job, talker(), advantage=advantage)
        rows, update = {}, made.loss_on

        def spy(lm, inputs):
            for row, mask in enumerate(made.loss_mask(inputs)):
                prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()].tolist()
                ids = inputs["completion_ids"][row][inputs["completion_mask"][row].bool()].tolist()
                if mask.any():
                    own, old = mask[: len(ids)], inputs["old_per_token_logps"][row][: len(ids)]
                    gap = (old - tiny.full_forward(start, prompt, ids)[0])[own].abs().max()
                    rows[tuple(prompt + ids)] = (float(inputs["advantages"][row][mask][-1]), float(gap))
            return update(lm, inputs)

        made.loss_on = spy
        start = talker()
        (step,) = records(made)
        return made.batch, rows, step

    batch, rows, step = trained("reads", Reads())
    side = [group for group in batch.groups if group.side]
    assert len(batch.groups) == 3 and len(side) == 1 and side[0].question == batch.groups[0].question
    own = {tuple(t.path.tokens) for group in batch.own().groups for t in group.trajectories}
    good = {
        tuple(t.path.tokens)
        for t, reward in zip(side[0].trajectories, side[0].reward_values, strict=True)
        if reward > np.mean(side[0].reward_values)
    }
    assert 1 <= len(good) < 6 and rows.keys() == own | good, "the other side rows are in no mini-batch"
    assert all(rows[tokens][0] == 1.0 for tokens in good)
    assert max(gap for _, gap in rows.values()) < 1e-4, "the policy's log-probs at the step's temperature"
    path = next(t.path for t in side[0].trajectories if tuple(t.path.tokens) in good)
    logps, _ = tiny.full_forward(talker(), path.prompt, path.completion, temperature=1.5)
    assert np.allclose(np.array(path.logps)[path.sampled], logps[torch.tensor(path.sampled)], atol=1e-4), (
        "it was hotter"
    )
    _, entropies = tiny.full_forward(talker(), path.prompt, path.completion)
    assert np.allclose(np.array(path.entropies)[path.sampled], entropies[torch.tensor(path.sampled)], atol=1e-4)
    with pytest.raises(UserError, match="side_rows.share"):
        SideRows(share=0.0, temperature=1.0)
    asks, plain = trained("asks", Asks()), trained("plain", GroupZScore())
    assert asks[1] == plain[1] and asks[1].keys() == own, "side rows change no draw of the others"
    assert all(a["trajectories"] == 12 for _, _, a in (asks, plain, ("", "", step)))
    assert asks[2]["reward_mean"] == plain[2]["reward_mean"] and asks[2]["sampled_tokens"] > plain[2]["sampled_tokens"]
