"""`make tune`: settings are tried on the validation panel alone, and the record holds every trial."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from functools import partial

import hub
import numpy as np
import pandas as pd
import pytest
from grid_runs import child
from places import PYTHONPATH
from run_rows import evaluations, job, metrics, rollouts
from scipy.stats import t

from reproduce import cli
from reproduce.commands import tune, tune_record
from reproduce.config.rows import combinations
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.grid import runner
from reproduce.runs import manifest
from reproduce.runs.directory import RunDirectory
from reproduce.runs.manifest import ROOT, config_hash

RATE = "training.learning_rate"


@pytest.fixture
def table3():
    return TableConfig.load("3").jobs("smoke", ["grpo"], [0])[0]


def finished(root, config, **changes):
    """A finished run of `config`; changes: of the rows of its evaluation."""
    run = RunDirectory.open(config.directory(root), config)
    for step in range(1, config.training.steps + 1) if config.method != manifest.WARM_START else ():
        run.write_step(step, metrics(step), rollouts(step), {"rollout": 0.1, "train": 0.2})
    run.write_eval(evaluations(**changes))
    run.finish()
    return config.directory(root)


def trial(rate="1e-3", base=None, **changes):
    return tune.trial([base or job(**changes)], {RATE: rate})[0]


# -- settings ----------------------------------------------------------------------------------------------------------


def test_settings_are_read_and_combined():
    assert combinations(tune.choices([])) == [{}]
    read = tune.choices([f"{RATE}=2.5e-4,5e-4", "training.epochs=1,2", "entropy_tokens=3"])
    assert read == {RATE: ["2.5e-4", "5e-4"], "training.epochs": ["1", "2"], "entropy_tokens": ["3"]}
    made = combinations(read)
    assert len(made) == 4 and made[1] == {RATE: "2.5e-4", "training.epochs": "2", "entropy_tokens": "3"}
    assert tune.label(made[1]) == "learning_rate-2.5e-4_epochs-2_entropy_tokens-3" and tune.label({}) == "as-it-is"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["training.epochs"], "--set training.epochs is no setting: write section.key=value"),
        (["=1"], "is no setting"),
        (["training.epochs="], "is no setting"),
        (["training.epochs=1,,2"], "is no setting to try"),
        (["training epochs=1"], "--set training is no setting"),
        (["algorithm.clip_high=1"], "algorithm.clip_high cannot be tried.*not a setting that all rows share"),
        (["training.report_to=wandb"], "training.report_to changes no result"),
        (["training.epochs=1,1"], "names a value twice"),
        (["training.epochs=1 training.epochs=2"], "names a setting twice: give training.epochs once"),
        (["training.learning_rate=1e-3", "warm_start.learning_rate=1e-3"], "ends as another setting does"),
        (["evaluation.split=test"], "evaluation.split is validation in every trial"),
        (["evaluation.checks.every=2"], "they look at test tasks"),
        (["evaluation.questions=5,10"], "trials are compared on one panel"),
    ],
)
def test_what_is_no_setting_is_refused(words, message):
    with pytest.raises(UserError, match=message):
        tune.choices(words)


def test_a_trial_is_the_job_on_the_validation_panel(table3):
    made = tune.trial([table3], {RATE: "1e-2", "training.epochs": "1", "task.episodes.history": "3"})[0]
    expected = replace(
        table3,
        experiment="tune3.learning_rate-1e-2_epochs-1_history-3",
        training=replace(table3.training, learning_rate=0.01, epochs=1),
        task=replace(table3.task, episodes=replace(table3.task.episodes, history=3)),
        evaluation=replace(table3.evaluation, split="validation", checks=None),
    )
    assert table3.evaluation.checks is not None and made == expected
    as_it_is = tune.trial([table3], {})[0]
    assert as_it_is.experiment == "tune3.as-it-is" and as_it_is.training == table3.training
    same = tune.trial([table3], {RATE: str(table3.training.learning_rate)})[0]
    assert config_hash(same) == config_hash(as_it_is) != config_hash(table3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.learning_rat": "1"}, "training.learning_rat is not a setting.*did you mean 'learning_rate'"),
        ({"trainin.epochs": "1"}, "trainin.epochs is not a setting that all rows share.*'training'"),
        ({"search.results": "1"}, "search.results is not a setting of table3 in profile smoke"),
        ({"seed": "1"}, "seed is not a setting that all rows share"),
        ({"task.episodes": "1"}, "task.episodes is a section"),
        ({"training.epochs": "x"}, "'training.epochs' must be a whole number, not 'x'"),
        ({"training.epochs": "1.5"}, "'training.epochs' must be a whole number, not 1.5"),
        ({"training.epochs": "true"}, "'training.epochs' must be a whole number, not True"),
        ({"training.learning_rate": "nan"}, "'training.learning_rate' must be a number"),
        ({"training.learning_rate": "-1e-3"}, "'training.learning_rate' must be positive"),
        ({"training.device": "tpu"}, "'training.device' must be cpu, cuda"),
        ({"task.data.sha256": "1"}, "task.data.sha256 is not set by hand"),
        ({"training.lora.rank": "0"}, "'training.lora.rank' must be positive"),
    ],
)
def test_a_bad_setting_names_its_key(table3, settings, message):
    with pytest.raises(UserError, match=message):
        tune.trial([table3], settings)


def test_a_setting_that_a_row_sets_itself_is_not_shared():
    cell = TableConfig.load("5").jobs("smoke", ["grpo"], [0])[0]
    with pytest.raises(UserError, match=f"{RATE} .*grpo-lr"):
        tune.trial([cell], {RATE: "1e-3"})


# -- the plan ----------------------------------------------------------------------------------------------------------


def planned(root, *rates, base=None):
    return tune.plan([base or job()], [{RATE: rate} for rate in rates], root)


def test_the_same_settings_twice_are_refused(tmp_path):
    with pytest.raises(UserError, match="tune2.learning_rate-5e-4 and tune2.learning_rate-0.0005"):
        planned(tmp_path, "5e-4", "0.0005")
    own = str(job().training.learning_rate)
    assert planned(tmp_path, own)[0][0].training == job().training
    finished(tmp_path, trial("5e-4"))
    assert len(planned(tmp_path, "5e-4", "1e-3")) == 2
    with pytest.raises(UserError, match="learning_rate-0.0005 .*learning_rate-5e-4"):
        planned(tmp_path, "1e-3", "0.0005")


def test_a_run_of_another_config_is_refused_before_anything_runs(tmp_path):
    finished(tmp_path, trial("1e-3", training={"steps": 2}))
    with pytest.raises(UserError, match=r"tune2.learning_rate-1e-3/grpo/0 holds"):
        planned(tmp_path, "2e-3", "1e-3")
    assert [path.name for path in (tmp_path / "smoke").iterdir()] == ["tune2.learning_rate-1e-3"]


def test_real_questions_are_pinned_as_validation_questions(tmp_path):
    """The RL set's validation file is what is hashed; no evaluation set is opened."""
    model, data = hub.checkpoint(tmp_path / "model"), hub.data_folder(tmp_path / "data")
    for file in (data / "eval").iterdir():
        file.unlink()
    asked = JobConfig.from_dict(hub.config(model, data))
    made = tune.plan([asked], [{RATE: "1e-3"}], tmp_path)[0][0]
    assert set(made.task.data.sha256) == {"train_10k", "valid"} and made.model.revision.startswith("folder-")


