"""Run directories: atomic, resumable to the same bytes, never read half-written; and what is published from them."""

import dataclasses
import errno
import json
import os
import platform
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from records import committed
from run_folders import SECONDS, finished, start, tree
from run_rows import evaluations, job, metrics, rollouts

from analysis.load import load_source
from reproduce.errors import UserError
from reproduce.runs import files, manifest, publish, schema, token_records
from reproduce.runs.directory import RunDirectory
from reproduce.runs.reader import find_runs, read_run


def test_a_finished_run_reads_back_as_written(tmp_path):
    run = finished(tmp_path)
    assert run.status == "finished" and not run.parts.exists() and run.last_complete_step() == 3
    read = read_run(run.path)
    steps = read.frame("steps")
    assert list(steps.columns) == ["step", *schema.STEP_METRICS]
    assert steps["reward_mean"].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert steps["grad_norm"].isna().all()  # not given: undefined
    rows = read.frame("rollouts")
    assert rows[["step", "group", "row"]].values.tolist() == [
        [s, g, r] for s in (1, 2, 3) for g in (0, 1) for r in (0, 1)
    ]
    assert rows["answer"].isna().tolist() == [True, False] * 6
    assert rows["turn_entropies"][0].tolist() == pytest.approx([0.5, 0.1])
    assert read.frame("eval")["question_id"].tolist() == ["q000", "q000", "q001", "q001"]
    assert read.frame("timings")["seconds_train"].tolist() == [2.0] * 3
    cost = read.manifest["cost"]
    assert (cost["seconds_rollout"], cost["seconds_train"], cost["seconds_eval"]) == (3.0, 6.0, 0.5)
    assert cost["sampled_tokens"] == 60 and cost["trained_tokens"] is None and cost["peak_memory_mb"] > 10


def test_data_frames_and_lists_of_rows_are_the_same(tmp_path):
    one, two = start(tmp_path / "a"), start(tmp_path / "b")
    one.write_step(1, metrics(1), rollouts(1), SECONDS)
    two.write_step(1, metrics(1), pd.DataFrame(rollouts(1)), {"seconds_rollout": 1, "seconds_train": 2})
    part = "parts/000001.rollouts.parquet"
    assert (one.path / part).read_bytes() == (two.path / part).read_bytes()


