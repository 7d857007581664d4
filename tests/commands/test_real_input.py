"""Real questions and real search results through graders, tools and agent loop, and the same on files written here."""

import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import hub
import pytest
import question_files
import tiny
from callers import caller
from places import REAL_DATA
from question_files import PASSAGES, TOWN, WRITTEN

from reproduce.algorithms.policies import AEPORollout, ARPORollout, Independent
from reproduce.commands import real_input
from reproduce.commands.real_input import (
    RealTask,
    check,
    grade_files,
    main,
    newest_warm_start,
    open_tools,
    run_agent,
    try_tools,
)
from reproduce.errors import UserError
from reproduce.evaluation.graders import Grade
from reproduce.rollouts.agent import Grammar, Limits
from reproduce.rollouts.collector import Collector
from reproduce.tools.sandbox import PythonSandbox
from reproduce.tools.search.bm25 import PassageIndex, load_search_cache
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES, Question, real_search_questions
from reproduce.worlds.tool_server import Call, ToolResult

needs_real_data = pytest.mark.skipif(
    not ((REAL_DATA / "eval").is_dir() and (REAL_DATA / "search_cache.json").is_file()),
    reason="real data not found; set REPRODUCE_REAL_DATA to the folder that holds eval/*.jsonl and search_cache.json",
)
LIMITS = Limits(tool_calls=4, completion_tokens=128)
POLICIES = [Independent(), ARPORollout(entropy_tokens=2, decision="bernoulli"), AEPORollout(entropy_tokens=2)]
QUESTION = Question("q", "Who painted the year 7 zzz?", ["Bea Kent"], "2wiki")


class Sandbox(tiny.LocalPrinter):
    """A CodeRunner that records its batches; anything but a known sum is an error, silence for `pass`."""

    def __init__(self):
        self.batches = []

    def run_many(self, codes):
        self.batches.append(list(codes))
        known = {"pass": self.Result(True, ""), "print(6 * 7)": self.Result(True, "42")}
        return [known.get(code) or super(Sandbox, self).run_many([code])[0] for code in codes]


def collector(index, sandbox=None, seed=0):
    task = RealTask(open_tools(index, sandbox or Sandbox()).thing)
    return Collector(task, caller(), Grammar(tiny.tokenizer()), LIMITS, 1.0, seed)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return question_files.write(tmp_path_factory.mktemp("data") / "written")


# -- the tools ---------------------------------------------------------------------------------------------------------


def test_a_search_shows_the_best_passages_each_cut_to_its_share_of_words(monkeypatch):
    monkeypatch.setattr(real_input, "RESULT_WORDS", 8)
    with open_tools(PassageIndex(PASSAGES), Sandbox()) as environment:
        call = Call(environment.start(QUESTION), "search", " four five three count ")
        assert environment.run([call])[0] == ToolResult(
            "Page 1: one two three four Page 2: a count of the", "search", True
        )
        assert environment.search.shown == {1, 2}


def test_results_come_in_the_order_of_the_calls_and_programs_run_as_one_batch():
    sandbox = Sandbox()
    sums = "print ( 3 + 4 )"
    tools = ["python", "search", "python", "search", "python", "python"]
    contents = [sums, "zzz", "open", "town", sums, "pass"]
    with open_tools(PassageIndex(PASSAGES), sandbox) as environment:
        s = environment.start(QUESTION)
        results = environment.run([Call(s, tool, text) for tool, text in zip(tools, contents, strict=True)])
        assert environment.search.shown == {0}
    said = ["7", "none", "SyntaxError: invalid syntax", f"Page 1: {TOWN}", "7", "none"]
    assert [result.text for result in results] == said
    assert [result.action for result in results] == ["python", "empty", "python", "search", "python", "python"]
    assert [result.ok for result in results] == [True, False, False, True, True, True]
    assert sandbox.batches == [["open", "pass", sums]]  # each program once


@pytest.mark.parametrize("query", ["", "  \n", "?!", "x" * 9999, "\x00 \ud7ff", 'title:"a" -b', "<search> </result>"])
def test_no_query_raises(query):
    with open_tools(PassageIndex(["apple"]), Sandbox()) as environment:
        assert environment.run([Call(environment.start(QUESTION), "search", query)])[0].text == "none"


def test_the_task_scores_a_completion_as_the_papers_do():
    task = RealTask(None, format_penalty=-0.5)
    said = "<think> x </think> <answer> \\boxed{ bea kent } </answer>"
    assert task.score(QUESTION, said)[:2] == (1.0, 1.0)
    assert task.score(QUESTION, said.replace("<think>", ""))[0] == -0.5
    assert task.prompt(QUESTION) == "question : Who painted the year 7 zzz?"


