"""`make evaluate`: its runs, its numbers, what stands beside them, bad input in one line, kill -9, resume, replay."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import hub
import numpy as np
import pytest
from local_server import Answer, LocalServer
from places import ROOT

from analysis.statistics import over_samples
from reproduce.cli import main
from reproduce.commands.evaluate import replay, settings, table
from reproduce.commands.evaluate.presets import PROMPTED, base_of, names_of, preset, presets
from reproduce.commands.evaluate.reported import AUTHORS, DATASETS, OTHERS, PAPER, cells
from reproduce.commands.evaluate.scores import scores
from reproduce.config.question_sets import EVALUATION_SETS
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.evaluation.kept_batches import KeptBatches
from reproduce.grid.status import lines
from reproduce.runs.directory import RunDirectory
from reproduce.runs.manifest import config_hash
from reproduce.runs.reader import find_runs, read_run
from reproduce.tools.search.search import open_search
from reproduce.training import memory, prepare
from reproduce.training.flops import HUB
from reproduce.worlds.question import Question


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(model folder, data folder)"""
    root = tmp_path_factory.mktemp("evaluate")
    return hub.checkpoint(root / "model"), hub.data_folder(root / "data")


FEW = ["task.data.check_rows=false"]
"""The files of these tests hold a few rows."""


