"""Damaged, foreign and contradictory files of runs: one line that names the file, and advice that works."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from run_folders import finished, start, tree
from run_rows import evaluations, job

from analysis import load
from reproduce import cli
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.grid import runner
from reproduce.grid.display import FINISHED, WAITING, RunStatus
from reproduce.runs import files, manifest, publish
from reproduce.runs.directory import RunDirectory, check
from reproduce.runs.reader import read_run
from reproduce.yaml_files import read_yaml


def change_manifest(path: Path, drop: str | None = None, **fields):
    """Another manifest with a checksum that fits, as a program would write it."""
    found = {**json.loads(path.read_text()), **fields}
    kept = {name: value for name, value in found.items() if name not in (drop, files.DIGEST)}
    files.write_json(path, files.sealed(kept))


# -- YAML --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a: 1\nb: 2\na: 3\n", r"the key 'a' is given twice \(line 3, column 1\)"),
        (b"a: {b: 1, b: 2}\n", "the key 'b' is given twice"),
        (b"a:\n  - {b: 1, 'b': 2}\n", "the key 'b' is given twice"),
        (b"a: \xff\n", "not UTF-8 at byte 3"),
        (b"a: [\n", "not valid YAML"),
        (b"a: 2020-99-99\n", "not valid YAML"),
        (b"- 1\n", "must hold a mapping"),
        (b"", "must hold a mapping"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, "nested too deeply"),
    ],
)
def test_yaml_that_cannot_be_meant_is_refused(tmp_path, content, problem):
    path = tmp_path / "some.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"some.yaml.*{problem}"):
        read_yaml(path)


def test_yaml_may_merge_override_and_begin_with_a_mark(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: &c {<<: *a, x: 4}\nd: {<<: *c}\n", "utf-8-sig")
    assert read_yaml(path)["b"] == {"x": 3, "y": 2} and read_yaml(path)["d"] == {"x": 4, "y": 2}
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read_yaml(path / "below")


def test_a_key_given_twice_is_refused_in_every_yaml_file(tmp_path):
    from analysis.fidelity.rows import load_rows
    from reproduce.commands.grade_agreement import _questions_of
    from reproduce.grid.slurm import SlurmConfig

    path = tmp_path / "table2.yaml"
    path.write_text("experiment: a\nexperiment: b\n")
    readers = (
        lambda: TableConfig.load("2", tmp_path),
        lambda: JobConfig.from_yaml(path),
        lambda: SlurmConfig.load(str(path)),
        lambda: load_rows(path),
        lambda: _questions_of(path),
    )
    for reader in readers:
        with pytest.raises(UserError, match="table2.yaml.*'experiment'"):
            reader()


def test_yaml_is_read_in_one_place():
    sources = [path for folder in ("reproduce", "analysis") for path in (manifest.ROOT / folder).rglob("*.py")]
    readers = [path.name for path in sources if re.search(r"yaml\.(safe_|full_)?load", path.read_text())]
    assert readers == ["yaml_files.py"]


@pytest.mark.parametrize("name", ["manifest.json", "config.yaml"])
def test_a_key_given_twice_in_a_run_is_refused(tmp_path, name):
    run = finished(tmp_path)
    path = run.path / name
    text = path.read_text()
    path.write_text(text.replace('"seed": 0', '"seed": 0, "seed": 1') if name.endswith("json") else f"{text}seed: 0\n")
    with pytest.raises(UserError, match=f"{name}.*'seed' is given twice"):
        read_run(run.path)


# -- what a manifest says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", 7), ("method", "aepo"), ("profile", "mini"), ("experiment", "table9"), ("variant", "x")],
)
def test_a_manifest_that_contradicts_its_config_is_refused_everywhere(tmp_path, name, value):
    finished(tmp_path, method="warm_start")
    run = finished(tmp_path)
    change_manifest(run.path / "manifest.json", **{name: value})
    readers = (
        lambda: read_run(run.path),
        lambda: check(run.path, job()),
        lambda: publish.publish("smoke", "table2", tmp_path, tmp_path / "out"),
    )
    for reader in readers:
        with pytest.raises(UserError, match=rf"grpo/0/manifest.json has {name} {value}, config.yaml has"):
            reader()
    with pytest.raises(UserError, match="grpo/0"):
        load.load_source("smoke", "table2", tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_run_under_another_name_is_refused(tmp_path):
    finished(tmp_path, method="warm_start")
    run = finished(tmp_path)
    shutil.copytree(run.path, run.path.with_name("5"))
    for reader in (
        lambda: publish.publish("smoke", "table2", tmp_path, tmp_path / "out"),
        lambda: load.load_source("smoke", "table2", tmp_path),
    ):
        with pytest.raises(UserError, match="grpo/5 holds the run table2/grpo/0"):
            reader()


@pytest.mark.parametrize("name", ["method", "seed", "config_hash", "experiment", "profile"])
@pytest.mark.parametrize("value", [None, ["grpo"], True])
def test_a_manifest_without_a_field_is_one_line(tmp_path, name, value):
    run = finished(tmp_path)
    path = run.path / "manifest.json"
    if value is None:
        change_manifest(path, drop=name)
    else:
        change_manifest(path, **{name: value})
    for reader in (lambda: read_run(run.path), lambda: RunDirectory.open(run.path, job())):
        with pytest.raises(UserError, match=f"grpo/0/manifest.json.*'{name}'"):
            reader()


def test_published_manifests_that_contradict_their_config_are_refused(tmp_path):
    finished(tmp_path / "runs", method="warm_start")
    finished(tmp_path / "runs")
    publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "results")
    path = tmp_path / "results" / "smoke" / "table2" / "manifests.json"
    before = json.loads(path.read_text())
    for changes, message in (
        ({"seed": 3}, "a run of grpo with seed 3, config.yaml has none"),
        ({"method": "aepo"}, "a run of aepo, config.yaml has none"),
    ):
        path.write_text(json.dumps([{**m, **changes} if m["method"] == "grpo" else m for m in before]))
        with pytest.raises(UserError, match=f"manifests.json has {message}"):
            load.load_source("smoke", "table2", data_root=tmp_path)


# -- files that are no files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["manifest.json", "config.yaml", "eval.parquet", "steps.parquet"])
def test_a_folder_in_place_of_a_file_is_one_line(tmp_path, name, capsys):
    run = finished(tmp_path)
    (run.path / name).unlink()
    (run.path / name).mkdir()
    for reader in (lambda: read_run(run.path), lambda: RunDirectory.open(run.path, job())):
        with pytest.raises(UserError, match=f"grpo/0/{name}"):
            reader()
    assert cli.main(["status", "--runs-root", str(tmp_path)]) == 0
    assert f"grpo/0/{name}" in capsys.readouterr().out.replace("\n", "")


def test_a_file_in_place_of_a_folder_is_one_line(tmp_path):
    run = start(tmp_path, 1)
    shutil.rmtree(run.path / "checkpoints")
    (run.path / "checkpoints").write_text("")
    with pytest.raises(UserError, match="checkpoints is a file"):
        RunDirectory.open(run.path, job())


@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["publish", "--profile", "smoke"],
        ["table", "2", "--profile", "smoke"],
        ["tune", "2", "--profile", "smoke"],
        ["bench", "--quick"],
        ["real-input", "--data", "x"],
    ],
)
def test_runs_that_lie_in_no_folder_are_refused(tmp_path, capsys, command, below):
    file = tmp_path / "file"
    file.write_text("mine")
    assert cli.main([*command, "--runs-root", str(file / "runs" / "here" if below else file)]) == 2
    said = capsys.readouterr().err
    assert f"{file} is not a folder" in said and said.count("\n") == 1 and file.read_text() == "mine"


@pytest.mark.parametrize(
    "command", [["tune", "2", "--profile", "smoke", "--csv"], ["plan", "--csv"], ["bench", "--out"]]
)
def test_a_place_where_nothing_can_be_written_is_refused_before_the_work(tmp_path, capsys, command):
    file = tmp_path / "file"
    file.write_text("mine")
    for place, problem in ((tmp_path, "is a folder"), (file / "table.csv", "is not a folder")):
        assert cli.main([*command, str(place)]) == 2
        assert problem in capsys.readouterr().err


def test_status_says_that_there_is_no_such_folder(tmp_path, capsys):
    assert cli.main(["status", "--runs-root", str(tmp_path / "none")]) == 0
    assert "which does not exist" in capsys.readouterr().out.replace("\n", " ")


# -- advice that works -------------------------------------------------------------------------------------------------


def again(root: Path, **changes) -> RunDirectory:
    """What the grid's own look, and then the run itself, make of a directory."""
    config = job(**changes)
    row = RunStatus(config, config.directory(root))
    assert runner.state_of(row) == WAITING
    return RunDirectory.open(row.path, config)


