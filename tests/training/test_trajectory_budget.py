"""`training.trajectory_budget`: a run ends at GRPO's number of sampled trajectories, and everything agrees where."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from run_rows import evaluations, job, metrics, rollouts
from stopping import train_until
from tiny import LocalPrinter, model, tokenizer
from trainers import config, trainer

from reproduce.config.sections import TokenLogConfig, ValidationConfig
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.grid.display import FINISHED, RUNNING, RunStatus
from reproduce.grid.status import line_of
from reproduce.rollouts.agent import Grammar, Limits
from reproduce.rollouts.collector import Collector
from reproduce.runs import files, length, token_records
from reproduce.runs.directory import RunDirectory
from reproduce.runs.manifest import config_hash
from reproduce.runs.reader import read_run
from reproduce.runs.shared import table_config
from reproduce.training.checkpoints import last_checkpoint
from reproduce.training.evaluated import Validation
from reproduce.training.token_log import TokenLog
from reproduce.training.trajectory_budget import TrajectoryBudget
from reproduce.worlds.miniweb.task import open_task
from reproduce.worlds.rewards import Reward

SECONDS = {"rollout": 1, "train": 1}
BUDGET = {"trajectory_budget": True, "steps": 6}  # 6 x 2 groups


def made(folder, method="dapo", **changes):
    """A trainer whose questions have a signal or not, by their names, so that DAPO replaces groups."""
    asked = config(method, **(BUDGET | changes))
    built = trainer(folder, asked, model(scale=2.0), varied=False)

    def score(question, text):
        fifth = len(text) % 5 if sum(map(ord, question.id)) % 3 == 0 else 0
        return Reward(fifth / 4, 0.0, True, "", fifth == 4)

    built.collector.task.score = score
    return built


def recorded(built):
    steps = [files.read_json(path)["metrics"] for path in sorted(built.run.parts.glob("*.steps.json"))]
    return steps, [path.read_bytes() for path in sorted(built.run.parts.glob("*.rollouts.parquet"))]


def test_training_ends_with_the_step_that_reaches_the_budget_and_resumes_to_the_same_bytes(tmp_path):
    whole = made(tmp_path / "whole")
    whole.train()
    steps, rows = recorded(whole)
    groups = [step["groups_sampled"] for step in steps]
    assert 1 < len(steps) < 6 and sum(groups) >= 12 > sum(groups[:-1])
    assert len(steps) == length.whole(vars(whole.run.config.training), groups)
    cut = made(tmp_path / "cut")
    assert train_until(cut, len(steps) - 1), "killed in its last step"
    again = made(tmp_path / "cut")
    assert not train_until(again, 9)
    assert repr(recorded(again)) == repr((steps, rows))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    checkpoint = last_checkpoint(again.run.checkpoints)
    assert int(checkpoint.name.rsplit("-", 1)[1]) == len(steps) * again.updates_per_step
    third = made(tmp_path / "cut")
    assert third.ended_at(checkpoint), "a run that is killed before its evaluation trains no further step"
    assert not made(tmp_path / "cut").ending


def test_the_last_step_has_a_checkpoint_however_seldom_they_are_written(tmp_path):
    built = made(tmp_path, checkpoint_every=5)
    built.train()
    steps = len(recorded(built)[0])
    assert [p.name for p in built.run.checkpoints.glob("*")] == [f"checkpoint-{steps * built.updates_per_step}"]


def test_a_method_that_drops_no_group_makes_all_steps(tmp_path):
    built = made(tmp_path, method="grpo", steps=2)
    built.train()
    assert len(recorded(built)[0]) == 2


def test_the_last_step_has_its_validation_and_its_tokens(tmp_path):
    built = made(tmp_path)
    seldom = TokenLogConfig(every=50), ValidationConfig(every=50, questions=2)
    asked = built.run.config
    asked = replace(
        asked,
        training=replace(asked.training, token_log=seldom[0]),
        evaluation=replace(asked.evaluation, validation=seldom[1]),
    )
    built.token_log = TokenLog(asked, built.algorithm, tokenizer().decode)
    task = open_task("mini-deepsearch", "miniweb", LocalPrinter(), -1.0, 0.1)
    built.validation = Validation(asked, Collector(task, built.model, Grammar(tokenizer()), Limits(4, 64), 1.0, 0))
    built.train()
    steps = len(recorded(built)[0])
    assert [path.stem for path in sorted((built.run.path / "validation").iterdir())] == [f"{steps:06d}"]
    assert token_records.steps_of(built.run.path) == [1, steps]


def run_of(root, groups, **changes):
    """A run directory of the rows' config (3 steps of 2 x 2), with these groups sampled in its steps."""
    asked = job(method="dapo", training={"trajectory_budget": True}, **changes)
    run = RunDirectory.open(asked.directory(root), asked)
    for step, count in enumerate(groups, start=1):
        run.write_step(
            step, metrics(step) | {"groups_sampled": float(count)}, rollouts(step), {"rollout": 1, "train": 1}
        )
    return run