def asked(files, root, **changes) -> settings.Asked:
    model, data = files
    usual = dict(model=str(model), name="tiny", sets=["hotpotqa", "webwalker"], samples=2, questions=None, judge=None)
    usual |= dict(engine="transformers", device="cpu", search=str(data / "corpus.jsonl"), data=str(data), root=root)
    usual |= dict(together=2, replay=False, set=[*FEW, "task.max_completion_tokens=12"])
    return settings.Asked(**usual | changes)


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sets", "gaia"], "names no model: give MODEL .* or PRESET"),
        (["--model", "{model}", "--preset", "aepo-qwen3-14b-deepsearch"], "names two models"),
        (["--preset", "aepo-qwen3-14b"], "no preset 'aepo-qwen3-14b'; presets: aepo-qwen3-14b-deepsearch, "),
        (["--model", "{model}"], "no question set is named: SETS=gaia,webwalker"),
        (["--model", "{model}", "--sets", "gaja"], "no question set 'gaja'; did you mean 'gaia'"),
        (["--model", "{model}", "--sets", "gaia,gaia"], "gaia is named twice"),
        (["--model", "{data}", "--sets", "gaia"], "MODEL=.*data: the folder holds no config.json"),
        (["--model", "./nowhere", "--sets", "gaia"], "there is no folder ./nowhere"),
        (["--model", "{model}", "--sets", "gaia", "--data", "nowhere"], "DATA=nowhere: there is no such folder"),
        (["--model", "{model}", "--sets", "gaia", "--search", "bing"], "SEARCH=bing is neither a service .serper"),
        (["--model", "{model}", "--sets", "gaia", "--search", "local"], "SEARCH=local names no corpus"),
        (["--model", "{model}", "--sets", "gaia", "--judge", "http://x/v1"], "JUDGE=http://x/v1 is no judge"),
        (["--model", "{model}", "--sets", "gaia", "--k", "6"], "--k 6 takes as many samples"),
        (["--model", "{model}", "--sets", "gaia", "--assume", "gpu=A100"], "--assume belongs to --plan"),
        (["--model", "{model}", "--sets", "gaia", "--set", "task.max_tool_cals=3"], "did you mean 'max_tool_calls'"),
        (["--model", "{model}", "--sets", "gaia", "--samples", "0"], "'0' is not a number"),
        (["--model", "{model}", "--sets", "hotpotqa", "--data", "{data}"], "4 rows, the published file has 10000"),
        (
            ["--model", "{model}", "--sets", "hotpotqa", "--data", "{data}", "--set", "task.data.check_rows=false"],
            "search.service brightdata needs your SERP zone: set BRIGHTDATA_ZONE",
        ),
        (["--model", "an/owner", "--sets", "gaia", "--data", "{data}"], "make pin-hub MODEL=an/owner"),
    ],
)
def test_bad_input_gets_one_line_and_nothing_is_made(files, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.delenv("BRIGHTDATA_ZONE", raising=False)
    model, data = files
    given = [word.format(model=model, data=data) for word in words]
    assert main(["evaluate", *given, "--runs-root", str(tmp_path / "runs")]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and re.search(message, said[0]), said
    assert not (tmp_path / "runs").exists()


def test_a_set_is_asked_as_the_paper_s_table_asks_it(files, tmp_path):
    one, other = settings.jobs(asked(files, tmp_path, sets=["webwalker", "gsm8k"], set=[]))
    for job, number in ((one, "2"), (other, "1")):
        paper = TableConfig.load(number).jobs("paper")[0]
        assert job.task.max_completion_tokens == paper.task.max_completion_tokens
        assert (job.task.max_tool_calls, job.task.format_penalty) == (paper.task.max_tool_calls, -1.0)
        assert job.evaluation.temperature == paper.evaluation.temperature == 0.6
        assert job.directory(tmp_path) == tmp_path / "evaluate" / job.experiment / job.name / "0"
    assert one.experiment == other.experiment == "tiny.samples-2_together-2_engine-transformers_search-corpus"


def test_runs_of_other_settings_have_another_folder_and_a_replay_the_same_name(files, tmp_path):
    names = {
        settings.jobs(asked(files, tmp_path, **changes))[0].experiment
        for changes in (
            {},
            {"samples": 3},
            {"questions": 1},
            {"judge": "http://x/v1,a/judge"},
            {"set": ["evaluation.temperature=1"]},
        )
    }
    assert len(names) == 5
    again = settings.jobs(asked(files, tmp_path, replay=True, search="serper"))[0]
    live = settings.jobs(asked(files, tmp_path, search="serper"))[0]
    assert (again.profile, again.search.mode, again.experiment) == ("replay", "replay", live.experiment)
    assert config_hash(again) == config_hash(live) == config_hash(settings.replayed(live))
    assert live.search.ask_again is False


def test_prompts_come_from_whichever_rl_set_the_folder_holds(files, tmp_path):
    model, data = files
    other = shutil.copytree(data, tmp_path / "data")
    (other / "train_10k.parquet").unlink()
    assert settings.jobs(asked(files, tmp_path))[0].task.data.train == "train_10k"
    assert settings.jobs(asked((model, other), tmp_path))[0].task.data.train == "valid"


# -- presets and what is reported --------------------------------------------------------------------------------------


def test_presets_name_sets_that_exist_and_models_that_data_papers_knows():
    found = presets()
    assert set(DATASETS) == set(EVALUATION_SETS)
    assert len({one.repo for one in found.values()}) == len(found) == 10
    for name, one in found.items():
        assert set(one.sets) <= set(EVALUATION_SETS), name
        assert names_of(one.repo) == (one.called, (one.method,)) and base_of(one.repo) == one.base in HUB
        assert cells(one.called, [one.method]), name
    assert names_of("Qwen/Qwen3-14B") == (["Qwen3-14B"], PROMPTED)


def test_reported_cells_are_told_apart_by_who_reports_them():
    one = preset("aepo-qwen3-14b-deepsearch")
    found = [cell for cell in cells(one.called, [one.method]) if cell.dataset == "GAIA"]
    assert [(cell.short, cell.by) for cell in found] == [("47.6", PAPER), ("65.0 (pass@5)", PAPER)]
    one = preset("aepo-qwen3-8b-deepsearch")
    found = [cell for cell in cells(one.called, [one.method]) if cell.dataset == "GAIA"]
    assert [(cell.short, cell.by) for cell in found] == [("24.3", OTHERS), ("45.6 (quoted)", PAPER)]
    one = preset("arpo-qwq-32b-deepsearch")
    assert {cell.by for cell in cells(one.called, [one.method])} == {AUTHORS}
    prompted = [cell.short for cell in cells(["Qwen3-14B"], PROMPTED) if cell.dataset == "GAIA"]
    assert prompted and all("ReAct" in short for short in prompted)
    assert cells(["no model"], PROMPTED) == []


# -- numbers -----------------------------------------------------------------------------------------------------------


def row(question: str, sample: int, correct: bool, answer="x", actions="search", **more) -> dict:
    usual = {"question_id": question, "sample": sample, "correct": correct, "answer": answer, "actions": actions}
    usual |= {"family": "gaia", "format_ok": True, "tool_calls": 1, "completion_tokens": 20, "sampled_tokens": 10}
    return usual | more


def gaia(levels: dict[str, int]) -> dict[str, Question]:
    return {id: Question(id, "Q?", ["x"], "gaia", level=level) for id, level in levels.items()}


def test_the_scores_of_a_set_and_of_its_levels():
    questions = gaia({"a": 1, "b": 1, "c": 2, "d": 2, "unasked": 3})
    rows = [row(id, n, n < right) for id, right in {"a": 2, "b": 1, "c": 0, "d": 0}.items() for n in range(2)]
    rows[0] |= {"actions": "search > error > python", "answer": None, "format_ok": False}
    whole, first, second = scores("gaia", rows, questions, 2)
    assert [s.dataset for s in (whole, first, second)] == ["GAIA", "GAIA Lv.1", "GAIA Lv.2"]
    assert (whole.questions, whole.samples, whole.k) == (4, 2, 2)
    assert whole.fresh.value == whole.again.value == 3 / 8 and whole.pass_k.value == 2 / 4
    assert (whole.searches, whole.failed) == (9, 1) and whole.formatted == 7 / 8
    assert whole.f1.value == pytest.approx((0.5 + 1 + 1 + 1) / 4)
    # b alone varies between samples: variance 1/2 over 4 questions of 2 samples, t with 4 degrees of freedom
    assert whole.again.high - whole.again.value == pytest.approx(2.7764451 * math.sqrt(0.5 / 4 / 8))
    # levels are strata: means (1, 1/2) and (0, 0) leave 1/8 over 2 degrees of freedom
    assert whole.fresh.high - whole.fresh.value == pytest.approx(4.3026527 * math.sqrt(0.125 / 2 / 4))
    assert (second.fresh.value, second.fresh.low) == (0.0, 0.0)
    assert second.fresh.high == pytest.approx(1 - 0.025 ** (1 / 2)), "two questions, none right: exact binomial"
    assert second.again.high == pytest.approx(1 - 0.025 ** (1 / 4))


def test_one_sample_says_nothing_about_other_samples():
    (whole, *_) = scores("gaia", [row("a", 0, True), row("b", 0, False)], gaia({"a": 1, "b": 1}), 1)
    assert math.isnan(whole.again.low) and whole.fresh.value == whole.pass_k.value == 0.5


def test_the_interval_over_samples_holds_the_score_of_other_samples():
    rng = np.random.default_rng(0)
    rate_Q = rng.beta(0.5, 0.5, 60)
    held = 0
    for _ in range(400):
        found = over_samples(rng.random((60, 5)) < rate_Q[:, None]).interval()
        held += found.low <= rate_Q.mean() <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_graders_are_compared_where_a_judge_was_asked():
    rows = [
        row("a", 0, True, graded=0.0, judged=1.0),
        row("a", 1, True, graded=1.0, judged=1.0),
        row("b", 0, False, graded=0.0, judged=0.0),
        row("b", 1, False, graded=1.0, judged=math.nan),
    ]
    pair = scores("gaia", rows, gaia({"a": 1, "b": 1}), 1)[0].graders
    assert (pair.agreement, pair.decided, pair.undecided) == (2 / 3, 3, 1)
    unasked = [one | {"family": "hotpotqa", "judged": math.nan} for one in rows]
    questions = {id: Question(id, "Q?", ["x"], "hotpotqa") for id in "ab"}
    assert scores("hotpotqa", unasked, questions, 1)[0].graders is None
    assert scores("gaia", [row("a", 0, True)], gaia({"a": 1}), 1)[0].graders is None


def test_what_others_report_stands_in_columns_of_its_own_and_an_absent_cell_is_empty(files, tmp_path):
    job = settings.frozen(settings.jobs(asked(files, tmp_path)))[0]
    found = scores("gaia", [row("a", 0, True), row("b", 0, False)], gaia({"a": 1, "b": 1}), 1)
    one = preset("aepo-qwen3-14b-deepsearch")
    made = table.made("title", job, found, cells(one.called, [one.method]))
    lines = [dict(zip(made.header, line, strict=True)) for line in made.rows]
    assert (lines[0]["pass@1"], lines[0]["Paper"], lines[0]["Third parties"]) == ("50.0", "47.6 / 65.0 (pass@5)", "")
    assert lines[1]["Set"] == "GAIA Lv.1" and lines[1]["Paper"] == ""
    assert any("GAIA 47.6: the paper, accuracy, pass@1; AEPO, arXiv 2510.14545" in note for note in made.notes)
    paths = table.write(made, found, tmp_path)
    assert [path.name for path in paths] == ["scores.md", "scores.csv"]
    assert "0.5" in paths[1].read_text() and "47.6" not in paths[1].read_text(), "measured numbers only"


# -- runs --------------------------------------------------------------------------------------------------------------


def test_a_killed_evaluation_goes_on_with_its_next_batch_and_has_the_bytes_of_an_uninterrupted_one(
    files, tmp_path, monkeypatch
):
    (job, _) = settings.frozen(settings.jobs(asked(files, tmp_path)))

    def run(root):
        prepare.evaluate_checkpoint(job, RunDirectory.open(job.directory(root), job))
        return read_run(job.directory(root))

    whole = run(tmp_path / "one")
    assert len(whole.eval) == 6 and whole.manifest["cost"]["trajectories"] == 6.0
    assert not list((tmp_path / "one").rglob("*.safetensors")), "the checkpoint is not copied"
    add, seen = KeptBatches.add, []

    def killed(self, start, rows):
        add(self, start, rows)
        seen.append(start)
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(KeptBatches, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "two")
    assert seen == [0, 1], "a question of two samples a batch"
    resumed = run(tmp_path / "two")
    assert seen == [0, 1, 2]
    assert (resumed.path / "eval.parquet").read_bytes() == (whole.path / "eval.parquet").read_bytes()
    assert not resumed.path.joinpath("parts").exists()
    (line,) = lines(tmp_path / "two")
    assert (line.name, line.state, line.total) == ("hotpotqa seed 0", "finished", 0)
    assert find_runs(tmp_path / "two", job.profile, job.experiment) == [resumed.path]
    assert replay.compared(job, tmp_path / "two", "evaluate")[0].startswith("hotpotqa: replayed byte for byte")


def test_batches_of_other_weights_or_cut_short_are_sampled_again(tmp_path):
    kept = KeptBatches(tmp_path / "evaluated", {"config": "a"})
    rows = [{"text": "é\u2028", "turn_entropies": [0.1 + 0.2, math.nan], "answer": None}]
    kept.add(0, rows)
    again = KeptBatches(tmp_path / "evaluated", {"config": "a"}).rows(0)
    assert again[0]["text"] == rows[0]["text"] and again[0]["turn_entropies"][0] == 0.1 + 0.2
    assert math.isnan(again[0]["turn_entropies"][1])
    assert kept.rows(1) is None and KeptBatches(tmp_path / "evaluated", {"config": "b"}).rows(0) is None
    path = tmp_path / "evaluated" / "000000.json"
    path.write_text(path.read_text()[:-9])
    assert kept.rows(0) is None


def test_a_run_of_another_model_never_takes_the_place_of_kept_batches(files, tmp_path):
    (job, _) = settings.frozen(settings.jobs(asked(files, tmp_path)))
    run = RunDirectory.open(job.directory(tmp_path), job)
    KeptBatches(run.parts / "evaluated", {}).add(0, [])
    other = settings.frozen(settings.jobs(asked(files, tmp_path, set=[*FEW, "task.max_completion_tokens=13"])))[0]
    with pytest.raises(UserError, match="an unfinished run of another config"):
        RunDirectory.open(job.directory(tmp_path), other)


def test_a_search_that_failed_stays_failed_for_its_run_and_is_replayed_so(files, tmp_path, monkeypatch):
    monkeypatch.setenv("SERPER_API_KEY", "k" * 32)
    broken = [True]

    def found(request) -> Answer:
        results = [{"title": "t", "link": "http://x/", "snippet": "Ada was born in Oslo"}]
        return Answer(500, {}) if broken[0] else Answer(200, {"organic": results})

    with LocalServer(found) as server:
        changes = ["search.attempts=1", f"search.endpoint={server.url}/search", "search.requests_per_second=0"]
        live = settings.jobs(asked(files, tmp_path, search="serper", set=changes))[0].search
        for state, query in ((True, "Ada"), (False, "Ada"), (False, "Bea")):
            broken[0] = state
            opened = open_search(live, session="s")
            (result,) = opened.search_many([query])
            opened.close()
            assert (result.error is None) == (query == "Bea")
    offline = settings.jobs(asked(files, tmp_path, search="serper", set=changes, replay=True))[0].search
    opened = open_search(offline, session="s")
    assert [r.error is None for r in opened.search_many(["Bea", "Ada", "Ada"])] == [True, False, False]
    opened.close()


def test_the_plan_counts_each_set_and_starts_nothing(files, tmp_path, capsys):
    model, data = files
    words = ["--model", str(model), "--sets", "gaia,webwalker", "--samples", "2", "--runs-root", str(tmp_path / "runs")]
    assert main(["evaluate", *words, "--plan", "--assume", "search_price=2,gpu=A100"]) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in said.splitlines() if line.strip()}
    assert (lines["gaia"][1], lines["webwalker"][1], lines["total"][1]) == ("206", "400", "606")
    assert "$" in lines["total"][-3] and "search_price = 2 $ per 1000" in said
    assert said.count("(set by --assume)") == 2 and "(here one process samples)" in said, "of what the user set alone"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_a_card_holds_weights_and_what_sampling_takes_and_nothing_of_training(files, tmp_path, engine):
    changes = dict(model="Qwen/Qwen3-14B", device="cuda", engine=engine, sets=["gaia"], set=[], together=None)
    job = settings.jobs(asked(files, tmp_path, **changes))[0]
    found = memory.check(job, 80e9)
    assert found.weights == 2 * HUB["Qwen/Qwen3-14B"].parameters and found.sampling > 1e9
    assert (found.optimiser, found.gradients, found.passes, found.reference) == (0, 0, 0, 0)
    if engine == "transformers":
        many = settings.jobs(asked(files, tmp_path, **changes | {"together": 256}))[0]
        with pytest.raises(UserError, match="lower evaluation.together"):
            memory.check(many, 80e9)


@pytest.mark.slow
def test_killed_resumed_and_replayed_offline_from_the_command_line(files, tmp_path):
    """kill -9 of the command while it works; the same words again; the recording again without service and key."""
    model, data = files
    trained = tmp_path / "trained"
    config = hub.config(model, data)
    _sft(config, tmp_path, trained)
    env = os.environ | {"SERPER_API_KEY": "k" * 32, "OMP_NUM_THREADS": "1"}

    def found(request) -> Answer:
        query = request.body["q"]
        if len(query) % 3 == 0:
            return Answer(500, {})
        name = next((name for name in hub.PEOPLE if name in query), "Nobody")
        snippet = f"{name} was born in {hub.PEOPLE.get(name, 'Paris')}"
        return Answer(200, {"organic": [{"title": name, "link": "http://x/", "snippet": snippet}]})

    with LocalServer(found) as server:
        words = ["evaluate", "--model", str(trained), "--sets", "hotpotqa,webwalker", "--data", str(data)]
        words += ["--samples", "2", "--together", "2", "--search", "serper"]
        words += ["--set", "task.data.check_rows=false", "search.requests_per_second=0", "search.attempts=1"]
        words += ["task.max_completion_tokens=160", f"search.endpoint={server.url}/search"]
        command = [sys.executable, "-m", "reproduce", *words, "--runs-root"]
        whole = subprocess.run([*command, str(tmp_path / "one")], cwd=ROOT, env=env, capture_output=True, text=True)
        assert whole.returncode == 0, whole.stdout + whole.stderr
        assert "HotpotQA" in whole.stdout and "scores.csv" in whole.stdout
        child = subprocess.Popen([*command, str(tmp_path / "two")], cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 900
        while not list((tmp_path / "two").rglob("evaluated/*.json")):
            assert child.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        again = subprocess.run([*command, str(tmp_path / "two")], cwd=ROOT, env=env, capture_output=True, text=True)
        assert again.returncode == 0, again.stdout + again.stderr
    evals = {root: sorted((tmp_path / root / "evaluate").rglob("eval.parquet")) for root in ("one", "two")}
    assert len(evals["one"]) == 2
    calls = json.dumps([read_run(path.parent).eval["actions"].to_pylist() for path in evals["two"]])
    assert "search" in calls and "error" in calls, "real calls, some of which failed"
    offline = {name: value for name, value in env.items() if name != "SERPER_API_KEY"}
    table_again = subprocess.run(
        [*command, str(tmp_path / "two")], cwd=ROOT, env=offline, capture_output=True, text=True
    )
    assert table_again.returncode == 0 and "2 runs, 2 finished already" in table_again.stdout, table_again.stderr
    replayed = subprocess.run(
        [*command, str(tmp_path / "two"), "--replay"], cwd=ROOT, env=offline, capture_output=True, text=True
    )
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert replayed.stdout.count("replayed byte for byte") == 2


def _sft(config: dict, root: Path, folder: Path) -> None:
    """A tiny checkpoint that searches, in `folder`."""
    from reproduce.config.tables import JobConfig
    from reproduce.grid.freeze_inputs import pinned

    shutil.copytree(prepare.prepare_warm_start(pinned([JobConfig.from_dict(config)])[0], root / "sft"), folder)
