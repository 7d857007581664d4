"""The grid, with real child processes: only what is missing runs, and no kill costs more than the step in flight."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from grid_runs import JOBS, bytes_of, forked, importable, paths, run, steps_in_log  # noqa: F401
from run_rows import evaluations, job, metrics, rollouts

from reproduce import cli, locks
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid import runner
from reproduce.grid.command_lines import warm_start_config
from reproduce.grid.display import FINISHED, RUNNING, RunStatus, duration, seconds_left
from reproduce.runs import manifest
from reproduce.runs.directory import RunDirectory
from reproduce.runs.reader import read_run

DRIVER = """
import sys
from grid_runs import JOBS, child
from reproduce.grid import runner
try:
    runner.run(JOBS, sys.argv[1], max_jobs=1, command=child, warm_start=False)
except KeyboardInterrupt:
    sys.exit(130)
"""


def tree(path: Path) -> dict[str, tuple[int, bytes]]:
    found = [p for p in sorted(path.rglob("*")) if p.is_file()]
    return {str(p.relative_to(path)): (p.stat().st_mtime_ns, p.read_bytes()) for p in found}


def test_a_grid_runs_once_and_then_has_nothing_to_do(tmp_path, capsys):
    assert run(tmp_path) == []
    assert all(read_run(path).manifest["status"] == "finished" for path in paths(tmp_path))
    before = [tree(path) for path in paths(tmp_path)]
    assert run(tmp_path) == []
    assert [tree(path) for path in paths(tmp_path)] == before
    out = capsys.readouterr().out
    assert "grpo seed 0 finished" in out and "2 runs, 2 finished already" in out


def test_a_killed_run_resumes_to_the_same_bytes_and_the_others_do_not_notice(tmp_path):
    assert run(tmp_path / "whole") == []
    (failure,) = run(tmp_path / "cut", grpo={"die": 3})
    assert failure.name == "grpo seed 0" and "SIGKILL" in failure.reason and "step 2" in failure.reason
    grpo, aepo = paths(tmp_path / "cut")
    assert read_run(aepo).manifest["status"] == "finished"
    assert json.loads((grpo / "manifest.json").read_text())["status"] == "failed"
    with pytest.raises(UserError, match="not finished"):
        read_run(grpo)
    before = tree(aepo)
    assert run(tmp_path / "cut") == []
    assert steps_in_log(grpo) == ["step 1", "step 2", "step 3"]  # each step once: resumed, not repeated
    assert tree(aepo) == before
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")


def test_a_failure_names_its_last_line_and_its_log(tmp_path):
    (failure,) = run(tmp_path, aepo={"crash": 2})
    assert str(failure).startswith("aepo seed 0 failed: ValueError: no reward at step 2 (log: ")
    assert failure.log.is_file() and str(failure).endswith("aepo/0/log.txt)")
    assert read_run(paths(tmp_path)[0]).manifest["status"] == "finished"
    (failure,) = run(tmp_path, aepo={"forget": True})
    assert "ended without finishing" in failure.reason and "step 3" in failure.reason
    assert run(tmp_path) == []


def test_another_config_is_refused_before_anything_runs(tmp_path):
    run(tmp_path, jobs=JOBS[1:])
    before = tree(tmp_path)
    changed = [job(method=config.method, training={"learning_rate": 2e-3}) for config in JOBS]
    with pytest.raises(UserError, match=r"aepo/0 holds a finished run.*--runs-root"):
        runner.run(changed, tmp_path, 2, command=forked, warm_start=False)
    assert tree(tmp_path) == before


def test_a_broken_finished_run_is_named_and_left_alone(tmp_path):
    run(tmp_path)
    file = paths(tmp_path)[0] / "steps.parquet"
    file.write_bytes(file.read_bytes()[:100])
    before = tree(tmp_path)
    with pytest.raises(UserError, match="steps.parquet is truncated"):
        runner.run(JOBS, tmp_path, 2, command=forked, warm_start=False)
    assert tree(tmp_path) == before


def test_two_grids_do_not_write_the_same_runs(tmp_path):
    with locks.locked(tmp_path / "smoke" / "table2" / ".lock", "busy"):
        with pytest.raises(UserError, match="another command is at work"):
            run(tmp_path)
    assert not paths(tmp_path)[0].exists()
    assert run(tmp_path) == []


def interrupted(root: Path, number: int) -> tuple[int, int]:
    """Starts a grid in a process, sends it `number` while its first run hangs; gives its exit code, the run's pid."""
    root.mkdir()
    (root / "orders.json").write_text(json.dumps({"grpo/0": {"hang": 2}}))
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(root)],
        cwd=manifest.ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell job inherits it ignored
    )
    deadline = time.monotonic() + 120
    while not (root / "hanging").exists() or not (root / "hanging").read_text():
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(number)
    return driver.wait(20), int((root / "hanging").read_text())


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_no_child_outlives_the_grid_and_its_steps_are_kept(tmp_path, number, code):
    found, pid = interrupted(tmp_path / "runs", number)
    assert found == code
    deadline = time.monotonic() + 5
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(pid)
    grpo, aepo = paths(tmp_path / "runs")
    assert not aepo.exists()
    assert run(tmp_path / "runs") == []  # the lock is free again
    assert steps_in_log(grpo) == ["step 1", "step 2", "step 3"]