def test_what_the_tools_give_without_a_model(written):
    questions = real_search_questions(written, 6)  # 2wiki, hotpotqa and bamboogle 0, then 1
    unknown = Question("u", "zzz", ["one"], "2wiki")
    with open_tools(load_search_cache(written / "search_cache.json"), Sandbox()) as environment:
        figures = try_tools(environment, [*questions, unknown, unknown])
    # "Bea 0 won in year 0" is found by all six and holds the gold of questions 0, one in each file
    assert figures == {"passages": 4, "found": 6 / 8, "gold_shown": 3 / 8, "python": "42"}


# -- the agent loop ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_the_figures_of_a_rollout_add_up_and_repeat(written, policy):
    questions = real_search_questions(written, 8)
    made = collector(load_search_cache(written / "search_cache.json"))
    first, second = (run_agent(made, questions, 4, policy) for _ in range(2))
    assert first == second
    assert first != run_agent(collector(PassageIndex(PASSAGES), seed=1), questions, 4, policy)
    assert (first["questions"], first["trajectories"]) == (8, 32)
    assert sum(first["ended"].values()) == 32
    assert first["actions"]["search"] > 10 and 0 < first["passages_shown"] <= 4
    if policy.needs_pilot:
        assert first["tool_calls"] > sum(first["actions"].values())  # the pilots' calls are counted, their outcomes not
    else:
        assert first["tool_calls"] == sum(first["actions"].values())
    assert (first["branches"] > 0) == policy.branches
    assert (first["correct"], first["f1"]) == (0, 0) and -1 <= first["reward"] <= 0
    assert 0 < first["unknown_results"] < 1


def test_the_unknown_share_of_the_questions():
    figures = run_agent(collector(PassageIndex(PASSAGES)), [QUESTION], 1)
    # "question : Who painted the year 7 zzz?": the tokenizer knows "question", ":", "year" and "7"
    assert figures["unknown_prompt"] == 4 / 8


def test_right_answers_are_counted():
    made = collector(PassageIndex(PASSAGES))
    groups, rollout = made.sample([QUESTION], 4, ("real-input",))
    good = made.task.score(QUESTION, "<think> </think> <answer> \\boxed{Bea Kent} </answer>")
    groups[0].rewards[:3] = [good] * 3
    made.sample = lambda *_: (groups, rollout)
    figures = run_agent(made, [QUESTION], 4)
    assert (figures["correct"], figures["format_ok"], figures["f1"], figures["reward"]) == (0.75, 0.75, 0.75, 0.5)


# -- the whole check, on files written here ----------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(real_input, "LIMITS", LIMITS)
    monkeypatch.setattr(real_input, "PythonSandbox", lambda **_: nullcontext(Sandbox()))


def save(folder: Path, seed: int, seconds: int, tokenizer=None) -> Path:
    """A tiny model saved as a warm start that was finished at `seconds`."""
    tiny.model(seed).save_pretrained(folder)
    (tokenizer or tiny.tokenizer()).save_pretrained(folder)
    (folder / "checks.json").write_text("[]\n")
    os.utime(folder / "checks.json", (seconds, seconds))
    return folder


def test_the_check_takes_the_newest_finished_warm_start(written, tmp_path, small, capsys):
    old = save(tmp_path / "mini" / "warm_starts" / "bb", 1, 1000)
    new = save(tmp_path / "smoke" / "warm_starts" / "aa", 2, 2000)
    save(tmp_path / "mini" / "warm_starts" / "cc.tmp", 3, 3000)
    (tmp_path / "mini" / "warm_starts" / "dd").mkdir()
    save(tmp_path / "mini" / "warm_starts" / "ee", 4, 4000, hub.tokenizer())  # no tools' tags, as table 3's
    assert newest_warm_start(tmp_path) == new
    by_itself = check(written, None, 5, 2, runs_root=tmp_path)
    assert by_itself == check(written, new, 5, 2)
    assert by_itself["agent"]["model"] == str(new)
    other = check(written, old, 5, 2)
    assert {**other["agent"], "model": ""} != {**by_itself["agent"], "model": ""}


def test_the_command_prints_the_table_and_names_its_model(written, tmp_path, small, capsys):
    arguments = ["--data", str(written), "--questions", "4", "--runs-root", str(tmp_path)]
    assert main(arguments) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if "%" in line][:6] == [
        f"{name} {EVALUATION_FILES[name].rows} 100.0% 0.0% 100.0% 0.0%" for name in WRITTEN
    ]
    assert {"model random weights, mini shape", "questions x samples 4 x 1", "correct 0.0%"} <= set(lines)


