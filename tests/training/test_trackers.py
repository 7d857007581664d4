"""Trackers see every column of every RL step once, over all sessions of a run, and can do a run no harm."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from places import PYTHONPATH
from run_rows import evaluations, job, metrics, rollouts

from reproduce.errors import UserError
from reproduce.grid.resolve import reporting
from reproduce.runs import schema
from reproduce.runs.directory import RunDirectory
from reproduce.runs.manifest import config_hash
from reproduce.runs.reader import read_run
from reproduce.training.trackers import TRACKERS, ReportedRun, flat, reported, tracker_names

EXTRA = "needs the extra of requirements-trackers.txt"
SECONDS = {"rollout": 1.5, "train": 2.5}


def config(name: str, **changes):
    return job(training={"report_to": name}, **changes)


def full(step: int) -> dict[str, float]:
    """A value for every column, one of them NaN."""
    return {name: step + i / 100 for i, name in enumerate(schema.STEP_METRICS)} | {"value_loss": math.nan}


def two_sessions(root: Path, asked) -> RunDirectory:
    """Steps 1 and 2, then a kill before the checkpoint of step 2, then steps 2 and 3."""
    path = asked.directory(root)
    for first, last in ((1, 2), (2, 3)):
        run = RunDirectory.open(path, asked)
        with reported(run, asked) as seen:
            seen.drop_steps_after(first - 1)
            for step in range(first, last + 1):
                seen.write_step(step, full(step), rollouts(step), SECONDS)
                seen.progress("train", step, 3)
    run.write_eval(evaluations())
    run.finish()
    return run


def expected(step: int) -> dict[str, float]:
    values = {name: value for name, value in full(step).items() if math.isfinite(value)}
    return {f"train/{name}": v for name, v in (values | {f"seconds_{k}": v for k, v in SECONDS.items()}).items()}


def test_names_are_checked_before_anything_runs(monkeypatch):
    assert tracker_names(None) == tracker_names("none") == tracker_names(" ") == ()
    with pytest.raises(UserError, match="no tracker 'tensorbord'; .*tensorboard"):
        tracker_names("tensorbord")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in TRACKERS:
        with pytest.raises(UserError, match=f"'{name}' is not installed; run `pip install {name}`"):
            reporting([job()], name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert tracker_names("wandb, tensorboard,wandb") == ("wandb", "tensorboard")
    made = reporting([job(), job(method="aepo")], "wandb")
    assert [one.training.report_to for one in made] == ["wandb", "wandb"]
    assert reporting(made, None) == made and reporting(made, "none")[0] == job()


def test_a_tracker_is_no_part_of_what_a_run_is():
    assert config_hash(config("tensorboard")) == config_hash(job())


def test_without_a_tracker_the_run_directory_itself_is_used(tmp_path):
    run = RunDirectory.open(job().directory(tmp_path), job())
    with reported(run, job()) as seen:
        assert seen is run
    assert not list(run.path.glob("tracker*"))


def test_tensorboard_has_every_column_of_every_step_once(tmp_path):
    pytest.importorskip("tensorboard", reason=EXTRA)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = two_sessions(tmp_path, config("tensorboard"))
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == set(expected(1))
    for name in expected(1):
        points = events.Scalars(name)
        assert [point.step for point in points] == [1, 2, 3]
        assert [point.value for point in points] == pytest.approx(
            [expected(step)[name] for step in (1, 2, 3)], rel=1e-6
        )
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "training.steps: 3" in text and str(tmp_path) not in text
    assert read_run(run.path).frame("steps")["reward_mean"].tolist() == [
        full(step)["reward_mean"] for step in (1, 2, 3)
    ]


SESSIONS = """
import sys
from dataclasses import replace
from pathlib import Path
from test_trackers import config, two_sessions
two_sessions(Path(sys.argv[1]), config(sys.argv[2]))
"""


def sessions(root: Path, name: str, **environment: str) -> subprocess.CompletedProcess:
    """`two_sessions` in a process of its own: these packages read their folders when they are imported."""
    environment = os.environ | {"PYTHONPATH": PYTHONPATH} | environment
    return subprocess.run(
        [sys.executable, "-c", SESSIONS, str(root), name], capture_output=True, text=True, env=environment
    )


def test_trackio_has_them_too_in_one_run(tmp_path):
    pytest.importorskip("trackio", reason=EXTRA)
    folder = tmp_path / "trackio"
    done = sessions(tmp_path, "trackio", TRACKIO_DIR=str(folder), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    read = (
        "import json; from trackio.sqlite_storage import SQLiteStorage as S; runs = S.get_runs('aepo-epo');"
        "print('LOGS', json.dumps([runs, [S.get_logs('aepo-epo', run) for run in runs]]))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", read], capture_output=True, text=True, env=os.environ | {"TRACKIO_DIR": str(folder)}
    )
    runs, logs = json.loads(next(line for line in printed.stdout.splitlines() if line.startswith("LOGS "))[5:])
    assert len(runs) == 1 and runs[0].startswith("smoke-table2-grpo-0-")
    assert [row["step"] for row in logs[0]] == [1, 2, 3]
    for row in logs[0]:
        assert {name: row[name] for name in expected(row["step"])} == pytest.approx(expected(row["step"]))


def test_wandb_offline_goes_on_in_one_run(tmp_path):
    pytest.importorskip("wandb", reason=EXTRA)
    asked = config("wandb")
    done = sessions(tmp_path, "wandb", WANDB_MODE="offline", WANDB_API_KEY="0123456789" * 4)
    assert done.returncode == 0, done.stderr
    path = asked.directory(tmp_path)
    name = json.loads((path / "tracker.json").read_text())["id"]
    written = sorted((path / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))
    assert written and json.loads((path / "tracker.json").read_text())["step"] == 3
    content = b"".join(file.read_bytes() for file in written)
    assert b"train/epo_factor_above" in content
    for file in path.rglob("*"):
        assert file.is_dir() or b"0123456789" * 4 not in file.read_bytes()


MINIMAL = """
import json
class Run:
    def __init__(self, **options):
        self.put({"init": options})
    def put(self, row):
        with open("tracked.jsonl", "a") as file:
            file.write(json.dumps(row) + "\\n")
    def log(self, values, step):
        self.put({"step": step, "values": values})
    def finish(self):
        self.put({"finish": True})