def test_the_warm_start_comes_first_and_its_failure_stops_the_grid(tmp_path):
    def warm_start(config, path, root):
        stored = warm_start_config(path)
        return [sys.executable, "-c", f"print(open({str(stored)!r}).read()); import sys; sys.exit('no demonstrations')"]

    (failure,) = runner.run(JOBS, tmp_path, 2, command=forked, warm_start=warm_start)
    assert str(failure).startswith("warm start seed 0 failed: no demonstrations")
    assert "method: warm_start" in failure.log.read_text()
    assert not any(path.exists() for path in paths(tmp_path))

    def made(config, path, root):
        return [sys.executable, "-c", "print('made')"]

    assert runner.run(JOBS, tmp_path, 2, command=forked, warm_start=made) == []
    assert read_run(paths(tmp_path)[0]).manifest["status"] == "finished"


def test_a_warm_start_of_another_config_is_refused(tmp_path):
    other = job(warm_start={"noise": 0.9}).warm_start_job()
    made = RunDirectory.open(other.directory(tmp_path), other)
    made.write_eval(evaluations("warm_start"))
    made.finish({"seconds_eval": 0.5})
    with pytest.raises(UserError, match="warm_start/0 holds a finished run"):
        runner.run(JOBS, tmp_path, 2, command=forked)
    assert not paths(tmp_path)[0].exists()


def test_a_run_of_another_config_that_is_being_written_is_not_replaced(tmp_path):
    RunDirectory.open(paths(tmp_path)[0], JOBS[0])
    changed = [job(method=config.method, training={"learning_rate": 2e-3}) for config in JOBS]
    with locks.locked(paths(tmp_path)[0] / ".lock", "taken"):
        with pytest.raises(UserError, match="grpo/0 is being written"):
            runner.run(changed, tmp_path, 2, command=forked, warm_start=False)
    assert runner.run(changed, tmp_path, 2, command=forked, warm_start=False) == []
    assert read_run(paths(tmp_path)[0]).manifest["config_hash"] == manifest.config_hash(changed[0])


def test_a_warning_in_the_log_of_a_run_is_shown(tmp_path, capsys):
    def warning(config, path, root):
        return [sys.executable, "-c", "print('warning: the set is small')"]

    assert runner.run(JOBS, tmp_path, 2, command=forked, warm_start=warning) == []
    assert "warm start seed 0: warning: the set is small" in capsys.readouterr().out


def progress(path: Path, step: int, seconds: float) -> None:
    path.mkdir(parents=True, exist_ok=True)
    value = {"stage": "train", "step": step, "total_steps": 3, "seconds": seconds}
    (path / "progress.json").write_text(json.dumps(value))


def test_the_time_left_follows_the_steps_done(tmp_path):
    rows = [
        RunStatus(job(method=method, seed=seed), tmp_path / f"{method}{seed}")
        for method in ("grpo", "aepo")
        for seed in (0, 1)
    ]
    assert seconds_left(rows, 2) is None
    rows[0].state = RUNNING
    progress(rows[0].path, 1, 10.0)  # grpo: 10 s a step; nothing is known of aepo, so 10 s too
    assert seconds_left(rows, 1) == pytest.approx(20 + 30 + 30 + 30)
    rows[2].state = RUNNING
    progress(rows[2].path, 2, 40.0)  # aepo: 20 s a step
    assert seconds_left(rows, 1) == pytest.approx(20 + 30 + 20 + 60)
    assert seconds_left(rows, 100) == pytest.approx(60)  # never before its longest run
    for row in rows:
        row.state = FINISHED
    assert seconds_left(rows, 2) == 0
    assert [duration(s) for s in (None, 5, 600, 7200)] == [
        "time left known after the first RL step",
        "about 5 s left",
        "about 10 min left",
        "about 2.0 h left",
    ]