# -- the record --------------------------------------------------------------------------------------------------------


def test_the_record_holds_estimate_and_interval_of_every_trial(tmp_path):
    right_SQ = np.array([[2, 1, 0, 0, 1, 1, 2, 1], [2, 2, 1, 0, 1, 0, 2, 1]])  # of two samples
    for seed in (0, 1):
        counts_Q = right_SQ[seed]
        finished(tmp_path, trial(seed=seed), questions=8, right=lambda q, s, counts_Q=counts_Q: bool(s < counts_Q[q]))
    finished(tmp_path, trial().warm_start_job(), checkpoint="warm_start", questions=8, right=lambda q, s: q < 2)
    warm, line = tune_record.trials(tmp_path, "smoke", "2")
    assert (warm.method, warm.success, warm.seeds) == ("warm_start", 25.0, "0")
    assert (line.settings, line.method, line.seeds, line.unfinished) == ("learning_rate-1e-3", "grpo", "0,1", "")
    scores_SQ = right_SQ / 2
    assert line.success == round(100 * scores_SQ.mean(), 2) and (line.questions, line.samples) == (8, 2)
    parts = [8 * scores_SQ.mean(axis=1).var(ddof=1), 2 * scores_SQ.mean(axis=0).var(ddof=1)]
    parts.append((scores_SQ.var() * 16 - parts[0] - 7 * parts[1]) / 7)  # seeds, questions, rest: 1, 7 and 7 df
    variance = (parts[0] + parts[1] - parts[2]) / 16
    df = (16 * variance) ** 2 / (parts[0] ** 2 + parts[1] ** 2 / 7 + parts[2] ** 2 / 7)
    half = 100 * t.ppf(0.975, df) * variance**0.5
    assert (line.low, line.high) == pytest.approx((line.success - half, line.success + half), abs=0.02)
    assert line.config_hash.split() == [config_hash(trial(seed=seed)) for seed in (0, 1)]
    assert line.commit.startswith(str(manifest.code_version()[0])[:12])