def test_killed_and_resumed_has_the_same_bytes_as_uninterrupted(tmp_path):
    whole = finished(tmp_path / "whole")
    run = start(tmp_path / "cut", 2)
    (run.parts / "000003.rollouts.parquet").write_bytes(b"half a step: its steps.json was never written")
    (run.parts / "000003.steps.json.99.tmp").write_bytes(b"{")
    resumed = start(tmp_path / "cut")
    assert resumed.last_complete_step() == 2
    resumed.drop_steps_after(1)  # the checkpoint is older than the last step
    assert resumed.last_complete_step() == 1
    resumed = finished(tmp_path / "cut")
    for name in ("steps.parquet", "rollouts.parquet", "eval.parquet"):
        assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_no_clock_reading_enters_the_files_that_must_be_identical(tmp_path):
    runs = []
    for folder, seconds in (("a", 1.0), ("b", 2.0)):
        run = start(tmp_path / folder)
        for step in (1, 2, 3):
            run.write_step(step, metrics(step), rollouts(step), {"rollout": seconds, "train": seconds})
        run.write_eval(evaluations())
        run.finish()
        runs.append(run.path)
    for name in ("steps.parquet", "rollouts.parquet", "eval.parquet"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes(), name
        assert not any("seconds" in column for column in pq.read_schema(runs[0] / name).names)
    assert (runs[0] / "timings.parquet").read_bytes() != (runs[1] / "timings.parquet").read_bytes()


@pytest.mark.parametrize("moment", ["steps", "timings", "rollouts", "manifest"])
def test_a_kill_at_any_moment_of_finishing_loses_nothing(tmp_path, monkeypatch, moment):
    whole = finished(tmp_path / "whole")
    run = start(tmp_path / "cut", 3)
    run.write_eval(evaluations())
    write = files.write_bytes

    def killed(path, data, durable=True):
        if path.name.startswith(moment):
            raise KeyboardInterrupt
        write(path, data, durable)

    monkeypatch.setattr(files, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        run.finish()
    monkeypatch.setattr(files, "write_bytes", write)
    with pytest.raises(UserError, match="not finished"):
        read_run(run.path)
    again = start(tmp_path / "cut")
    assert again.last_complete_step() == 3
    again.finish()
    for name in ("steps.parquet", "rollouts.parquet", "eval.parquet"):
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    assert read_run(again.path).timings.num_rows == 3


def test_parts_left_behind_by_a_kill_after_finishing_are_removed(tmp_path):
    run = finished(tmp_path)
    run.parts.mkdir()
    (run.parts / "000001.steps.json").write_text("{}")
    assert read_run(run.path).steps.num_rows == 3
    assert start(tmp_path).status == "finished" and not run.parts.exists()


def test_a_full_disk_leaves_the_last_complete_step(tmp_path, monkeypatch):
    run = start(tmp_path, 1)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            run.write_step(2, metrics(2), rollouts(2), SECONDS)
    assert run.last_complete_step() == 1 and not list(run.path.rglob("*.tmp"))
    run.write_step(2, metrics(2), rollouts(2), SECONDS)


def test_another_config_is_refused_and_nothing_touched(tmp_path):
    for run in (start(tmp_path / "running", 2), finished(tmp_path / "finished")):
        before = tree(run.path)
        with pytest.raises(UserError, match=f"{run.path}.*another config.*--runs-root"):
            RunDirectory.open(run.path, job(training={"learning_rate": 2e-3}))
        assert tree(run.path) == before


@pytest.mark.parametrize("status", ["running", "failed"])
def test_a_run_that_made_no_step_may_change_its_config(tmp_path, status):
    run = start(tmp_path)
    (run.parts / "episodes").mkdir()
    (run.parts / "episodes" / "0.jsonl").write_text("kept")
    (run.path / "tracker.json").write_text("{}")
    (run.path / "log.txt").write_text("before\n")
    run.progress("warm start", 3, 9)
    if status == "failed":
        run.fail("training.lora needs the package peft")
    changed = job(training={"learning_rate": 2e-3})
    again = RunDirectory.open(run.path, changed)
    assert files.read_json(run.path / "manifest.json")["config_hash"] == manifest.config_hash(changed)
    assert again.status == "running" and files.read_json(run.path / "manifest.json")["error"] is None
    assert {p.name for p in run.path.iterdir()} == {"manifest.json", "config.yaml", "log.txt", "parts", "checkpoints"}
    assert not any(run.parts.iterdir()) and (run.path / "log.txt").read_text() == "before\n"
    (again.checkpoints / "checkpoint-1").mkdir()
    with pytest.raises(UserError, match="unfinished run"):
        start(tmp_path)


def test_what_is_not_a_run_is_refused(tmp_path):
    path = job().directory(tmp_path)
    path.mkdir(parents=True)
    (path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="thesis.tex"):
        start(tmp_path)
    assert [p.name for p in path.iterdir()] == ["thesis.tex"]
    (path / "thesis.tex").rename(path / "log.txt")  # a creation that was cut short
    assert start(tmp_path).status == "running"
    (path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="manifest.json"):
        start(tmp_path)


def test_mistakes_of_the_trainer_are_refused(tmp_path):
    run = start(tmp_path, 1)
    with pytest.raises(ValueError, match="does not follow"):
        run.write_step(3, metrics(3), rollouts(3), SECONDS)
    with pytest.raises(ValueError, match="entropie"):
        run.write_step(2, {"entropie": 1.0}, rollouts(2), SECONDS)
    with pytest.raises(ValueError, match="missing columns \\['reward'\\]"):
        run.write_step(2, {}, [{k: v for k, v in row.items() if k != "reward"} for row in rollouts(2)], SECONDS)
    with pytest.raises(ValueError, match="'correct' is None"):
        run.write_step(2, {}, [{**row, "correct": None} for row in rollouts(2)], SECONDS)
    with pytest.raises(ValueError, match="rollout and train"):
        run.write_step(2, {}, rollouts(2), {"rollout": 1.0})
    run.write_eval(evaluations())
    with pytest.raises(ValueError, match="1 of 3 steps"):
        run.finish()
    assert run.last_complete_step() == 1 and run.status == "running"


def test_failure_is_noted_without_directories_and_resumed(tmp_path):
    run = start(tmp_path, 1)
    run.fail(f"ValueError: no model in {manifest.ROOT}/models and {Path.home()}/cache\nsecond line")
    data = json.loads((run.path / "manifest.json").read_text())
    assert data["status"] == "failed" and data["error"] == "ValueError: no model in models and ~/cache second line"
    again = start(tmp_path)
    assert again.status == "running" and again.last_complete_step() == 1


def test_a_truncated_or_foreign_file_is_named(tmp_path):
    for name in ("steps", "timings", "rollouts", "eval"):
        run = finished(tmp_path / name)
        file = run.path / f"{name}.parquet"
        whole = file.read_bytes()
        file.write_bytes(whole[:-20])
        with pytest.raises(UserError, match=rf"{name}.parquet is truncated"):
            read_run(run.path)
        table = pq.read_table(pd.io.common.BytesIO(whole))
        for changed, problem in (
            (table.drop_columns(table.column_names[1]), "lacks the column"),
            (table.append_column("extra", table.column(0)), "unknown column 'extra'"),
            (table.set_column(0, table.column_names[0], [[1.5] * table.num_rows]), "expected"),
        ):
            files.write_table(file, changed)
            with pytest.raises(UserError, match=rf"{name}.parquet.*{problem}"):
                read_run(run.path)
        if name != "rollouts":
            files.write_table(file, table.slice(0, 0))
            with pytest.raises(UserError, match=f"{name}.parquet"):
                read_run(run.path)
        file.unlink()
        with pytest.raises(UserError, match=f"{name}.parquet is missing"):
            read_run(run.path)


def test_half_written_and_reconfigured_runs_are_not_read(tmp_path):
    run = start(tmp_path / "a", 3)
    run.write_eval(evaluations())
    with pytest.raises(UserError, match="not finished"):
        read_run(run.path)
    run = finished(tmp_path / "b")
    text = (run.path / "config.yaml").read_text()
    (run.path / "config.yaml").write_text(text.replace("temperature: 1.0", "temperature: 0.9"))
    with pytest.raises(UserError, match="config.yaml is not"):
        read_run(run.path)


def leaves(data: dict, prefix: tuple = ()):
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def test_the_config_hash_covers_every_setting_that_can_change_a_result():
    config = job(algorithm={"clip_high": 0.28}).to_dict()
    beside = {
        ("training", name) for name in ("checkpoint_every", "report_to", "tokens_per_pass", "measure_kl", "packed")
    }
    beside |= {("training", "offload_optimizer"), ("training", "token_log"), ("evaluation", "validation"), ("machine",)}
    ignored = {("profile",), ("experiment",), ("variant",), ("training_changes",), *beside}
    for path, value in leaves(config):
        changed = json.loads(json.dumps(config))
        section = changed
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = _other(value)
        assert (manifest.config_hash(changed) == manifest.config_hash(config)) == (path in ignored), path


def _other(value):
    if isinstance(value, str) or value is None:
        return f"{value}x"
    return [*value, "x"] if isinstance(value, list) else {"x": 1} if isinstance(value, dict) else value + 1


def test_jobs_of_a_table_agree_on_the_warm_start_and_only_its_settings_change_it():
    one, two = job(method="grpo"), job(method="aepo", seed=4, algorithm={"clip_high": 0.3})
    assert manifest.config_hash(one.warm_start_job()) == manifest.config_hash(two.warm_start_job())
    longer = job(training={"steps": 9})
    assert manifest.warm_start_hash(longer) == manifest.warm_start_hash(one)
    assert manifest.config_hash(longer.warm_start_job()) == manifest.config_hash(one.warm_start_job())
    noisier = job(warm_start={"noise": 0.3})
    assert manifest.warm_start_hash(noisier) != manifest.warm_start_hash(one)
    assert manifest.config_hash(noisier.warm_start_job()) != manifest.config_hash(one.warm_start_job())


def test_the_config_hash_covers_the_files_of_the_world_and_its_panels(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "WORLDS", tmp_path)
    config = job()  # mini-deepsearch in miniweb
    hashes = [manifest.config_hash(config)]
    (tmp_path / "panels").mkdir()
    for name in ("miniweb.jsonl", "panels/mini-deepsearch-test.jsonl"):
        (tmp_path / name).write_text("one")
        hashes.append(manifest.config_hash(config))
        (tmp_path / name).write_text("two!")
        hashes.append(manifest.config_hash(config))
    assert len(set(hashes)) == 5
    for other in ("minihouse.jsonl", "panels/mini-math-test.jsonl", "README.md"):
        (tmp_path / other).write_text("other")
    assert manifest.config_hash(config) == hashes[-1]


def test_the_committed_world_and_panel_are_found():
    found = manifest.world_hashes({"world": "miniweb", "families": ["mini-math", "mini-knowledge"]})
    names = [name.removeprefix("panels/").rsplit("-", 1)[0] for name in found]
    assert set(names) == {"miniweb.jsonl", "mini-math", "mini-knowledge"}


def test_the_manifest_tells_code_versions_and_machine_but_no_names(tmp_path):
    run = finished(tmp_path)
    text = (run.path / "manifest.json").read_text()
    data = json.loads(text)
    assert data["versions"]["torch"] and data["machine"]["cores"] >= 1 and data["machine"]["gpu"] is None
    assert data["machine"]["instruction_set"] == torch.backends.cpu.get_cpu_capability()
    assert all(line in torch.__config__.show() for line in data["machine"]["libraries"])
    assert data["config_hash"] == manifest.config_hash(job())
    for secret in (platform.node(), str(Path.home()), str(manifest.ROOT), str(tmp_path)):
        assert len(secret) < 3 or secret not in text


def grid(root: Path, **changes) -> None:
    """Two methods and a warm start, finished."""
    finished(root, method="warm_start", **changes)
    for method in ("grpo", "aepo"):
        for seed in (10, 2):
            finished(root, method=method, seed=seed, **changes)


def test_publishing_is_complete_sorted_and_the_same_each_time(tmp_path):
    grid(tmp_path / "runs")
    one = publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "one")
    two = publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "two")
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
    folder = tmp_path / "one" / "smoke" / "table2"
    steps = pd.read_parquet(folder / "steps.parquet")
    assert list(zip(steps["method"], steps["seed"], strict=True))[::3] == [
        ("aepo", 2),
        ("aepo", 10),
        ("grpo", 2),
        ("grpo", 10),
    ]
    assert steps["step"].tolist() == [1, 2, 3] * 4
    evals = pd.read_parquet(folder / "eval.parquet")
    assert evals.groupby("method").size().to_dict() == {"aepo": 8, "grpo": 8, "warm_start": 4}
    assert evals.loc[evals["method"] == "warm_start", "checkpoint"].unique() == ["warm_start"]
    assert evals["text"].notna().all()
    rows = pd.read_parquet(folder / "rollouts.parquet")
    assert sorted(rows["step"].unique()) == [1, 3] and rows["text"].isna().all() and len(rows) == 4 * 2 * 4
    manifests = json.loads((folder / "manifests.json").read_text())
    assert [(m["method"], m["seed"]) for m in manifests][-1] == ("warm_start", 0) and len(manifests) == 5
    rows = yaml.safe_load((folder / "config.yaml").read_text())["rows"]
    assert rows["aepo"] == {"method": "aepo", "algorithm": {}, "training": {}, "seeds": [2, 10]}


