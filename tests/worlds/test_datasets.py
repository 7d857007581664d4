"""RL, SFT and evaluation sets in the published files' shapes, the overlap of training and test, and the web task."""

import json

import hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from places import REAL_DATA, needs_questions, needs_rl

from reproduce.cli import main
from reproduce.errors import UserError
from reproduce.evaluation.graders import grade
from reproduce.worlds.benchmarks.datasets.rl import load_rl
from reproduce.worlds.benchmarks.datasets.sft import read_sft
from reproduce.worlds.benchmarks.files import data_file
from reproduce.worlds.benchmarks.overlap import Training, report
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES, Question, load
from reproduce.worlds.benchmarks.task import open_questions

# -- evaluation sets in the published shapes ---------------------------------------------------------------------------


def write(folder, name, rows):
    (folder / name).mkdir()
    hub.write_lines(folder / name / "test.jsonl", rows)


def gaia(levels=(39, 52, 12)):
    rows = [level for level, count in enumerate(levels, start=1) for _ in range(count)]
    return [{"task_id": str(i), "Question": f"Q{i}?", "answer": "a", "Level": lv} for i, lv in enumerate(rows)]


def hle(math=207):
    counts = {
        "Math": math,
        "Biology/Medicine": 63,
        "Physics": 40,
        "Chemistry": 20,
        "Computer Science/AI": 66,
        "Engineering": 9,
        "Humanities/Social Science": 63,
        "Other": 500 - math - 261,
    }
    names = [name for name, count in counts.items() for _ in range(count)]
    return [{"id": str(i), "question": f"Q{i}?", "answer": "a", "category": name} for i, name in enumerate(names)]


PUBLISHED = {
    "musique": [{"question": f"Q{i}?", "answer": ["a", "b"]} for i in range(200)],
    "webwalker": [{"question": f"Q{i}?", "answer": "a"} for i in range(200)],
    "xbench": [{"question": f"Q{i}?", "answer": ["a"]} for i in range(100)],
    "aime25": [{"id": i, "problem": f"Q{i}?", "answer": 70 + i} for i in range(30)],
    "gaia": gaia(),
    "hle": hle(),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sets_of_the_published_shape_and_size_are_read(tmp_path, name):
    write(tmp_path, name, PUBLISHED[name])
    questions = load(name, tmp_path)
    assert len(questions) == EVALUATION_FILES[name].rows and questions[0].id == f"{name}-00000"
    assert questions[0].question == "Q0?" and all(q.golds and q.split == "test" for q in questions)
    assert all(grade(q, q.golds[0]).correct and not grade(q, "").correct for q in questions[:3])
    write(tmp_path, f"short-{name}", [])
    (tmp_path / name / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PUBLISHED[name][:-1]))
    with pytest.raises(UserError, match=f"{len(questions) - 1} rows, .* {len(questions)}"):
        load(name, tmp_path)


def test_levels_and_parts_are_those_of_the_papers(tmp_path):
    write(tmp_path, "gaia", gaia())
    assert [q.level for q in load("gaia", tmp_path)].count(2) == 52
    hub.write_lines(tmp_path / "gaia" / "test.jsonl", gaia((40, 51, 12)))
    with pytest.raises(UserError, match="1 40, 2 51, 3 12; .* 1 39, 2 52, 3 12"):
        load("gaia", tmp_path)
    (tmp_path / "hle").mkdir()
    hub.write_lines(tmp_path / "hle" / "top.json", hle(208))
    with pytest.raises(UserError, match="NS 331, .* NS 330"):
        load("hle", tmp_path)
    assert len(load("hle", tmp_path, check_rows=False)) == 500


def test_math_is_read_in_either_form_and_its_size_is_not_known(tmp_path):
    write(
        tmp_path,
        "math",
        [{"question": "1 + 1?", "answer": "2"}, {"problem": "2 + 2?", "solution": "It is \\boxed{3}, no, \\boxed{4}."}],
    )
    assert [(q.question, q.golds) for q in load("math", tmp_path)] == [("1 + 1?", ["2"]), ("2 + 2?", ["4"])]
    hub.write_lines(tmp_path / "math" / "test.jsonl", [{"problem": "2 + 2?", "solution": "four"}])
    with pytest.raises(UserError, match="line 1: key 'solution'"):
        load("math", tmp_path)


def test_the_accepted_answers_as_one_text():
    assert Question("q", "?", ["[1, 2]"], "math500").gold == "[1, 2]"
    assert Question("q", "?", ["a", "ü"], "2wiki").gold == '["a", "ü"]'


# -- the SFT set -------------------------------------------------------------------------------------------------------