def test_the_record_holds_earlier_and_failed_trials_and_says_what_differs(tmp_path):
    finished(tmp_path, trial("1e-3"), right=lambda q, s: q == 0)
    finished(tmp_path, trial("1e-3", method="ppo"))
    RunDirectory.open(trial("2e-3").directory(tmp_path), trial("2e-3")).fail("it diverged")
    finished(tmp_path, trial("2e-3", method="ppo", training={"steps": 2}))  # the table's file changed meanwhile
    RunDirectory.open(trial("2e-3", seed=1).directory(tmp_path), trial("2e-3", seed=1))
    (tmp_path / "smoke" / "tune2.learning_rate-4e-3").mkdir()  # made, and interrupted before any run
    found = tune_record.trials(tmp_path, "smoke", "2")
    assert [(t.settings, t.method, t.success, t.unfinished) for t in found] == [
        ("learning_rate-1e-3", "grpo", 50.0, ""),
        ("learning_rate-1e-3", "ppo", 100.0, ""),
        ("learning_rate-2e-3", "grpo", None, "0 failed, 1 running"),
        ("learning_rate-2e-3", "ppo", 100.0, ""),
    ]
    assert found[0].differing == f"{RATE}=0.001" and found[2].differing == f"{RATE}=0.002"
    said = tune_record.text(found)
    assert "learning_rate-1e-3: 75.0 % over 2 methods" in said and "learning_rate-2e-3: 100.0 % over ppo" in said
    assert "compare lines of one method" in said and "unfinished: 0 failed, 1 running" in said
    assert "compare lines" not in tune_record.text(found[:2])
    tune_record.write(tmp_path / "a" / "record.csv", found)
    rows = list(csv.DictReader((tmp_path / "a" / "record.csv").open()))
    assert [row["success"] for row in rows] == ["50.0", "100.0", "", "100.0"]
    assert rows[2]["settings"] == "learning_rate-2e-3" and rows[2]["unfinished"] == "0 failed, 1 running"


def test_what_differs_is_what_the_tables_file_changed_too(tmp_path):
    finished(tmp_path, trial("1e-3"))
    finished(tmp_path, trial("2e-3", training={"group_size": 4}))
    first, second = tune_record.trials(tmp_path, "smoke", "2")
    assert first.differing == f"training.group_size=2 {RATE}=0.001"
    assert second.differing == f"training.group_size=4 {RATE}=0.002"


def test_a_directory_holds_one_config_and_no_test_panel(tmp_path):
    finished(tmp_path, trial("1e-3"))
    changed = trial("1e-3", seed=1, training={"max_grad_norm": 2.0})
    finished(tmp_path, changed)
    with pytest.raises(UserError, match="have different configs"):
        tune_record.trials(tmp_path, "smoke", "2")
    tested = replace(trial("3e-3"), evaluation=job().evaluation, experiment="tune3.learning_rate-3e-3")
    finished(tmp_path, tested)
    with pytest.raises(UserError, match="tune3.*split test"):
        tune_record.trials(tmp_path, "smoke", "3")


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def grids(monkeypatch):
    """`tune` with runs that write what a real one writes and train nothing."""
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.setattr(runner, "run", partial(runner.run, command=child, warm_start=False))