def test_validation_and_the_tokens_of_one_run_per_row_are_published(tmp_path):
    for method, seeds in (("warm_start", (0,)), ("aepo", (2, 10)), ("grpo", (2,))):
        for seed in seeds:
            run = finished(tmp_path / "runs", method=method, seed=seed)
            if method == "aepo":
                for step in (2, 3):
                    run.write_validation(step, evaluations(f"step {step}", questions=3))
                    run.write_tokens(dataclasses.replace(committed(), step=step))
    target = tmp_path / "data" / "results" / "smoke" / "table2"
    paths = publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "data" / "results")
    rows = pd.read_parquet(target / "validation.parquet")
    assert rows.groupby(["method", "seed", "checkpoint"]).size().to_dict() == {
        ("aepo", seed, f"step {step}"): 6 for seed in (2, 10) for step in (2, 3)
    }
    assert rows["text"].isna().all()
    recorded = target / "recorded" / "aepo"
    assert token_records.steps_of(recorded) == [2, 3], "of the first seed alone, where `make trees RUN=` reads them"
    assert token_records.read(token_records.path_of(recorded, 3)).step == 3
    assert {p for p in target.rglob("*") if p.is_file()} == set(paths)
    for source in (
        load_source("smoke", "table2", data_root=tmp_path / "data"),
        load_source("smoke", "table2", tmp_path / "runs"),
    ):
        own = source.validation.sort_values(["method", "seed", "checkpoint", "question_id", "sample"])
        assert own["correct"].tolist() == rows["correct"].tolist() and len(own) == 24
    token_records.path_of(tmp_path / "runs" / "smoke" / "table2" / "aepo" / "2", 3).write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"000003.json.gz cannot be read"):
        publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "data" / "results")
    assert {p for p in target.rglob("*") if p.is_file()} == set(paths), "what was published stays"


