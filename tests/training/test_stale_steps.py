"""`training.stale_steps`: rollouts of a step sampled while the one before it trains, against the same done in turn."""

import copy
import json
import threading
import time
from dataclasses import dataclass, replace

import pytest
import tiny
import torch
from stopping import train_until
from trainers import config, trainer

from reproduce.algorithms.parts.advantages import GroupZScore
from reproduce.algorithms.parts.state import SideRows, State
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.runs.manifest import config_hash
from reproduce.training.ahead import SAMPLED_AFTER
from reproduce.training.checkpoints import last_checkpoint

STEPS = 4


def outcome(made):
    """(weights, metrics of steps, rollouts) of a run: what must be equal to the byte."""
    weights = made.model.state_dict() | {f"critic.{name}": w for name, w in tiny.critic_weights(made).items()}
    metrics = [json.loads(p.read_text())["metrics"] for p in sorted(made.run.parts.glob("*.steps.json"))]
    found = [{name: repr(value) for name, value in step.items()} for step in metrics]  # NaN equals NaN
    return weights, found, [p.read_bytes() for p in sorted(made.run.parts.glob("*.rollouts.parquet"))]


def steps_of(made):
    made.train()
    return [json.loads(p.read_text())["metrics"] for p in sorted(made.run.parts.glob("*.steps.json"))]


def assert_equal(left, right):
    assert left[1] == right[1] and left[2] == right[2] and left[0].keys() == right[0].keys()
    for name, value in left[0].items():
        assert torch.equal(value, right[0][name]), name


def in_turn(folder, job, **overrides):
    """A run that waits for its rollouts, and samples step t with the weights that t - 2 steps have made."""
    made = trainer(folder, job, **overrides)
    rollouts = made.rollouts
    rollouts.ahead, older, kept = None, rollouts.replica.model, []
    rollouts.__class__ = type("InTurn", (type(rollouts),), {"sampler": property(lambda self: older)})
    collect = made.collector.collect

    def stale(*arguments):
        kept.append(copy.deepcopy(made.model.state_dict()))
        older.load_state_dict(kept[max(0, len(kept) - 2)])
        return collect(*arguments)

    made.collector.collect = stale
    made.train()
    return outcome(made)


@pytest.mark.parametrize(
    ("method", "updates"),
    [
        ("gspo", 1),  # one update per rollout, where a run without stale steps refuses it
        ("dapo", 2),  # dynamic sampling
        ("erc", 2),  # entropies of the policy that sampled
        ("ppo+epo", 2),  # a critic, and a history of entropies
        pytest.param("aepo", 2, marks=pytest.mark.slow),
        pytest.param("arpo-released", 2, marks=pytest.mark.slow),  # the collector's own memory
    ],
)
def test_rows_are_those_of_weights_one_step_older_whatever_the_clock_does(tmp_path, method, updates):
    job = config(method, steps=STEPS, epochs=1, minibatches=updates, learning_rate=1e-2, stale_steps=1)
    made = trainer(tmp_path / "ahead", job)
    threads, collect, loss_on = [], made.collector.collect, made.loss_on

    def late(*arguments):
        threads.append(threading.current_thread() is threading.main_thread())
        time.sleep(0.05 * (len(threads) % 2))  # sometimes the training is first, sometimes the sampling
        return collect(*arguments)

    made.collector.collect = late
    made.loss_on = lambda *arguments: (time.sleep(0.02), loss_on(*arguments))[1]
    made.train()
    found = outcome(made)
    assert threads == [True, False, False, False]
    assert [step.pop(SAMPLED_AFTER) for step in found[1]] == ["0.0", "0.0", "1.0", "2.0"]
    assert_equal(found, in_turn(tmp_path / "in_turn", job))