def test_a_run_is_finished_where_its_budget_ends_and_not_before(tmp_path):
    with pytest.raises(ValueError, match="1 of 3 steps"):
        run = run_of(tmp_path / "short", [5])
        run.write_eval(evaluations())
        run.finish()
    run = run_of(tmp_path / "right", [4, 3])
    run.write_eval(evaluations())
    run.finish()
    assert read_run(run.path).steps["step"].to_pylist() == [1, 2]
    with pytest.raises(ValueError, match="3 of 2 steps"):
        run = run_of(tmp_path / "long", [4, 3, 2])
        run.write_eval(evaluations())
        run.finish()


def test_the_displays_know_where_a_run_ended_and_where_it_will(tmp_path):
    run = run_of(tmp_path, [4])
    run.progress("train", 1, 2)
    status = RunStatus(run.config, run.path, RUNNING)
    assert (status.steps_done(), status.total) == (1, 2), "as the run expects"
    run = run_of(tmp_path / "done", [4, 3])
    run.write_eval(evaluations())
    run.finish()
    line, status = line_of(run.path), RunStatus(run.config, run.path, FINISHED)
    assert (line.state, line.step, line.total) == ("finished", 2, 2)
    assert (status.steps_done(), status.total) == (2, 2)


def test_the_number_of_steps_is_estimated_from_those_made():
    budget = TrajectoryBudget(config("dapo", **BUDGET).training)
    budget.add(4)
    assert budget.expected(1, 6) == 3 and not budget.reached
    budget.add(9)
    assert budget.expected(2, 6) == 2 and budget.reached


def test_configs_without_it_are_what_they_were_and_rows_with_it_are_others():
    plain, matched = TableConfig.load(2).jobs("mini", ["dapo", "dapo-matched"], [0])
    assert matched.method == "dapo" and matched.training.trajectory_budget
    assert config_hash(plain) != config_hash(matched)
    older = plain.to_dict()
    del older["training"]["trajectory_budget"]
    assert config_hash(JobConfig.from_dict(older)) == config_hash(plain)
    assert length.budget(older["training"]) is None and length.whole(older["training"], [99.0]) == 24
    assert length.budget(vars(matched.training)) == 24 * 16 * 16
    for group in ("core", "all", "entropy"):
        assert not {"dapo-matched", "cispo-matched"} & TableConfig.load(2).rows("mini", [group]).keys()


def test_it_is_refused_where_the_next_step_has_begun_before_the_last_is_known():
    with pytest.raises(UserError, match="'training.trajectory_budget' cannot be true with stale_steps"):
        job(training={"trajectory_budget": True, "stale_steps": 1})


def test_runs_of_before_the_setting_stand_beside_new_ones():
    plain, matched = TableConfig.load(2).jobs("smoke", ["dapo", "dapo-matched"], [0])
    older = replace(plain, seed=1).to_dict()
    del older["training"]["trajectory_budget"]
    configs = {Path("a"): older, Path("b"): plain.to_dict(), Path("c"): matched.to_dict()}
    rows = table_config(configs)["rows"]
    assert rows["dapo"]["seeds"] == [1, 0] and rows["dapo"]["training"] == {"trajectory_budget": None}
    assert rows["dapo-matched"]["training"] == {"trajectory_budget": True}


@pytest.mark.slow
def test_through_a_job_it_is_evaluated_published_and_loaded(tmp_path):
    from analysis import budget, load, write
    from reproduce.runs.publish import publish
    from reproduce.training.job import run_job
    from reproduce.training.prepare import prepare_warm_start

    jobs = TableConfig.load(2).jobs("smoke", ["grpo", "dapo", "dapo-matched"], [0])
    small = {"steps": 4, "prompts_per_step": 2, "minibatches": 2}
    for made_job in jobs:
        asked = replace(
            made_job,
            training=replace(made_job.training, **small),
            evaluation=replace(made_job.evaluation, questions=2),
            algorithm={"max_generation_batches": 2} if made_job.method == "dapo" else {},
        )
        run = RunDirectory.open(asked.directory(tmp_path / "runs"), asked)
        start = prepare_warm_start(asked, tmp_path / "runs")
        run_job(asked, run, start)
    steps = read_run(run.path).steps["step"].to_pylist()
    assert 1 <= len(steps) < 4, "DAPO finds few groups with a signal"
    before = run.path / "steps.parquet"
    content = before.read_bytes()
    (run.path / "eval.parquet").unlink()
    run_job(asked, RunDirectory.open(run.path, asked), start)
    assert before.read_bytes() == content, "evaluated again, and no step further"
    publish("smoke", "table2", tmp_path / "runs", tmp_path / "data" / "results")
    for source in (
        load.load_source("smoke", "table2", data_root=tmp_path / "data"),
        load.load_source("smoke", "table2", tmp_path / "runs"),
    ):
        built = write.build(source)
        assert built.frame.loc["dapo-matched", "n_seeds"] == 1 and write.files(built, None)
        assert budget.at_budget(source) == {"dapo-matched": (len(steps), len(steps))}
        assert any("Training ended once" in note for note in budget.sampling_note(source))
