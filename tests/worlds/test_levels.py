"""Levels of WebWalkerQA come from the public file, by the words of the question, and a missing one is said."""

import dataclasses
import json

import hub
import pytest

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.evaluation.graders import grade
from reproduce.worlds.benchmarks.levels import counted, with_levels
from reproduce.worlds.question import Question
from reproduce.worlds.registry import world_of

PUBLIC = [  # the form of callanwu/WebWalkerQA's rows; its README writes the names with capitals
    {"question": hub.question("Eve"), "answer": "Bern", "info": {"difficulty_level": "easy", "hop": "single_source"}},
    {"Question": hub.question("Fay").replace(" ", "  "), "Info": {"Difficulty_Level": "Hard"}},
    {"question": "Another one?", "info": {"difficulty_level": "medium"}},
]


def job(data, model) -> JobConfig:
    return JobConfig.from_dict(hub.config(model, data, task={"families": ["webwalker"]}))


def test_a_question_has_the_level_of_its_words(tmp_path):
    path = tmp_path / "webwalker-levels.jsonl"
    hub.write_lines(path, PUBLIC)
    asked = [Question(name, hub.question(name), ["x"], "webwalker") for name in ("Eve", "Fay", "Ada")]
    found = with_levels(asked, path)
    assert [question.level for question in found] == [1, 3, 0]
    assert counted(found) == "1 Easy, 0 Medium, 1 Hard, 1 without a level"


@pytest.mark.parametrize("row", [{"question": "Q?"}, {"info": {"difficulty_level": "easy"}}, "text"])
def test_a_row_without_question_or_level_is_named(tmp_path, row):
    path = tmp_path / "levels.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match="row 1: needs a question, and a difficulty_level of Easy, Medium, Hard"):
        with_levels([], path)


def test_a_run_takes_levels_from_the_file_that_its_config_was_made_with(tmp_path, capsys):
    data, model = hub.data_folder(tmp_path / "data"), hub.checkpoint(tmp_path / "model")
    plain = job(data, model)
    without = world_of(plain.task).freeze(plain)
    assert "webwalker: without levels" in capsys.readouterr().out and "webwalker-levels" not in without.data.sha256
    hub.write_lines(data / "webwalker-levels.jsonl", PUBLIC)
    frozen = world_of(plain.task).freeze(plain)
    assert "levels of 1 Easy, 0 Medium, 1 Hard" in capsys.readouterr().out
    levels = []
    for task in (without, frozen):
        config = JobConfig.from_dict({**plain.to_dict(), "task": dataclasses.asdict(task)})
        with world_of(task).open(config, lambda question, answer: grade(question, answer).correct) as opened:
            levels.append([question.level for question in opened.panel("test", 9)])
    assert levels == [[0, 0], [1, 3]]
    (data / "webwalker-levels.jsonl").write_text(json.dumps(PUBLIC[0]) + "\n")
    with (
        world_of(frozen).open(config, None) as opened,
        pytest.raises(UserError, match="levels.jsonl: the file has changed"),
    ):
        opened.panel("test", 9)
