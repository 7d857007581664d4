"""`make status` says where every run is, from what a living, dead or half-written run leaves behind."""

import json

import pytest
from run_rows import evaluations, job, metrics, rollouts

from reproduce import cli, locks
from reproduce.grid.status import line_of, lines
from reproduce.runs import files
from reproduce.runs.directory import RunDirectory

SECONDS = {"rollout": 1, "train": 1}
KL = {"kl_warm_start": 0.0125, "grad_norm": 1.75}


def begun(root, steps: int, **changes):
    """A run that has done `steps` of its three steps, 4 seconds each."""
    config = job(**changes)
    run = RunDirectory.open(config.directory(root), config)
    for step in range(1, steps + 1):
        run.write_step(step, metrics(step) | KL, rollouts(step), SECONDS)
    files.write_json(
        run.path / "progress.json", {"stage": "train", "step": steps, "total_steps": 3, "seconds": 4 * steps}
    )
    return run


def finished(root, **changes):
    run = begun(root, 3, **changes)
    run.write_eval(evaluations())
    run.finish()
    return run


def shown(root, capsys, *words) -> list[list[str]]:
    assert cli.main(["status", "--runs-root", str(root), *words]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_living_run_shows_its_last_metrics_and_the_time_left(tmp_path, capsys):
    run = begun(tmp_path, 2)
    with locks.locked(run.path / ".lock", "busy"):
        printed = shown(tmp_path, capsys)
        heading = [
            "profile",
            "experiment",
            "run",
            "state",
            "step",
            "reward",
            "success",
            "entropy",
            "KL",
            "grad",
            "left",
        ]
        assert printed[0] == heading
        row = ["smoke", "table2", "grpo", "seed", "0", "running", "2/3", "0.200", "0.500", "0.500", "0.013", "1.750"]
        assert printed[1] == [*row, "about", "4", "s"] or printed[1] == [*row[:-2], "0.012", "1.750", "about", "4", "s"]
        run.progress("evaluate", 40, 200)
        assert line_of(run.path).stage == "evaluate 40/200" and line_of(run.path).left is None
        (run.path / "progress.json").write_text('{"stage": ')
        assert line_of(run.path).state == "running" and line_of(run.path).left is None
    assert line_of(run.path).state == "interrupted" and line_of(run.path).left is None


def test_all_tables_and_profiles_are_listed_and_counted(tmp_path, capsys):
    finished(tmp_path)
    finished(tmp_path, experiment="table1", seed=1)
    begun(tmp_path, 0, method="aepo", profile="mini")
    begun(tmp_path, 1, method="dapo").fail("CUDA out of memory\nlower training.minibatches")
    printed = [" ".join(words) for words in shown(tmp_path, capsys)]
    assert [line.split()[:2] for line in printed[1:5]] == [
        ["mini", "table2"],
        ["smoke", "table1"],
        ["smoke", "table2"],
        ["smoke", "table2"],
    ]
    assert printed[5] == "4 runs: 1 interrupted, 2 finished, 1 failed"
    assert printed[6] == "smoke/table2 dapo seed 0 failed: CUDA out of memory lower training.minibatches"
    assert len(lines(tmp_path, "mini")) == 1 and lines(tmp_path, "gpu") == []


@pytest.mark.parametrize(
    ("name", "content", "state", "problem"),
    [
        ("manifest.json", None, "not started", ""),
        ("manifest.json", "{", "unreadable", "not valid JSON"),
        ("config.yaml", None, "unreadable", "config.yaml does not exist"),
        ("config.yaml", "seed: 1", "unreadable", "has seed 0, config.yaml has 1"),
        ("config.yaml", "seed: 0", "unreadable", "is not the directory of a run"),
        ("steps.parquet", "PAR1", "unreadable", "truncated or not parquet"),
    ],
)
def test_a_half_written_run_is_named_and_stops_nothing(tmp_path, capsys, name, content, state, problem):
    run = finished(tmp_path)
    finished(tmp_path, method="aepo")
    (run.path / name).unlink() if content is None else (run.path / name).write_text(content)
    seen = line_of(run.path)
    assert seen.state == state and problem in seen.problem
    printed = shown(tmp_path, capsys)
    assert any(words[2:6] == ["aepo", "seed", "0", "finished"] for words in printed)
    assert ["2", "runs:", "1", "finished,", "1", *state.split()] in printed


def test_a_step_cut_short_by_a_kill_does_not_count(tmp_path):
    run = begun(tmp_path, 2)
    (run.path / "parts" / "000003.steps.json.7.tmp").write_text("{")
    assert line_of(run.path).step == 2
    (run.path / "parts" / "000002.steps.json").write_text(json.dumps({"step": 2})[:-2])
    assert line_of(run.path).state == "unreadable"