@pytest.mark.parametrize("method", ["dapo", pytest.param("ppo+epo", marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, method):
    job = config(method, steps=STEPS, stale_steps=1)

    def run(folder, stops):
        for stop in stops:
            torch.manual_seed(stop)  # whatever the global generator holds must not matter
            made = trainer(tmp_path / folder, job)
            assert train_until(made, stop) == (stop < STEPS)
        return outcome(made)

    assert_equal(run("whole", [STEPS]), run("parts", [1, 3, STEPS]))


def test_a_checkpoint_without_the_rollouts_that_come_next_is_refused(tmp_path):
    job = config(steps=3, stale_steps=1)
    train_until(trainer(tmp_path, job), 1)
    folder = last_checkpoint(trainer(tmp_path, job).run.checkpoints)
    (folder / "next_rollouts.pt").unlink()
    with pytest.raises(UserError, match=r"lacks next_rollouts\.pt"):
        trainer(tmp_path, job).train(resume_from_checkpoint=str(folder))


def test_a_failure_of_the_training_gives_the_sampling_up(tmp_path):
    """The thread would otherwise hold up the process until its rollouts are there."""
    made = trainer(tmp_path, config(steps=3, stale_steps=1))
    collect, ended = made.collector.collect, threading.Event()

    def endless(*arguments):
        if threading.current_thread() is threading.main_thread():
            return collect(*arguments)
        try:
            while True:
                collect(*arguments)
        finally:
            ended.set()

    def broken(*arguments):
        raise RuntimeError("no memory")

    made.collector.collect, made.loss_on = endless, broken
    with pytest.raises(RuntimeError, match="no memory"):
        made.train()
    assert ended.is_set()


def test_a_failure_of_the_sampling_is_the_runs(tmp_path):
    made = trainer(tmp_path, config(steps=3, stale_steps=1))
    collect = made.collector.collect

    def refused(questions, k, algorithm, step, sampling):
        if step == 3:
            raise UserError("search.service: the key is refused")
        return collect(questions, k, algorithm, step, sampling)

    made.collector.collect = refused
    with pytest.raises(UserError, match="the key is refused"):
        made.train()
    assert last_checkpoint(made.run.checkpoints).name == f"checkpoint-{made.updates_per_step}"


class Asks(State):
    """Counts what it is asked, and samples hotter each time; or asks for side rows."""

    name = "asks"

    def __init__(self, side, other):
        self.side, self.other, self.asked, self.steps = side, other, 0, 0

    def sampling(self, planned):
        self.asked += 1
        side = SideRows(0.5, 1.5, self.other) if self.side else None
        return replace(planned, temperature=1.0 + 0.1 * self.steps, side_rows=side)

    def on_step_end(self):
        self.steps += 1

    def state_dict(self):
        return {"asked": self.asked, "steps": self.steps}

    def load_state_dict(self, state):
        self.asked, self.steps = state["asked"], state["steps"]


@dataclass(frozen=True)
class Moved(GroupZScore):
    """The group z-score beside what `Asks` asks for."""

    side: bool = False
    foreign: bool = False

    def state(self, run):
        return Asks(self.side, run.policy_copy() if self.foreign else None)


@pytest.mark.parametrize("side", [False, True])
def test_a_state_is_asked_once_a_step_and_what_it_wanted_holds_for_the_rows(tmp_path, side):
    """Asked when the step before begins, it knows what it knew then: temperatures 1, 1, 1.1, 1.2."""
    job = config("gspo", steps=STEPS, learning_rate=1e-9, stale_steps=1)  # its clip range is 3e-4
    made = trainer(tmp_path, job, advantage=Moved(side=side))
    steps = steps_of(made)
    assert tiny.state(made, "asks").state_dict() == {"asked": STEPS, "steps": STEPS}
    assert made.passes.temperature == pytest.approx(1.2)
    assert all(step["outside_clip_fraction"] == 0 for step in steps), "scored at the temperature of sampling"


def test_side_rows_of_a_model_that_changes_meanwhile_are_refused(tmp_path):
    made = trainer(tmp_path, config(steps=3, stale_steps=1), advantage=Moved(side=True, foreign=True))
    with pytest.raises(UserError, match=r"training\.stale_steps: grpo samples side rows from weights of its own"):
        made.train()


def test_one_update_is_not_without_effect_where_rollouts_are_stale(tmp_path):
    job = config("gspo", epochs=1, minibatches=1, learning_rate=1e-2)
    with pytest.raises(UserError, match="gspo: ratio .* would change nothing with one update"):
        trainer(tmp_path, job)
    made = trainer(tmp_path, replace(job, training=replace(job.training, stale_steps=1)))
    outside = [step["outside_clip_fraction"] for step in steps_of(made)]
    assert outside[0] == 0 and outside[1] > 0.1


def test_what_cannot_be_stale_is_refused_before_it_starts(tmp_path):
    with pytest.raises(UserError, match=r"rloo: surrogate policy_gradient .* training\.stale_steps"):
        trainer(tmp_path, config("rloo", stale_steps=1))
    trainer(tmp_path, config("rloo", stale_steps=1), importance_weight=True)
    job = config(stale_steps=1).to_dict()
    with pytest.raises(UserError, match=r"'training\.stale_steps' must be 0: .*vllm_server"):
        JobConfig.from_dict(job | {"engine": {"name": "vllm"}})
    JobConfig.from_dict(job | {"engine": {"name": "vllm_server", "url": "http://node7:8000", "sync_folder": "/s"}})


def test_without_stale_steps_a_config_is_what_it_was():
    plain = config().to_dict()
    del plain["training"]["stale_steps"]
    none, zero = JobConfig.from_dict(plain), config(stale_steps=0)
    assert none == zero and config_hash(none) == config_hash(zero) != config_hash(config(stale_steps=1))
