"""Records of tokens and evaluations during training: they hold what happened, and move no other byte of a run."""

import dataclasses
import json
from pathlib import Path

import house
import pytest
import torch
from tiny import LocalPrinter, talker, tokenizer
from trainers import config, trainer

from reproduce.config.sections import TokenLogConfig, ValidationConfig
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.rollouts.agent import Grammar, Limits
from reproduce.rollouts.collector import Collector
from reproduce.rollouts.token_log import pieces
from reproduce.runs import files, token_records
from reproduce.runs.manifest import config_hash
from reproduce.runs.schema import EVAL_SCHEMA
from reproduce.training.evaluated import Validation
from reproduce.training.token_log import TokenLog
from reproduce.worlds.miniweb.task import open_task


def watched(job: JobConfig) -> JobConfig:
    """The job with both kinds of record."""
    training = dataclasses.replace(job.training, token_log=TokenLogConfig(every=5, groups=1))
    evaluation = dataclasses.replace(job.evaluation, validation=ValidationConfig(every=1, questions=2, samples=2))
    return dataclasses.replace(job, training=training, evaluation=evaluation)


def trained(folder: Path, job: JobConfig) -> Path:
    """The run directory after all steps of a small model that likes to search."""
    made = trainer(folder, job, talker())
    if job.training.token_log is not None:
        made.token_log = TokenLog(job, made.algorithm, tokenizer().decode)
        task = open_task("mini-deepsearch", "miniweb", LocalPrinter(), -1.0, 0.1)
        evaluated = Collector(task, made.model, Grammar(tokenizer()), Limits(4, 64), 1.0, job.seed)
        made.validation = Validation(job, evaluated)
    made.train()
    return made.run.path


def parts(run: Path) -> dict:
    steps = {p.name: json.loads(p.read_text())["metrics"] for p in sorted((run / "parts").glob("*.json"))}
    return {**steps, **{p.name: p.read_bytes() for p in sorted((run / "parts").glob("*.parquet"))}}


@pytest.fixture(scope="module", params=["aepo", "dapo"])
def runs(request, tmp_path_factory):
    job = config(request.param, steps=2)
    folder = tmp_path_factory.mktemp(request.param)
    return trained(folder / "plain", job), trained(folder / "watched", watched(job)), job


def test_records_change_neither_hash_nor_results(runs):
    plain, seen, job = runs
    assert config_hash(watched(job)) == config_hash(job)
    assert parts(plain).keys() == parts(seen).keys() and len(parts(plain)) == 4
    assert json.dumps(parts(plain), default=bytes.hex) == json.dumps(parts(seen), default=bytes.hex)
    assert not (plain / "tokens").exists() and not (plain / "validation").exists()


def test_a_record_holds_what_the_trainer_read(runs):
    _, run, job = runs
    assert token_records.steps_of(run) == [1, 2]
    record = token_records.read(token_records.path_of(run, 1))
    assert (record.method, record.step, record.steps, record.seed) == (job.method, 1, 2, 0)
    (group,) = record.groups
    assert len(group.trajectories) == job.training.group_size
    for trajectory in group.trajectories:
        (path,) = trajectory.paths
        logps = torch.tensor(path.logps)
        assert torch.allclose(logps, torch.tensor(path.trainer_logps), atol=1e-4)
        assert torch.allclose(torch.tensor(path.entropies), torch.tensor(path.trainer_entropies), atol=1e-4)
        assert len(path.update_logps) == job.training.epochs
        forced = [i for i, sampled in enumerate(path.sampled) if not sampled]
        assert all(path.advantages[i] == 0 and path.update_logps[0][i] == 0 for i in forced)
        assert "".join(path.pieces) == tokenizer().decode(path.tokens)
    first = [t for t in group.trajectories if t.paths[0].update_logps[0] == t.paths[0].trainer_logps]
    last = [t for t in group.trajectories if t.paths[0].update_logps[-1] != t.paths[0].trainer_logps]
    assert len(last) == len(group.trajectories), "the second pass reads weights that have moved"
    assert len(first) < len(group.trajectories) or group.rejected