@pytest.mark.slow
def test_a_failed_run_is_reported_and_the_others_go_on(grids, tmp_path, capsys):
    words = ["tune", "3", "--profile", "smoke", "--runs-root", str(tmp_path), "--jobs", "2", "--set"]
    (tmp_path / "orders.json").write_text(json.dumps({"grpo/0": {"die": 2}}))
    assert cli.main([*words, f"{RATE}=1e-3,5e-4"]) == 1
    said = capsys.readouterr().out
    assert "settings 2 of 2" in said and "2 failed; the finished runs are kept" in said
    assert all(f"learning_rate-{rate}/grpo/0/log.txt" in said for rate in ("1e-3", "5e-4"))
    rows = list(csv.DictReader((tmp_path / "smoke" / "tune3.csv").open()))
    assert [(row["method"], row["seeds"], row["unfinished"]) for row in rows] == 2 * [("grpo", "", "0 failed")]
    (tmp_path / "orders.json").unlink()
    assert cli.main([*words, f"{RATE}=1e-3", "--csv", str(tmp_path / "own.csv")]) == 0, "the same command goes on"
    rows = list(csv.DictReader((tmp_path / "own.csv").open()))
    assert [(row["seeds"], row["unfinished"]) for row in rows] == [("0", ""), ("", "0 failed")]


def test_an_interrupt_ends_the_command(monkeypatch, tmp_path, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupted)
    assert cli.main(["tune", "3", "--profile", "smoke", "--runs-root", str(tmp_path)]) == 130
    assert "run the same command again to continue" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: table"),
        (["7"], "there is no table '7'"),
        (["3", "--seeds", "x"], "'x' is not a seed"),
        (["3", "--jobs", "0"], "'0' is not a number of runs"),
        (["3", "--profile", "nano"], "there is no profile 'nano'"),
        (["3", "--methods", "grpoo"], "there is no method 'grpoo'"),
        (["3", "--set", "training.epoch=1", "--set", f"{RATE}=1"], "training.epoch is not a setting"),
    ],
)
def test_bad_words_are_one_line(capsys, words, message):
    assert cli.main(["tune", *words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


@pytest.mark.slow
def test_a_real_trial_never_touches_the_test_panel(tmp_path):
    """Training and evaluation of two learning rates at smoke size, through the command line."""
    command = [
        sys.executable,
        "-m",
        "reproduce",
        "tune",
        "3",
        "--profile",
        "smoke",
        "--jobs",
        "1",
        "--set",
        f"{RATE}=1e-3,5e-4",
        "--runs-root",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    from reproduce.training.setup import open_setup

    config = TableConfig.load("3").jobs("smoke", ["grpo"], [0])[0]
    with open_setup(config) as setup:
        task = setup.task
    panel = {question.id for question in task.panel("validation", config.evaluation.questions)}
    kept_from = {question.id for question in [*task.train_questions(1000, 0), *task.panel("test", 1)]}
    assert not panel & kept_from
    bases = [tmp_path / "smoke" / f"tune3.learning_rate-{rate}" for rate in ("1e-3", "5e-4")]
    for base in bases:
        for run in (base / "grpo" / "0", base / "warm_start" / "0"):
            assert set(pd.read_parquet(run / "eval.parquet")["question_id"]) == panel
        steps = pd.read_parquet(base / "grpo" / "0" / "steps.parquet")
        assert steps[["check_success_iid", "check_success_ood"]].isna().all(axis=None) and len(steps) == 3
    weights = [pd.read_parquet(base / "grpo" / "0" / "steps.parquet")["kl_warm_start"].iloc[-1] for base in bases]
    assert weights[0] != weights[1], "the learning rate is what differs"
    rows = list(csv.DictReader((tmp_path / "smoke" / "tune3.csv").open()))
    assert [(row["settings"], row["method"]) for row in rows] == [
        (f"learning_rate-{rate}", method) for rate in ("1e-3", "5e-4") for method in ("warm_start", "grpo")
    ]
    assert len({row["config_hash"] for row in rows[::2]}) == 1, "one warm start serves both"
    assert {row["questions"] for row in rows} == {str(len(panel))}