@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_finished_run_without_its_evaluation_is_evaluated_again(tmp_path, damage):
    run = finished(tmp_path)
    before = tree(run.path)
    path = run.path / "eval.parquet"
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-9] if damage == "cut" else b"")
    with pytest.raises(UserError, match="eval.parquet.*same command"):
        read_run(run.path)
    path.unlink(missing_ok=True)
    resumed = again(tmp_path)
    assert resumed.status == "running" and resumed.last_complete_step() == 3
    resumed.write_eval(evaluations("last"))
    resumed.finish()
    for name in ("steps.parquet", "timings.parquet", "rollouts.parquet", "eval.parquet", "config.yaml"):
        assert (run.path / name).read_bytes() == before[name][1], name
    assert read_run(run.path).steps.num_rows == 3 and not run.parts.exists()
    assert runner.state_of(RunStatus(job(), run.path)) == FINISHED


def test_a_warm_start_without_its_evaluation_is_evaluated_again(tmp_path):
    config = job().warm_start_job()
    finished(tmp_path, method=manifest.WARM_START)
    (config.directory(tmp_path) / "eval.parquet").unlink()
    assert runner.state_of(RunStatus(config, config.directory(tmp_path))) == WAITING
    assert RunDirectory.open(config.directory(tmp_path), config).status == "running"


