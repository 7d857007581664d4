"""Question loaders and graders, on small files written here and on the real ones where they exist."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from places import REAL_DATA, needs_questions, needs_rl

from reproduce.errors import UserError
from reproduce.evaluation import grade
from reproduce.evaluation.equivalence import equivalent
from reproduce.evaluation.graders import normalise_evaluation
from reproduce.worlds.benchmarks.datasets.rl import RL_FILES, load_rl
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES, Question, load, real_search_questions
from reproduce.worlds.rewards import normalise_training


def write(directory: Path, name: str, *lines: object) -> Path:
    path = directory / "eval" / f"{name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_question_answering_rows(tmp_path):
    write(
        tmp_path,
        "2wiki",
        {"question": "Where?", "answer": ["NYC", "New York"]},
        "",
        {"question": "Who?", "answer": "Bea"},
    )
    first, second = load("2wiki", tmp_path, check_rows=False)
    assert first == Question("2wiki-00000", "Where?", ["NYC", "New York"], "2wiki", "qa", 0, {})
    assert (second.id, second.golds) == ("2wiki-00001", ["Bea"])


def test_gsm8k_gold_is_the_number_after_the_hashes(tmp_path):
    write(tmp_path, "gsm8k", {"question": "How much?", "answer": "1,000 + 450 #### no\n#### 1,450,000", "idx": 7})
    (question,) = load("gsm8k", tmp_path, check_rows=False)
    assert (question.golds, question.answer_type, question.metadata) == (["1450000"], "math", {"idx": 7})


def test_aime_reads_the_problem_and_keeps_its_own_id(tmp_path):
    write(tmp_path, "aime24", {"id": 60, "problem": "Find m.", "answer": "025", "question": "Find m.", "url": "u"})
    (question,) = load("aime24", tmp_path, check_rows=False)
    assert (question.question, question.golds, question.metadata["id"]) == ("Find m.", ["025"], 60)


def test_the_official_folder_layout_is_found_too(tmp_path):
    (tmp_path / "bamboogle").mkdir()
    (tmp_path / "bamboogle" / "test.jsonl").write_text('{"question": "Who?", "answer": ["Bea"]}\n')
    assert load("bamboogle", tmp_path, check_rows=False)[0].golds == ["Bea"]


GOOD = {"question": "Who?", "answer": ["Bea"]}


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("2wiki", "{not json", "line 2: not valid JSON"),
        ("2wiki", "[1, 2]", "line 2: expected a JSON object, found list"),
        ("2wiki", {"question": "Who?"}, "line 2: key 'answer' is missing"),
        ("2wiki", {"answer": ["Bea"]}, "line 2: key 'question' is missing"),
        ("2wiki", {"question": " ", "answer": ["Bea"]}, "line 2: key 'question' must be"),
        ("2wiki", {"question": "Who?", "answer": []}, "line 2: key 'answer' must be"),
        ("2wiki", {"question": "Who?", "answer": ["Bea", ""]}, "line 2: key 'answer' must be"),
        ("math500", {"question": "Who?", "answer": 5}, "line 2: key 'answer' must be"),
        ("gsm8k", {"question": "Who?", "answer": "just 5"}, "line 2: key 'answer' must contain '####"),
        ("gsm8k", {"question": "Who?", "answer": "#### five"}, "line 2: key 'answer' has 'five'"),
        ("aime24", {"id": 1, "text": "Who?", "answer": "5"}, "line 2: key 'problem' is missing"),
    ],
)
def test_a_malformed_row_is_named_by_file_line_and_key(tmp_path, name, row, message):
    good = {"id": 0, "problem": "Who?", "question": "Who?", "answer": "#### 5"}
    path = write(tmp_path, name, good, row)
    with pytest.raises(UserError, match=message) as error:
        load(name, tmp_path, check_rows=False)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_other_bad_input(tmp_path):
    with pytest.raises(UserError, match="question set 'trivia'"):
        load("trivia", tmp_path)
    with pytest.raises(UserError, match="no file for '2wiki'"):
        load("2wiki", tmp_path)
    write(tmp_path, "2wiki", GOOD)
    with pytest.raises(UserError, match="1 rows, the published file has 200"):
        load("2wiki", tmp_path)
    (tmp_path / "eval" / "2wiki.jsonl").write_bytes(b'{"question": "\xff"}\n')
    with pytest.raises(UserError, match="not UTF-8"):
        load("2wiki", tmp_path)


def rl_row(gold="4", ability="math", system="Box it: \x08oxed{} or \x08oxed{x}"):
    return {
        "data_source": "DR_grpo_mix",
        "prompt": [{"content": system, "role": "system"}, {"content": "2 + 2?", "role": "user"}],
        "ability": ability,
        "reward_model": {"ground_truth": gold, "style": "rule"},
        "extra_info": {"index": 0, "question": "2 + 2?", "split": "valid"},
        "metadata": None,
    }


def write_rl(directory: Path, *rows: dict) -> Path:
    path = directory / "valid.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def test_rl_rows_and_the_backspace_repair(tmp_path, caplog):
    write_rl(tmp_path, rl_row(), rl_row("Bea", "qa"), rl_row("Cy", None))
    loaded = load_rl("valid", tmp_path, check_rows=False)
    assert (loaded.rows, loaded.backspaces, loaded.repaired, loaded.blank_golds) == (3, 6, True, [])
    assert "6 backspace characters" in caplog.text
    first = loaded.questions[0]
    assert first.metadata["system_prompt"] == "Box it: \\boxed{} or \\boxed{x}"
    assert (first.id, first.question, first.golds) == ("valid-00000", "2 + 2?", ["4"])
    assert (first.metadata["split"], first.metadata["index"]) == ("valid", 0)
    assert [question.answer_type for question in loaded.questions] == ["math", "qa", "qa"]

    kept = load_rl("valid", tmp_path, keep_backspace=True, check_rows=False)
    assert (kept.backspaces, kept.repaired) == (6, False)
    assert kept.questions[0].metadata["system_prompt"] == "Box it: \x08oxed{} or \x08oxed{x}"


def test_rl_rows_with_a_blank_gold_are_left_out_and_listed(tmp_path, caplog):
    write_rl(tmp_path, rl_row(), rl_row(" "), rl_row("5"))
    loaded = load_rl("valid", tmp_path, check_rows=False)
    assert [question.id for question in loaded.questions] == ["valid-00000", "valid-00002"]
    assert loaded.blank_golds == [1]
    assert "blank gold answer: [1]" in caplog.text


def test_bad_rl_files(tmp_path):
    path = write_rl(tmp_path, rl_row())
    with pytest.raises(UserError, match="1 rows, the published file has 180"):
        load_rl("valid", tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a readable parquet file"):
        load_rl("valid", tmp_path, check_rows=False)
    pq.write_table(pa.table({"prompt": ["x"]}), path)
    with pytest.raises(UserError, match="column 'data_source' is missing"):
        load_rl("valid", tmp_path, check_rows=False)
    row = rl_row()
    row["prompt"] = row["prompt"][::-1]
    write_rl(tmp_path, rl_row(), row)
    with pytest.raises(UserError, match="row 1: key 'prompt'"):
        load_rl("valid", tmp_path, check_rows=False)
    write_rl(tmp_path, rl_row(None))
    with pytest.raises(UserError, match=r"row 0: key 'reward_model.ground_truth'"):
        load_rl("valid", tmp_path, check_rows=False)
    with pytest.raises(UserError, match="unknown RL set"):
        load_rl("train", tmp_path)


def math(gold: str) -> Question:
    return Question("m", "?", [gold], "math500", "math")


@pytest.mark.parametrize(
    ("gold", "answer", "correct", "method"),
    [
        ("\\frac{1}{2}", "\\frac{1}{2}", True, "equal"),
        ("\\frac{1}{2}", " $\\frac{1}{2}$ ", True, "equal"),
        ("\\frac{1}{2}", "0.5", True, "math-verify"),
        ("\\frac{1}{2}", "\\boxed{ \\frac { 1 } { 2 } }", True, "math-verify"),
        ("\\frac{1}{2}", "\\frac{1}{3}", False, "math-verify"),
        ("025", "25", True, "math-verify"),
        ("1450000", "1,450,000", True, "math-verify"),
        ("(3, \\frac{\\pi}{2})", "\\left( 3, \\frac{\\pi}{2} \\right)", True, "math-verify"),
        ("-5", "5", False, "math-verify"),
        ("3.5", "35", False, "math-verify"),
        ("42", "42} \\text{ or } {43", False, "math-verify"),
        ("42", "", False, "empty"),
        ("42", "  ", False, "empty"),
        ("42", None, False, "empty"),
        ("42", "\\boxed{42", False, "empty"),
        ("42", "42 " * 500, False, "too long"),
    ],
)
def test_grading_mathematics(gold, answer, correct, method):
    verdict = grade(math(gold), answer)
    assert (verdict.correct, verdict.method) == (correct, method)


def test_grading_text_with_either_normaliser():
    question = Question("q", "?", ["Washington, D.C.", "the Capitol"], "2wiki", "qa")
    assert grade(question, "washington, d.c.") == (True, 1.0, "match (evaluation)")
    assert grade(question, "Capitol").correct
    without_points = grade(question, "Washington DC")
    assert not without_points.correct
    assert without_points.f1 == 0.0  # "washington," and "washington" differ where punctuation stays
    assert grade(question, "Washington DC", normaliser="training") == (True, 1.0, "match (training)")
    assert grade(question, "\\boxed{ the capitol }").correct
    assert grade(question, "D.C.").f1 == pytest.approx(2 / 3)
    assert grade(question, "") == (False, 0.0, "empty")
    with pytest.raises(UserError, match="normaliser 'squad'"):
        grade(question, "x", normaliser="squad")


def test_the_two_normalisers():
    assert normalise_evaluation("The  U.S. Navy") == "u.s. navy"
    assert normalise_training("The  U.S. Navy") == "us navy"


@needs_questions
@pytest.mark.parametrize("name", EVALUATION_FILES)
def test_real_files_oracle_all_right_and_empty_all_wrong(name):
    if not any((REAL_DATA / candidate).is_file() for candidate in EVALUATION_FILES[name].candidates):
        pytest.skip(f"{name} is not among the real question files of REPRODUCE_REAL_DATA")
    questions = load(name, REAL_DATA)
    assert len({question.id for question in questions}) == (EVALUATION_FILES[name].rows or len(questions))
    assert all(grade(question, gold).correct for question in questions for gold in question.golds)
    assert not any(grade(question, "").correct for question in questions)
    others = questions[1:] + questions[:1]
    borrowed = sum(grade(q, o.golds[0]).correct for q, o in zip(questions, others, strict=True)) / len(questions)
    assert borrowed < 0.02  # the next question's answer is right only where the two answers are the same


@needs_questions
def test_real_golds_pass_math_verify_without_the_equality_shortcut():
    for name in ("aime24", "math500", "gsm8k"):
        assert [q.id for q in load(name, REAL_DATA) if not equivalent(q.golds[0], q.golds[0])] == []


@needs_questions
def test_real_search_questions_are_a_fixed_mix():
    questions = real_search_questions(REAL_DATA, 20)
    assert [question.id for question in questions[:4]] == [
        "2wiki-00000",
        "hotpotqa-00000",
        "bamboogle-00000",
        "2wiki-00001",
    ]
    assert len(questions) == len({question.id for question in questions}) == 20
    assert len(real_search_questions(REAL_DATA, 525)) == 525
    with pytest.raises(UserError, match="n is 526"):
        real_search_questions(REAL_DATA, 526)


@needs_rl
@pytest.mark.parametrize(("name", "usable"), [("train_10k", 9999), ("valid", 180), ("hard_search_1k", 1071)])
def test_real_rl_sets(name, usable):
    loaded = load_rl(name, REAL_DATA)
    assert loaded.rows == RL_FILES[name].rows
    assert len(loaded.questions) == usable
    assert loaded.backspaces == 2 * loaded.rows  # both mentions of \boxed, in every row
    assert loaded.repaired
    assert all(
        "\\boxed{" in q.metadata["system_prompt"] and "\x08" not in q.metadata["system_prompt"]
        for q in loaded.questions
    )
