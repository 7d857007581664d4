"""The code path of the profile paper, at tiny size: a checkpoint in a folder, question files in the hub's shapes, cold
start, real search, rollouts, training steps, evaluation, judge; and a recorded session replayed without its service."""

import json
import math
import shutil

import hub
import pyarrow.parquet as pq
import pytest
import yaml
from local_server import Answer, LocalServer

from reproduce.commands.grade_agreement import main as grade_agreement
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.grid import freeze_inputs, runner
from reproduce.grid.freeze_inputs import pinned
from reproduce.runs import schema
from reproduce.runs.directory import RunDirectory
from reproduce.runs.manifest import config_hash, warm_start_hash
from reproduce.runs.reader import read_run
from reproduce.tools.search.search import COSTS
from reproduce.training import warm_start
from reproduce.training.job import run_job
from reproduce.training.prepare import prepare_warm_start


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(model folder, data folder)"""
    root = tmp_path_factory.mktemp("paper")
    return hub.checkpoint(root / "model"), hub.data_folder(root / "data")


def job(files, **changes) -> JobConfig:
    return JobConfig.from_dict(hub.config(*files, **changes))


def done(config: JobConfig, root):
    """The finished run of a pinned job."""
    run = RunDirectory.open(config.directory(root), config)
    run_job(config, run, prepare_warm_start(config, root))
    return read_run(config.directory(root))


# -- configs -----------------------------------------------------------------------------------------------------------


def test_jobs_say_which_contents_they_read_and_where_is_no_part_of_it(files, tmp_path, capsys):
    model, data = files
    one = pinned([job(files)])[0]
    assert (
        "1 of 3 questions of hotpotqa are, exactly or nearly, in the training set train_10k" in capsys.readouterr().out
    )
    assert one.model.revision.startswith("folder-") and set(one.task.data.sha256) == {
        "train_10k",
        "hotpotqa",
        "webwalker",
    }
    assert len(one.search.corpus_sha256) == len(one.warm_start.data.sha256) == 64
    moved = shutil.copytree(data, tmp_path / "data"), shutil.copytree(model, tmp_path / "model")
    other = pinned([JobConfig.from_dict(hub.config(moved[1], moved[0]))])[0]
    assert config_hash(other) == config_hash(one) and warm_start_hash(other) == warm_start_hash(one)
    assert JobConfig.from_dict(yaml.safe_load(yaml.safe_dump(one.to_dict()))) == one
    hub.write_lines(moved[0] / "corpus.jsonl", [{"text": "another corpus"}])
    (moved[0] / "eval" / "webwalker.jsonl").write_text('{"question": "Q?", "answer": "a"}\n')
    changed = pinned([JobConfig.from_dict(hub.config(moved[1], moved[0]))])[0]
    assert config_hash(changed) != config_hash(one)
    with pytest.raises(UserError, match="search.corpus: .* has changed"):
        freeze_inputs.open_search(other.search)


@pytest.mark.parametrize(
    ("section", "changes", "same"),
    [
        ("search", {"mode": "replay", "cache_dir": "there"}, True),
        ("search", {"attempts": 9, "timeout_seconds": 1.0, "backoff_seconds": 9.0, "requests_per_second": 0.0}, True),
        ("search", {"concurrency": 1, "endpoint": "http://localhost:1/", "backoff_cap_seconds": 1.0}, True),
        ("search", {"results": 3}, False),
        ("search", {"language": "de"}, False),
        ("judge", {"mode": "replay", "cache_dir": "there"}, True),
        ("judge", {"chat": {"base_url": "http://other:1/v1", "model": "m", "attempts": 1, "concurrency": 2}}, True),
        ("judge", {"chat": {"base_url": "http://x:1/v1", "model": "n"}}, False),
    ],
)
def test_the_hash_covers_what_services_answer_and_not_how_they_are_asked(files, section, changes, same):
    made = {
        "search": {"service": "serper", "cache_dir": "here"},
        "judge": {"chat": {"base_url": "http://x:1/v1", "model": "m"}, "cache_dir": "here"},
    }
    one = job(files) if section == "search" else job(files, judge=made["judge"])
    data = one.to_dict() | {name: made[name] for name in ("search", "judge") if name == section}
    other = data | {section: data[section] | changes}
    assert (config_hash(JobConfig.from_dict(data)) == config_hash(JobConfig.from_dict(other))) == same


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": None}, "'search' is missing: the world web needs it"),
        ({"task": {"data": None}}, "'task.data' is missing: the world web needs it"),
        ({"task": {"families": ["gaja"]}}, "'task.families' has no evaluation set 'gaja'; did you mean 'gaia'"),
        ({"model": {"name_or_path": None, "hidden_size": 8}}, "'model.num_layers' is missing .or name a model"),
        ({"model": {"hidden_size": 8}}, "'model.hidden_size' is decided by"),
        ({"warm_start": {"noise": 0.2}}, "'warm_start.data' leaves nothing to noise"),
        ({"task": {"world": "miniweb", "data": None, "families": ["mini-math"]}}, "'search' belongs to the world web"),
    ],
)
def test_settings_that_do_not_fit_are_refused(files, changes, message):
    with pytest.raises(UserError, match=message):
        job(files, **changes)


def test_the_paper_profile_is_made_of_real_jobs_and_stops_at_the_first_missing_thing(monkeypatch, tmp_path):
    import torch

    job = TableConfig.load("2").jobs("paper")[0]
    assert (job.model.name_or_path, job.task.data.train, job.training.group_size) == (
        "Qwen/Qwen3-14B",
        "hard_search_1k",
        12,
    )
    assert TableConfig.load("1").jobs("paper")[0].task.families[0] == "aime24"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="profile 'paper' sets training.device: cuda"):
        runner.train("2", "paper", runs_root=tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    with pytest.raises(UserError, match="ARPO-RL-DeepSearch-1K .*make pin-hub"):
        runner.train("2", "paper", runs_root=tmp_path)
    (episodes, *_) = pinned(TableConfig.load("3").jobs("paper"))  # needs the model's commit alone, which is known
    assert len(episodes.model.revision) == 40 and episodes.task.world == "scienceworld"
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    with pytest.raises(UserError, match="alfworld-download"):
        runner.train("3", "paper-alfworld", runs_root=tmp_path)


# -- the whole path ----------------------------------------------------------------------------------------------------


def verdicts(asked) -> Answer:
    """A judge that calls every answer correct."""
    return Answer(200, {"choices": [{"message": {"content": "Verdict: correct"}}]})


@pytest.mark.slow
def test_a_table_s_job_from_checkpoint_to_judged_evaluation(files, tmp_path, capsys):
    with LocalServer(verdicts) as server:
        judge = {"chat": {"base_url": f"{server.url}/v1", "model": "m"}, "cache_dir": str(tmp_path / "judge")}
        one = pinned([job(files, judge=judge, method="aepo", evaluation={"samples": 4})])[0]
        run = done(one, tmp_path / "runs")
        judged = len(server.asked)
    steps, rollouts = run.steps.to_pylist(), run.rollouts.to_pylist()
    assert len(steps) == 2 and len(rollouts) == 16 and {r["family"] for r in rollouts} == {"train_10k"}
    assert any(row["format_ok"] for row in rollouts) and any("search" in row["actions"] for row in rollouts)
    assert any(step["grad_norm"] > 0 for step in steps)
    assert set(schema.SEARCH_COSTS) <= set(steps[0])
    assert sum(s["search_calls"] for s in steps) == sum(s["tool_calls"] for s in steps) - sum(
        row["actions"].split(" > ").count("python") for row in rollouts
    )
    rows = run.eval.to_pylist()
    assert len(rows) == 16 and 0 < judged <= 8  # four samples of two questions of each set
    for row in rows:
        if row["family"] == "hotpotqa":  # scored without a judge
            assert math.isnan(row["judged"]) and row["correct"] == bool(row["graded"])
        elif row["answer"]:
            assert row["judged"] == 1.0 and row["correct"]
        else:
            assert row["judged"] == 0.0 and not row["correct"]
    capsys.readouterr()
    assert grade_agreement([str(run.path), "--json", str(tmp_path / "a.json")]) == 0
    assert json.loads((tmp_path / "a.json").read_text())["answers"] == 16
    assert "judge" in capsys.readouterr().out


def found(asked) -> Answer:
    """A search engine that fails for every third query, by its length."""
    query = asked.body["q"]
    if len(query) % 3 == 0:
        return Answer(500, {})
    name = next((name for name in hub.PEOPLE if name in query), "Nobody")
    results = [{"title": name, "link": "http://x/", "snippet": f"{name} was born in {hub.PEOPLE.get(name, 'Paris')}"}]
    return Answer(200, {"organic": results})


@pytest.mark.slow
def test_a_recorded_session_replayed_without_the_service_gives_the_same_bytes(files, tmp_path, monkeypatch):
    monkeypatch.setenv("SERPER_API_KEY", "k" * 32)
    cache = str(tmp_path / "searches")
    settings = {
        "service": "serper",
        "corpus": None,
        "cache_dir": cache,
        "requests_per_second": 0.0,
        "attempts": 1,
        "backoff_seconds": 0.0,
        "pages": "none",
    }
    with LocalServer(found) as server:
        live = pinned([job(files, search=settings | {"endpoint": f"{server.url}/search", "mode": "record"})])[0]
        recorded = done(live, tmp_path / "live")
        asked = len(server.asked)
    monkeypatch.delenv("SERPER_API_KEY")
    offline = pinned([job(files, search=settings | {"mode": "replay"})])[0]
    assert config_hash(offline) == config_hash(live) and asked > 0
    replayed = done(offline, tmp_path / "offline")
    for name in ("rollouts", "eval"):
        assert (replayed.path / f"{name}.parquet").read_bytes() == (recorded.path / f"{name}.parquet").read_bytes()
    first, second = recorded.steps.to_pydict(), replayed.steps.to_pydict()
    for name in first:
        if name not in COSTS:
            assert str(first[name]) == str(second[name]), name
    assert sum(first["search_requests"]) > 0 and sum(second["search_requests"]) == 0
    assert sum(first["search_errors"]) == sum(second["search_errors"]) and sum(second["search_misses"]) == 0
    assert "k" * 32 not in "".join(p.read_text(errors="replace") for p in tmp_path.rglob("*") if p.is_file())
    assert set(pq.read_schema(recorded.path / "steps.parquet").names) == {"step", *schema.STEP_METRICS, *COSTS}


@pytest.mark.slow
def test_a_checkpoint_plays_the_mini_world_too(files, tmp_path, monkeypatch):
    monkeypatch.setattr(warm_start, "CHECK_QUESTIONS", 2)
    monkeypatch.setattr(warm_start, "CHECK_SAMPLES", 1)
    changes = {
        "task": {"world": "miniweb", "families": ["mini-math"], "data": None, "max_completion_tokens": 48},
        "warm_start": {"demonstrations": 0, "data": None},
        "training": {"steps": 1},
        "search": None,
    }
    one = pinned([job(files, **changes)])[0]
    assert one.model.revision.startswith("folder-") and one.search is None
    run = done(one, tmp_path)
    rows = run.rollouts.to_pylist()
    assert len(rows) == 8 and {row["family"] for row in rows} == {"mini-math"}
    assert not set(schema.OPTIONAL) & set(run.steps.column_names)
    changes["warm_start"] = {"demonstrations": 40, "max_epochs": 1, "data": None}
    short = pinned([job(files, **changes)])[0]
    with pytest.raises(UserError, match="task.max_completion_tokens"):
        prepare_warm_start(short, tmp_path / "short")
    changes["task"] = changes["task"] | {"max_completion_tokens": 400}
    more = pinned([job(files, **changes)])[0]
    assert warm_start_hash(more) != warm_start_hash(one)
    assert prepare_warm_start(more, tmp_path / "more").is_dir()
