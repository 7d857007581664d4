"""EPO's published training forms: a cosine learning rate, PPO on groups of one, settings by method."""

from functools import partial

import pytest
import tiny
from house import config, trainer
from stopping import train_until

from reproduce.algorithms import for_run, load
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.grid.resolve import resolve
from reproduce.runs.manifest import config_hash
from reproduce.training.schedule import cosine_factor
from reproduce.training.trl_config import NO_QUESTION, question_indices

EPO_RATE = partial(cosine_factor, warmup_share=0.1, floor=0.2)


def test_the_rate_rises_from_the_floor_and_falls_by_half_a_cosine():
    """120 steps: 12 of warm-up from 0.2, the peak at 12, the middle of the cosine (0.6) at 66, 0.2 at the end."""
    factors = [EPO_RATE(step, 120) for step in range(121)]
    assert factors[0] == pytest.approx(0.2) and factors[6] == pytest.approx(0.6) and factors[12] == 1.0
    assert factors[66] == pytest.approx(0.6) and factors[120] == pytest.approx(0.2)
    assert factors[39] == pytest.approx(0.2 + 0.8 * 0.8535534)  # a quarter of the way: (1 + cos 45 degrees) / 2
    assert EPO_RATE(0, 5) == 1.0, "no warm-up where it rounds to no step"
    assert EPO_RATE(500, 120) == pytest.approx(0.2)


def rates_seen(made):
    """(RL step, rate) of every update, to be filled by a training."""
    seen, inner = [], made.loss_on

    def spy(lm, inputs):
        seen.append((made.rl_step - 1, made.optimizer.param_groups[0]["lr"]))
        return inner(lm, inputs)

    made.loss_on = spy
    return seen


def test_all_updates_of_a_step_share_its_rate_also_after_a_resumption(tmp_path):
    def built(folder):
        job = config("ppo", steps=4, epochs=1, minibatches=2)
        return trainer(folder, job, rate_factor=partial(cosine_factor, steps=4, warmup_share=0.5, floor=0.2))

    whole = built(tmp_path / "whole")
    seen = rates_seen(whole)
    whole.train()
    expected = [cosine_factor(step, 4, 0.5, 0.2) * 3e-3 for step in (0, 0, 1, 1, 2, 2, 3, 3)]
    assert [rate for _, rate in seen] == pytest.approx(expected) and len(set(expected)) == 4 - 1
    assert tiny.state(whole, "critic").optimizer.param_groups[0]["lr"] == 3e-3, "the critic's rate is constant"
    cut = built(tmp_path / "cut")
    assert train_until(cut, 1)
    resumed = built(tmp_path / "cut")
    rest = rates_seen(resumed)
    train_until(resumed, 9)
    assert rest[-4:] == seen[-4:]


def test_ppo_trains_on_one_episode_a_task(tmp_path):
    made = trainer(tmp_path, config("ppo", steps=2, prompts_per_step=6, group_size=1, epochs=1, minibatches=3))
    batches, collect = [], made.collector.collect

    def spy(questions, k, *rest):
        batches.append((len(questions), len({q.id for q in questions}), k))
        return collect(questions, k, *rest)

    made.collector.collect = spy
    made.train()
    assert batches == [(6, 6, 1)] * 2 and made.state.global_step == 6


def test_rows_fill_up_what_groups_of_one_do_not_divide_among_processes(monkeypatch):
    """128 tasks in 32 mini-batches are 4 trajectories each; eight processes need 8, so TRL takes 256 rows a step."""
    training = next(j for j in resolve("3", "paper", ["ppo"], [0], here=False)).training
    assert question_indices(training)[:128] == list(range(128)) and NO_QUESTION not in question_indices(training)
    monkeypatch.setenv("WORLD_SIZE", "8")
    found = question_indices(training)
    assert len(found) == 256 * training.steps and found[:128] == list(range(128))
    assert set(found[128:256]) == {NO_QUESTION} and found[256] == 128


@pytest.mark.parametrize("method", ["grpo", "rloo", "gigpo", "reinforce++-baseline", "aepo"])
def test_groups_of_one_are_refused_where_trajectories_are_compared(method):
    with pytest.raises(UserError, match="group_size"):
        for_run(load(method), max_completion_tokens=9, updates_per_rollout=2, group_size=1)


@pytest.mark.parametrize("method", ["ppo", "reinforce++", "epo-base"])
def test_groups_of_one_are_no_problem_for_a_baseline_that_is_no_group(method):
    for_run(load(method), max_completion_tokens=9, updates_per_rollout=2, group_size=1)


@pytest.mark.parametrize(
    ("profile", "ppo", "grpo", "alpha"),
    [
        ("paper", (128, 1, 32, 3e-6), (16, 8, 16, 5e-6), 0.05),
        ("paper-alfworld", (128, 1, 16, 5e-6), (16, 8, 16, 5e-6), 0.1),
    ],
)
def test_table_3_at_full_size_has_each_methods_published_form(profile, ppo, grpo, alpha):
    for job in resolve("3", profile, ["ppo", "ppo+epo", "grpo", "grpo+epo"], [0], here=False):
        t = job.training
        found = (t.prompts_per_step, t.group_size, t.minibatches, t.learning_rate)
        assert found == (ppo if job.method.startswith("ppo") else grpo), job.name
        assert (t.schedule.warmup_share, t.schedule.floor) == (0.1, 0.2)
        if "epo" in job.method:
            assert load(job.method, **job.algorithm).settings["smoothing_weight"] == alpha


def test_a_constant_rate_keeps_the_hash_of_older_configs():
    job = config()
    old = job.to_dict()
    del old["training"]["schedule"]
    assert config_hash(JobConfig.from_dict(old)) == config_hash(job) == config_hash(old)
    with_schedule = JobConfig.from_dict({**old, "training": {**old["training"], "schedule": {}}})
    assert config_hash(with_schedule) != config_hash(job)


def test_a_method_may_not_change_what_the_shared_warm_start_depends_on():
    table = TableConfig.load(3)
    table.profiles["smoke"].method_training["ppo"] = {"temperature": 0.5}
    with pytest.raises(UserError, match="method_training.ppo.temperature"):
        table.jobs("smoke", ["ppo"], [0])