def test_a_publication_without_validation_leaves_none_of_an_earlier_one(tmp_path):
    grid(tmp_path / "runs")
    paths = publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "out")
    before = {path: path.read_bytes() for path in paths}
    for name in ("validation.parquet", "recorded/grpo/tokens/000001.json.gz"):
        (paths[0].parent / name).parent.mkdir(parents=True, exist_ok=True)
        (paths[0].parent / name).write_bytes(b"old")
    publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "out")
    assert {path: path.read_bytes() for path in paths[0].parent.rglob("*") if path.is_file()} == before


SLOW = {"method": "grpo", "variant": "slow", "training": {"learning_rate": 1e-4}}


def test_variants_are_published_under_their_names_with_what_they_change(tmp_path):
    finished(tmp_path / "runs", method="warm_start")
    finished(tmp_path / "runs", method="grpo")
    run = finished(tmp_path / "runs", **SLOW, training_changes={"learning_rate": 1e-4})
    assert run.path == tmp_path / "runs" / "smoke" / "table2" / "slow" / "0"
    read = read_run(run.path)
    assert (read.name, read.method, read.manifest["variant"]) == ("slow", "grpo", "slow")
    paths = publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "out")
    assert set(pd.read_parquet(paths[0])["method"]) == {"grpo", "slow"}
    config = yaml.safe_load((paths[0].parent / "config.yaml").read_text())
    assert config["rows"]["slow"] == {
        "method": "grpo",
        "algorithm": {},
        "training": {"learning_rate": 1e-4},
        "seeds": [0],
    }
    assert config["rows"]["grpo"]["training"] == {"learning_rate": 1e-3} and "learning_rate" not in config["training"]
    assert config["training"]["steps"] == 3 and "variant" not in config
    finished(
        tmp_path / "runs",
        **SLOW | {"training": {"learning_rate": 1e-4, "epochs": 2}},
        seed=1,
        training_changes={"learning_rate": 1e-4},
    )
    with pytest.raises(UserError, match=r"section 'training'"):
        publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "out")