init = Run
"""
"""A package with the three calls that trackio and wandb share."""


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_tracker_with_their_calls_gets_every_step_once_in_one_run(tmp_path, name, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / f"{name}.py").write_text(MINIMAL)
    monkeypatch.syspath_prepend(tmp_path / "package")
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOME_API_KEY", "s3cret-s3cret")
    run = two_sessions(tmp_path / "runs", config(name))
    text = (tmp_path / "tracked.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert [list(row)[0] for row in rows] == ["init", "step", "step", "finish", "init", "step", "finish"]
    first, second = (row["init"] for row in rows if "init" in row)
    assert first == second and first["project"] == "aepo-epo" and first["resume"] == "allow"
    state = json.loads((run.path / "tracker.json").read_text())
    assert first["name"] == f"smoke-table2-grpo-0-{state['id']}" and first["config"]["training.steps"] == 3
    assert first.get("id", state["id"]) == state["id"] and state["step"] == 3
    assert {row["step"]: row["values"] for row in rows if "step" in row} == {n: expected(n) for n in (1, 2, 3)}
    assert "s3cret" not in text
    monkeypatch.delitem(sys.modules, name)


def test_a_tracker_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "trackio.py").write_text("def init(**options):\n    raise OSError('no\\nspace')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    asked = config("trackio")
    run = RunDirectory.open(asked.directory(tmp_path), asked)
    with pytest.raises(UserError, match=r"training.report_to: trackio cannot be opened \(OSError: no space\)"):
        with reported(run, asked):
            pass
    monkeypatch.delitem(sys.modules, "trackio")


class Broken:
    """A tracker that breaks off with the key in its message."""

    def log(self, values, step):
        raise ConnectionError(f"refused: token {os.environ['SOME_TOKEN']}\nretry")

    def finish(self):
        raise AssertionError("it was given up")


def test_a_tracker_that_fails_costs_the_curve_and_not_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SOME_TOKEN", "s3cret-s3cret")
    run = RunDirectory.open(job().directory(tmp_path), job())
    seen = ReportedRun(run, {"wandb": Broken()}, {"id": "0", "step": 0})
    for step in (1, 2):
        seen.write_step(step, metrics(step), rollouts(step), SECONDS)
    seen.close()
    assert capsys.readouterr().out == "tracker wandb: given up after ConnectionError: refused: token [key] retry\n"
    assert run.last_complete_step() == 2


def test_a_config_is_sent_without_what_is_not_set():
    sent = flat(job(method="aepo").to_dict())
    assert sent["training.steps"] == 3 and sent["method"] == "aepo" and sent["task.families"] == "mini-deepsearch"
    assert not [key for key, value in sent.items() if value is None]


@pytest.mark.slow
def test_a_real_run_reports_what_it_records(tmp_path):
    pytest.importorskip("tensorboard", reason=EXTRA)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from reproduce.config.tables import TableConfig
    from reproduce.training.job import run_job
    from reproduce.training.prepare import prepare_warm_start

    made = TableConfig.load(2).jobs("smoke", ["grpo"], [0])[0]
    training = replace(made.training, steps=2, report_to="tensorboard")
    asked = replace(made, training=training, evaluation=replace(made.evaluation, questions=2))
    run = RunDirectory.open(asked.directory(tmp_path), asked)
    run_job(asked, run, prepare_warm_start(asked, tmp_path))
    steps = read_run(run.path).frame("steps")
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    for name in steps.columns[1:]:
        recorded = steps.set_index("step")[name].dropna()
        points = events.Scalars(f"train/{name}") if len(recorded) else []
        assert [point.step for point in points] == recorded.index.tolist(), name
        assert [point.value for point in points] == pytest.approx(recorded.tolist(), rel=1e-6), name
    assert "train/seconds_rollout" in events.Tags()["scalars"]