@pytest.mark.parametrize("content", [None, b"a: [", b"seed: 0\nseed: 0\n", b"\xff", b"method: grpo\n", b"task: 1\n"])
def test_a_finished_run_without_its_config_gets_it_again(tmp_path, content):
    run = finished(tmp_path)
    before = tree(run.path)
    path = run.path / "config.yaml"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match="config.yaml.*same command"):
        read_run(run.path)
    path.unlink(missing_ok=True)
    assert again(tmp_path).status == "finished"
    assert {name: content for name, (_, content) in tree(run.path).items()} == {
        name: content for name, (_, content) in before.items()
    }
    assert runner.state_of(RunStatus(job(), run.path)) == FINISHED


def test_a_config_that_is_written_again_may_differ_in_what_changes_no_result(tmp_path):
    run = finished(tmp_path)
    (run.path / "config.yaml").unlink()
    assert again(tmp_path, training={"checkpoint_every": 3}).status == "finished"
    assert read_run(run.path).config["training"]["checkpoint_every"] == 3


@pytest.mark.parametrize("name", ["steps", "timings", "rollouts"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_what_no_command_makes_again_says_what_to_move(tmp_path, name, damage):
    run = finished(tmp_path)
    path = run.path / f"{name}.parquet"
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-9])
    for lost in (False, True):  # with and without an evaluation
        with pytest.raises(UserError, match=f"{name}.parquet.*{files.MOVE}"):
            runner.state_of(RunStatus(job(), run.path))
        (run.path / "eval.parquet").unlink(missing_ok=lost)
    shutil.move(run.path, tmp_path / "away")
    assert runner.state_of(RunStatus(job(), run.path)) == WAITING
    assert finished(tmp_path).status == "finished" and read_run(run.path).steps.num_rows == 3


def test_published_files_are_restored_not_run_again(tmp_path):
    finished(tmp_path / "runs", method="warm_start")
    finished(tmp_path / "runs")
    publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "results")
    folder = tmp_path / "results" / "smoke" / "table2"
    for name in ("eval.parquet", "manifests.json"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(UserError, match=f"{name} is missing; {files.RESTORE}"):
            load.load_source("smoke", "table2", data_root=tmp_path).scores  # noqa: B018
        (folder / name).write_bytes(content)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["rows"]["grpo"]["seeds"] == [0]