def test_every_table_that_has_runs_is_found(tmp_path):
    with pytest.raises(UserError, match="no runs in"):
        publish.experiments("smoke", tmp_path)
    for experiment in ("table5", "table2"):
        start(tmp_path, experiment=experiment)
    (tmp_path / "smoke" / "warm_starts").mkdir()
    assert publish.experiments("smoke", tmp_path) == ["table2", "table5"]


def test_published_files_are_small_and_lose_only_digits(tmp_path):
    finished(tmp_path / "runs", method="warm_start")
    run = finished(tmp_path / "runs")
    published = {p.stem: p for p in publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "out")}
    own = read_run(run.path)
    steps, rows = pd.read_parquet(published["steps"]), pd.read_parquet(published["rollouts"])
    assert steps["entropy"].tolist() == pytest.approx(own.frame("steps")["entropy"].tolist(), rel=1e-6)
    assert steps["grad_norm"].isna().all()
    assert [x for row in rows["turn_entropies"] for x in row] == pytest.approx(
        [
            x
            for row, step in zip(own.frame("rollouts")["turn_entropies"], own.frame("rollouts")["step"], strict=True)
            for x in row
            if step != 2
        ],
        abs=5e-4,
    )
    evals = files.read_table(published["eval"], schema.labelled(schema.EVAL_SCHEMA))
    assert evals.num_rows == 8


def test_a_large_eval_keeps_the_texts_of_the_first_questions(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "TEXT_LIMIT", 1000)
    finished(tmp_path / "runs", method="warm_start")
    finished(tmp_path / "runs", evaluations(questions=60, text="text"))
    paths = publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "out")
    evals = pd.read_parquet(next(p for p in paths if p.name == "eval.parquet"))
    kept = evals.loc[evals["text"].notna() & (evals["method"] == "grpo"), "question_id"]
    assert sorted(set(kept)) == [f"q{i:03d}" for i in range(40)] and len(evals) == 124