def refused(capsys, *arguments: str) -> str:
    assert cli.main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err


def test_bad_arguments_are_one_line_and_exit_code_2(capsys, tmp_path):
    assert "no table '9'" in refused(capsys, "table", "9")
    assert "no profile 'tiny'" in refused(capsys, "table", "2", "--profile", "tiny")
    assert "no method 'gppo-'" in refused(capsys, "table", "2", "--methods", "gppo-")
    assert "'a' is not a seed" in refused(capsys, "table", "2", "--seeds", "0,a")
    assert "'0' is not a number of runs" in refused(capsys, "table", "2", "--jobs", "0")
    assert "config.yaml does not exist" in refused(capsys, "job", str(tmp_path))
    assert "no runs in" in refused(capsys, "publish", "--runs-root", str(tmp_path))
    assert "--help" in refused(capsys, "tabel", "2")


def test_seeds_are_read_as_lists_and_ranges():
    options = cli.parser().parse_args(["table", "2", "--seeds", "0,4-6", "--methods", "grpo, aepo"])
    assert options.seeds == [0, 4, 5, 6] and options.methods == ["grpo", "aepo"]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.parquet"), 2, "the disk is full while writing a.parquet"),
        (ModuleNotFoundError("No module named 'bm25s'", name="bm25s"), 2, "the package 'bm25s' is not installed"),
        (KeyboardInterrupt(), 130, "run the same command again"),
    ],
)
def test_what_a_user_can_mend_is_one_line(monkeypatch, capsys, error, code, line):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(runner, "train", fail)
    assert cli.main(["table", "2"]) == code
    assert line in capsys.readouterr().err


def test_a_failed_run_makes_exit_code_1_and_no_table(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(runner, "resolve", lambda *arguments: JOBS)
    log = tmp_path / "log.txt"
    monkeypatch.setattr(
        runner, "run", lambda *arguments, **options: [runner.Failure("grpo seed 0", "ValueError: x", log)]
    )
    assert cli.main(["table", "2", "--runs-root", str(tmp_path)]) == 1
    assert f"grpo seed 0 failed: ValueError: x (log: {log})" in capsys.readouterr().out


def test_status_is_read_from_the_run_directories_alone(tmp_path, capsys):
    done, half = JOBS
    for config, steps in ((done, 3), (half, 2)):
        opened = RunDirectory.open(config.directory(tmp_path), config)
        for step in range(1, steps + 1):
            opened.write_step(step, metrics(step), rollouts(step), {"rollout": 1, "train": 1})
        if steps == 3:
            opened.write_eval(evaluations())
            opened.finish()
    assert cli.main(["status", "--runs-root", str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["smoke", "table2", "aepo", "seed", "0", "interrupted", "2/3", "0.200", "0.500", "0.500", "–", "–"] in lines
    assert ["smoke", "table2", "grpo", "seed", "0", "finished", "3/3", "0.300", "0.500", "0.333", "–", "–"] in lines
    with locks.locked(half.directory(tmp_path) / ".lock", "busy"):
        assert cli.main(["status", "--runs-root", str(tmp_path)]) == 0
    assert " running " in capsys.readouterr().out
    assert cli.main(["status", "--runs-root", str(tmp_path / "none")]) == 0
    assert "no runs in" in capsys.readouterr().out


def test_every_warm_start_of_the_runs_is_made_before_them(tmp_path):
    runs = [job(seed=seed, warm_start={"seeds_each": 2}) for seed in (0, 1, 2, 5)]
    made = []

    def warm_start(config, path, root):
        assert (path.parent.name, path.name) == ("warm_start", str(config.seed))
        assert JobConfig.from_yaml(warm_start_config(path)) == config
        made.append((config.seed, config.warm_start.seed))
        return [sys.executable, "-c", "print('made')"]

    assert runner.run(runs, tmp_path, 2, command=forked, warm_start=warm_start) == []
    assert made == [(0, 0), (1, 1), (2, 2)]