def sft(**changes):
    row = {
        "system": hub.SYSTEM,
        "conversations": [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": hub.answered("Ada", "Oslo")}],
    }
    return row | changes


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
def test_sft_rows_learn_what_the_model_wrote_and_not_what_tools_answered(tmp_path, ending):
    path = tmp_path / f"arpo-sft-54k.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist([sft(), sft()]), path)
    elif ending == "json":
        path.write_text(json.dumps([sft(), sft()]))
    else:
        hub.write_lines(path, [sft(), sft()])
    assert len(list(read_sft(path))) == 2
    (row,) = read_sft(path, 1)
    assert row.messages == [
        {"role": "system", "content": "Think, search, answer in \\boxed{...}."},
        {"role": "user", "content": "Q?"},
    ]
    assert "".join(text for text, _ in row.pieces) == hub.answered("Ada", "Oslo")
    assert [(text, learned) for text, learned in row.pieces if not learned] == [
        ("<result> Page 1: Ada was born in Oslo </result>", False)
    ]
    assert data_file("arpo-sft-54k", tmp_path) == path


def test_results_in_messages_of_their_own_are_not_learned_either(tmp_path):
    said = ["Q?", "<search> Ada </search>", "<result> Oslo </result>", "<answer> Oslo </answer>"]
    roles = ["user", "assistant", "user", "assistant"]
    row = {"conversations": [{"from": r, "value": v} for r, v in zip(roles, said, strict=True)]}
    hub.write_lines(tmp_path / "s.jsonl", [row])
    (made,) = read_sft(tmp_path / "s.jsonl")
    assert made.messages == [{"role": "user", "content": "Q?"}]
    assert made.pieces == [(said[1], True), (said[2], False), (said[3], True)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([], "'conversations' must be a list"),
        (sft(conversations=[{"from": "bot", "value": "x"}]), "messages from human, user, gpt, assistant"),
        (sft(conversations=[{"from": "human", "value": "x"}]), "an answer come last"),
        (sft(conversations=[{"from": "human", "value": "x"}, {"from": "gpt", "value": ""}]), "non-empty 'value'"),
        (sft(conversations=[]), "a question and an answer must follow each other"),
    ],
)
def test_a_malformed_sft_row_is_named(tmp_path, row, message):
    hub.write_lines(tmp_path / "s.jsonl", [sft(), row])
    with pytest.raises(UserError, match=f"s.jsonl, row 2: .*{message}"):
        list(read_sft(tmp_path / "s.jsonl"))


# -- overlap -----------------------------------------------------------------------------------------------------------


def asked(*texts):
    return [Question(f"q{i}", text, ["a"], "test") for i, text in enumerate(texts)]


def test_exact_and_near_repeats():
    long = "who wrote the book that the film of the year was made from"
    train = asked(
        "Where was Ada born?", f"Tell me: {long}?", long.replace("film", "play").replace("year", "day"), "Who?"
    )
    test = asked("where was ADA born", f"{long}?", "Who?", "Who is it that nobody has ever asked about?")
    found = Training(train).overlap(test)
    assert found.exact == [("q0", "q0"), ("q3", "q2")]
    assert found.near == [("q1", "q1")]
    assert (found.touched, found.tests) == (3, 4)


def test_the_overlap_command(tmp_path, capsys):
    data = hub.data_folder(tmp_path / "data")
    assert main(["overlap", "--data", str(data), "--show", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["train_10k", "hotpotqa", "3", "1", "0", "1"]
    assert lines[2].split() == ["exact", "train_10k-00003", "hotpotqa-00000"]
    assert any(line.split() == ["valid", "webwalker", "2", "2", "0", "2"] for line in lines)


@pytest.mark.slow
@needs_questions
@needs_rl
def test_the_real_overlap_is_what_is_known_of_it():
    found = {(a, b): o for a, b, o in report(REAL_DATA, ["train_10k", "hard_search_1k"], ["hotpotqa", "aime24"])}
    assert [found[name, "hotpotqa"].touched for name in ("train_10k", "hard_search_1k")] == [5, 15]
    assert not found["train_10k", "aime24"].exact and not found["hard_search_1k", "aime24"].exact


# -- the web task ------------------------------------------------------------------------------------------------------


def task(folder, prompts="paper"):
    return open_questions(
        ["hotpotqa", "webwalker"],
        "train_10k",
        "valid",
        prompts,
        None,
        lambda name: data_file(name, folder),
        lambda question, answer: grade(question, answer).correct,
        -1.0,
        0.1,
        check_rows=False,
    )


def test_the_backspace_is_repaired_under_paper_and_kept_under_released(tmp_path):
    data = hub.data_folder(tmp_path / "data")
    paper, released = task(data), task(data, "released")
    evaluated = paper.panel("test", 1)[0]
    assert paper.system_prompt(paper.training[0]) == "Think, search, answer in \\boxed{...}."
    assert released.system_prompt(released.training[0]) == hub.SYSTEM
    for one in (paper, released):  # evaluation's prompt is right in the released code too
        assert one.system_prompt(evaluated) == "Think, search, answer in \\boxed{...}."
    assert load_rl("train_10k", data, check_rows=False).questions[0].split == "train"


def test_training_goes_through_the_whole_set_before_it_repeats(tmp_path):
    one = task(hub.data_folder(tmp_path / "data"))
    drawn = [question.id for question in one.train_questions(10, seed=3)]
    assert sorted(drawn[:4]) == sorted(drawn[4:8]) == [question.id for question in one.training]
    assert drawn[:4] != drawn[4:8] and drawn == [question.id for question in one.train_questions(10, seed=3)]
    assert drawn != [question.id for question in one.train_questions(10, seed=4)]


def test_panels_and_scores(tmp_path):
    one = task(hub.data_folder(tmp_path / "data"))
    assert [q.id for q in one.panel("test", 2)] == [
        "hotpotqa-00000",
        "hotpotqa-00001",
        "webwalker-00000",
        "webwalker-00001",
    ]
    assert [(q.id, q.split) for q in one.panel("validation", 9)][0] == ("valid-00000", "validation")
    with pytest.raises(UserError, match="test or validation"):
        one.panel("train", 1)
    question = one.panel("test", 1)[0]
    assert one.score(question, hub.answered("Dan", "Kiev"))[:5] == (1.0, 1.0, True, "Kiev", True)
    assert one.score(question, hub.answered("Dan", "Oslo")).reward == 0.0
    bad = one.score(question, "\\boxed{Kiev}")
    assert (bad.reward, bad.correct) == (-1.0, False)
    one.right = lambda question, answer: answer == "0.5"
    half = one.score(Question("m", "?", ["\\frac{1}{2}"], "math500", "math"), hub.answered("x", "0.5"))
    assert half.correct and half.reward == 0.0  # the reward compares words, the grader expressions