def test_unfinished_runs_are_published_only_when_told(tmp_path):
    with pytest.raises(UserError, match="no runs in"):
        publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "out")
    grid(tmp_path / "runs")
    start(tmp_path / "runs", 1, method="dapo")
    with pytest.raises(UserError, match="dapo/0 not finished"):
        publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    paths = publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "out", allow_partial=True)
    assert set(pd.read_parquet(paths[0])["method"]) == {"aepo", "grpo"}


def test_runs_of_different_configs_are_not_published_together(tmp_path):
    grid(tmp_path / "runs")
    finished(tmp_path / "runs", method="dapo", training={"steps": 3, "learning_rate": 5e-3})
    with pytest.raises(UserError, match="different configs"):
        publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "out")
    grid(tmp_path / "more")
    finished(tmp_path / "more", method="grpo", seed=3, algorithm={"clip_high": 0.3})
    with pytest.raises(UserError, match="grpo/3.*other settings"):
        publish.publish("smoke", "table2", tmp_path / "more", tmp_path / "out")
    assert len(find_runs(tmp_path / "more", "smoke", "table2")) == 6


@pytest.mark.parametrize("home", ["/", "", None])
def test_a_home_that_is_none_leaves_messages_alone(monkeypatch, home):
    """Containers give unknown users HOME=/, or none."""
    if home is None:
        monkeypatch.setattr(Path, "home", classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError("no home"))))
    else:
        monkeypatch.setenv("HOME", home)
    assert manifest.without_paths("cannot read /data/x") == "cannot read /data/x"


def test_the_commit_is_read_without_the_environments_help(monkeypatch, tmp_path):
    own = manifest.code_version()
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CEILING_DIRECTORIES"):
        monkeypatch.setenv(name, str(tmp_path))
    assert manifest.code_version() == own


def test_a_commit_that_cannot_be_read_is_said_to_be_unknown(monkeypatch, caplog):
    monkeypatch.setenv("PATH", "")
    assert manifest.code_version() == (None, None)
    assert "commit of this code is not known" in caplog.text or not (manifest.ROOT / ".git").exists()


def test_every_run_begins_at_the_warm_start_of_its_seed(tmp_path):
    several = {"warm_start": {"seeds_each": 2, "seed": 10}}
    made = {seed: job(seed=seed, **several) for seed in (0, 1, 2, 5)}
    assert {seed: run.warm_start_job().seed for seed, run in made.items()} == {0: 10, 1: 10, 2: 11, 5: 12}
    assert made[2].warm_start_job() == made[2].warm_start_job().warm_start_job(), "a warm start begins at itself"
    hashes = {seed: manifest.warm_start_hash(run) for seed, run in made.items()}
    assert hashes[0] == hashes[1] != hashes[2] and len(set(hashes.values())) == 3
    alone = job(warm_start={"seed": 11})
    assert hashes[2] == manifest.warm_start_hash(alone), "the weights are those of a table with this one alone"
    assert manifest.config_hash(made[2].warm_start_job()) == manifest.config_hash(alone.warm_start_job())


def test_a_table_of_several_warm_starts_is_published_with_all_of_them(tmp_path):
    for seed in (0, 1, 2):
        finished(tmp_path / "runs", seed=seed, warm_start={"seeds_each": 2})
    finished(tmp_path / "runs", method="warm_start")
    with pytest.raises(UserError, match="warm_start/1 not finished"):
        publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "results")
    finished(tmp_path / "runs", method="warm_start", seed=1, warm_start={"seed": 1})
    publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "results")
    evals = pd.read_parquet(tmp_path / "results" / "smoke" / "table2" / "eval.parquet")
    assert evals.groupby("method")["seed"].unique().map(sorted).to_dict() == {"grpo": [0, 1, 2], "warm_start": [0, 1]}
    finished(tmp_path / "runs", method="warm_start", seed=3, warm_start={"seed": 3})
    with pytest.raises(UserError, match="no run begins at .*warm_start/3"):
        publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "results")
    publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "results", allow_partial=True)
    evals = pd.read_parquet(tmp_path / "results" / "smoke" / "table2" / "eval.parquet")
    assert set(evals.loc[evals["method"] == "warm_start", "seed"]) == {0, 1}
