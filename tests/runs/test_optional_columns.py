"""Columns that only some jobs have (search costs, a judge's verdicts): from the run to published files and tables."""

import math

import numpy as np
import pytest
from run_folders import SECONDS, start
from run_rows import evaluations, metrics, rollouts

from analysis.format import main_table
from analysis.load import Source
from analysis.table import build
from analysis.table2 import SPEC
from reproduce.commands.agreement import agreement
from reproduce.commands.grade_agreement import read_runs
from reproduce.evaluation import verdicts
from reproduce.evaluation.judge import CORRECT, INCORRECT, UNDECIDED, Verdict
from reproduce.runs import files, publish, schema
from reproduce.runs.reader import read_run
from reproduce.runs.shared import table_config
from reproduce.tools.search.search import COSTS
from reproduce.worlds.benchmarks.questions import Question


def searched(root, method):
    """A finished run whose rollouts searched and whose answers were judged."""
    warm_start = method == "warm_start"
    run = start(root, method=method)
    for step in range(1, 1 if warm_start else 4):
        costs = dict.fromkeys(schema.SEARCH_COSTS, 0.0) | {"search_requests": 10.0 * step, "search_errors": 1.0}
        run.write_step(step, metrics(step) | costs, rollouts(step), SECONDS)
    rows = [row | {"graded": 1.0, "judged": math.nan} for row in evaluations("warm_start" if warm_start else "last")]
    run.write_eval(rows)
    run.finish({"seconds_eval": 0.5})
    return run


def test_the_names_are_those_of_the_search():
    assert schema.SEARCH_COSTS == COSTS


def test_they_stand_behind_all_others_and_only_where_there_are_any(tmp_path):
    run = read_run(searched(tmp_path, "grpo").path)
    assert run.steps.column_names == ["step", *schema.STEP_METRICS, *COSTS]
    assert run.eval.column_names == [*schema.EVAL_SCHEMA.names, "graded", "judged"]
    assert run.frame("steps")["search_requests"].tolist() == [10.0, 20.0, 30.0]
    with pytest.raises(ValueError, match="unknown step metrics"):
        start(tmp_path / "b").write_step(1, metrics(1) | {"search_dreams": 1.0}, rollouts(1), SECONDS)
    plain = start(tmp_path / "c", 3)
    plain.write_eval(evaluations())
    plain.finish({})
    assert read_run(plain.path).steps.column_names == ["step", *schema.STEP_METRICS]


def test_metrics_that_only_one_method_has_are_columns_of_its_runs_and_nan_in_others(tmp_path):
    runs = {method: start(tmp_path / "runs", method=method) for method in ("warm_start", "grpo", "dapo")}
    for step in (1, 2, 3):
        runs["grpo"].write_step(step, metrics(step), rollouts(step), SECONDS)
        runs["dapo"].write_step(step, metrics(step) | {"part/tokens": 1.0 * step}, rollouts(step), SECONDS)
    for method, run in runs.items():
        run.write_eval(evaluations("warm_start" if method == "warm_start" else "last"))
        run.finish({"seconds_eval": 0.5})
    assert read_run(runs["dapo"].path).steps.column_names == ["step", *schema.STEP_METRICS, "part/tokens"]
    assert "part/tokens" not in read_run(runs["grpo"].path).steps.column_names
    (path,) = [p for p in publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "out") if p.stem == "steps"]
    published = files.read_table(path, schema.labelled(schema.STEPS_SCHEMA)).to_pandas()
    assert published.set_index("method").loc["dapo", "part/tokens"].tolist() == [1.0, 2.0, 3.0]
    assert published.set_index("method").loc["grpo", "part/tokens"].isna().all()
    config = table_config({run.path: read_run(run.path).config for run in (runs["grpo"], runs["dapo"])})
    folders = tuple((method, 0, runs[method].path) for method in ("grpo", "dapo"))
    own = Source("smoke", "table2", "runs", tmp_path, [], config, runs=folders).steps
    assert own["part/tokens"].dropna().tolist() == [1.0, 2.0, 3.0]
    for bad in ({"part": 1.0}, {"part/": 1.0}, {"Part/x y": 1.0}):
        with pytest.raises(ValueError, match="unknown step metrics"):
            start(tmp_path / "b").write_step(1, metrics(1) | bad, rollouts(1), SECONDS)


def test_they_are_published_and_shown(tmp_path):
    for method in ("warm_start", "grpo"):
        searched(tmp_path / "runs", method)
    published = {p.stem: p for p in publish.publish("smoke", "table2", tmp_path / "runs", tmp_path / "out")}
    steps = files.read_table(published["steps"], schema.labelled(schema.STEPS_SCHEMA)).to_pandas()
    assert steps["search_errors"].sum() == 3.0
    assert np.isnan(
        files.read_table(published["eval"], schema.labelled(schema.EVAL_SCHEMA)).to_pandas()["judged"]
    ).all()
    folder, rows = tmp_path / "runs" / "smoke" / "table2", (("grpo", 0), ("warm_start", 0))
    paths = tuple((m, s, folder / m / str(s)) for m, s in rows)
    source = Source("smoke", "table2", "runs", folder, [], {}, runs=paths)
    assert source.steps["search_requests"].tolist() == [10.0, 20.0, 30.0]
    table = build(source, SPEC)
    assert table.frame.loc["grpo", "search_requests"] == 60.0
    header = main_table(table).header
    assert header[header.index("Trajectories") + 1 :] == ["Search requests", "Failed searches", "Seeds"]


class Fixed:
    """A judge with prepared verdicts."""

    def __init__(self, *given):
        self.given, self.asked = list(given), []

    def judge_many(self, answers):
        self.asked = [(question.id, answer) for question, answer in answers]
        return [self.given.pop(0) for _ in answers]


def test_the_judge_decides_but_for_the_sets_that_are_scored_by_f1():
    rows = [
        {"question_id": f"{family}-{i}", "family": family, "answer": "a", "correct": graded}
        for i, (family, graded) in enumerate([("gaia", False), ("gaia", True), ("gaia", True), ("2wiki", True)])
    ]
    questions = {row["question_id"]: Question(row["question_id"], "?", ["a"], row["family"]) for row in rows}
    judge = Fixed(Verdict(CORRECT), Verdict(INCORRECT), Verdict(UNDECIDED, "timeout"))
    made, counts = verdicts.judged(rows, questions, judge)
    assert [row["correct"] for row in made] == [True, False, False, True]
    assert [row["graded"] for row in made] == [0.0, 1.0, 1.0, 1.0]
    assert [str(row["judged"]) for row in made] == ["1.0", "0.0", "nan", "nan"]
    assert judge.asked == [("gaia-0", "a"), ("gaia-1", "a"), ("gaia-2", "a")]
    assert (counts["answers"], counts["undecided"]) == (3, 1)


def test_the_agreement_of_runs_has_the_verdicts_that_they_hold(tmp_path):
    run = searched(tmp_path, "grpo")
    rows = [row | {"graded": 1.0, "judged": float(i % 2)} for i, row in enumerate(evaluations())]
    run.write_eval(rows)
    answers, given = read_runs(tmp_path)
    assert len(answers) == len(rows) and given == [bool(i % 2) for i in range(len(rows))]
    found, _ = agreement(answers, judged_before=given)
    assert found.accuracy["judge"] == pytest.approx(np.mean(given)) and set(found.accuracy) == {
        "grade",
        "reward",
        "judge",
    }
    assert "judge" not in agreement(answers, judged_before=[None] * len(rows))[0].accuracy