def test_a_wrong_grader_is_named_and_fails_the_command(written, tmp_path, small, monkeypatch, capsys):
    honest = real_input.grade
    wrong = {"aime24-00003": lambda answer: Grade(False, 0.0, ""), "gsm8k-00007": lambda answer: Grade(True, 1.0, "")}
    monkeypatch.setattr(real_input, "grade", lambda q, a: wrong.get(q.id, lambda answer: honest(q, answer))(a))
    rows = {row["file"]: row for row in grade_files(written)}
    assert (rows["aime24"]["oracle"], rows["aime24"]["failed"]) == (29 / 30, ["aime24-00003"])
    assert (rows["gsm8k"]["empty"], rows["gsm8k"]["failed"]) == (1 / 1319, ["gsm8k-00007"])
    assert main(["--data", str(written), "--questions", "1", "--runs-root", str(tmp_path)]) == 1
    assert "graded wrong: aime24-00003, gsm8k-00007" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{absent}"], "absent: no such folder; --data takes the folder"),
        (["--data", "{tmp}"], "no search results (looked for search_cache.json"),
        (["--data", "{data}", "--model", "{absent}"], "absent: no such folder; --model takes a warm start"),
        (["--data", "{data}", "--model", "{tmp}"], "cannot load the warm start"),
        (["--data", "{data}", "--questions", "526"], "n is 526; choose 1 to 525"),
        (["--data", "{data}", "--samples", "0"], "samples is 0"),
        (["--data", "{data}", "--samples", "x"], "invalid int value"),
        ([], "--data"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(written, tmp_path, small, capsys, arguments, message):
    names = {"tmp": tmp_path, "absent": tmp_path / "absent", "data": written}
    assert main([argument.format(**names) for argument in arguments]) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1] and error[-1].startswith("error: ")


def test_a_missing_or_cut_question_file_is_named(written, tmp_path):
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    (tmp_path / "eval" / "math500.jsonl").unlink()
    with pytest.raises(UserError, match="no file for 'math500'"):
        check(tmp_path, None, sandbox=Sandbox())
    (tmp_path / "eval" / "bamboogle.jsonl").write_text('{"question": "Who?", "answer": "Bea"}\n')
    with pytest.raises(UserError, match="bamboogle.jsonl: 1 rows.* 125"):
        check(tmp_path, None, sandbox=Sandbox())


# -- the real files ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_index():
    return load_search_cache(REAL_DATA / "search_cache.json")


@pytest.fixture(scope="module")
def real_sandbox():
    try:
        opened = PythonSandbox(preload=False)
    except UserError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@needs_real_data
def test_real_check_oracle_all_right_empty_all_wrong_and_the_loop_runs(real_sandbox, tmp_path):
    report = check(REAL_DATA, None, runs_root=tmp_path, sandbox=real_sandbox)
    assert [(row["file"], row["questions"]) for row in report["graders"]] == [
        ("2wiki", 200),
        ("hotpotqa", 200),
        ("bamboogle", 125),
        ("aime24", 30),
        ("math500", 500),
        ("gsm8k", 1319),
    ]
    assert all((row["oracle"], row["empty"], row["failed"]) == (1.0, 0.0, []) for row in report["graders"])
    assert all((row["rewritten"], row["near_misses"], row["otherwise"]) == (1.0, 0.0, []) for row in report["graders"])
    assert (report["tools"]["passages"], report["tools"]["found"], report["tools"]["python"]) == (8294, 1.0, "42")
    agent = report["agent"]
    assert (agent["model"], agent["trajectories"]) == ("random weights, mini shape", 20)
    assert agent["correct"] == 0 and agent["reward"] < 0
    assert agent["unknown_prompt"] > 0.5


@needs_real_data
@pytest.mark.parametrize("policy", POLICIES[:2])
def test_real_questions_with_many_tool_calls_and_forks(real_index, real_sandbox, policy):
    questions = real_search_questions(REAL_DATA, 20)
    made = collector(real_index, real_sandbox)
    first, second = (run_agent(made, questions, 2, policy) for _ in range(2))
    assert first == second
    assert first["trajectories"] == 40 and first["correct"] == 0
    assert first["actions"]["search"] > 20 and first["actions"].get("python", 0) > 0 and first["passages_shown"] > 3
    assert (first["branches"] > 0) == policy.branches
    groups, _ = made.sample(questions, 2, ("real-input",), policy)
    for child in (t for group in groups for t in group.trajectories if t.parent >= 0):
        parent = next(g for g in groups if child in g.trajectories).trajectories[child.parent]
        assert child.session.question is parent.session.question
        common = child.inherited_calls
        assert common > 0 and child.actions[:common] == parent.actions[:common]