def test_every_fork_has_the_test_that_made_it(tmp_path):
    job = watched(config("aepo", steps=1, prompts_per_step=1, group_size=8, minibatches=1))
    record = token_records.read(token_records.path_of(trained(tmp_path, job), 1))
    (group,) = record.groups
    forks = [t for t in group.trajectories if t.parent >= 0]
    assert forks and group.pilot is not None and 1 <= group.initial < 8
    for fork in forks:
        parent = group.trajectories[fork.parent]
        (test,) = [t for t in parent.tests if t.token == fork.branch_token]
        assert test.forked and test.turn == fork.branch_turn
        assert test.probability > record.policy["threshold"]
        alpha, weight, slope = (record.policy[name] for name in ("alpha", "entropy_weight", "penalty_slope"))
        expected = (alpha + weight * test.entropy_change) * (1 - slope * test.consecutive)
        assert test.probability == pytest.approx(expected)
        assert fork.paths[0].tokens[: fork.branch_token] == parent.paths[0].tokens[: fork.branch_token]
    refused = [test for t in group.trajectories for test in t.tests if not test.forked]
    assert all(test.probability <= record.policy["threshold"] for test in refused)


def test_validation_rows_lie_by_step(runs):
    _, run, _ = runs
    assert sorted(p.name for p in (run / "validation").iterdir()) == ["000001.parquet", "000002.parquet"]
    table = files.read_table(run / "validation" / "000002.parquet", EVAL_SCHEMA)
    assert set(table["checkpoint"].to_pylist()) == {"step 2"} and set(table["split"].to_pylist()) == {"validation"}
    assert table.num_rows == 4


def test_a_step_that_is_taken_back_takes_its_records_with_it(runs, tmp_path):
    made = trainer(tmp_path, watched(config("grpo", steps=2)), talker())
    for folder in ("tokens", "validation"):
        (made.run.path / folder).mkdir()
        for step in (1, 2):
            (made.run.path / folder / f"{step:06d}.x").write_text("")
    made.run.drop_steps_after(1)
    assert [p.name for p in sorted(made.run.path.glob("[tv]*/*.x"))] == ["000001.x", "000001.x"]


@pytest.mark.parametrize("text", ["", "a naïve 🙂 word", "\ud7ff\u0000 </script>"])
def test_pieces_of_bytes_join_to_the_text(text):
    def decode(ids):
        return bytes(ids).decode(errors="replace")

    found = pieces(list(text.encode()), decode)
    assert "".join(found) == text and len(found) == len(text.encode())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "cut short"),
        (lambda path: path.write_bytes(b"{}"), "no token record"),
        (lambda path: path.unlink(), "cannot be read"),
    ],
)
def test_a_damaged_record_is_one_line_that_names_it(runs, tmp_path, change, message):
    path = token_records.path_of(tmp_path, 1)
    path.parent.mkdir()
    path.write_bytes(token_records.path_of(runs[1], 1).read_bytes())
    change(path)
    with pytest.raises(UserError, match=message) as error:
        token_records.read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_record_of_episodes_has_a_path_for_each_turn(tmp_path):
    job = watched(house.config("grpo", turns=2, steps=1, prompts_per_step=1, group_size=2, minibatches=2))
    made = house.trainer(tmp_path, job)
    made.token_log = TokenLog(job, made.algorithm, house.loaded()[1].decode)
    made.train()
    record = token_records.read(token_records.path_of(made.run.path, 1))
    (group,) = record.groups
    assert record.single_turns and record.world == "minihouse" and len(group.trajectories) == 2
    for trajectory in group.trajectories:
        assert len(trajectory.paths) == len(trajectory.actions) == len(trajectory.results) == len(trajectory.faults)
        assert trajectory.opening and trajectory.ended in ("done", "turns") and trajectory.parent == -1
        for path in trajectory.paths:
            assert len(path.update_logps) == job.training.epochs and all(path.sampled)
            assert torch.allclose(torch.tensor(path.logps), torch.tensor(path.trainer_logps), atol=1e-4)
            assert len(set(path.advantages)) == 1, "GRPO gives every token of an episode one advantage"
