"""`make rehearse`: its inputs have the real files' forms, its judge the real protocol, and its stages fail loudly."""

import json
import sys

import pytest
import yaml

from reproduce.cli import main
from reproduce.commands.rehearse import inputs, settings, stages
from reproduce.commands.rehearse.cli import MARK, fresh
from reproduce.commands.rehearse.command import Command
from reproduce.commands.rehearse.judge_server import JudgeServer
from reproduce.config.judge import JudgeConfig
from reproduce.config.search import ChatConfig
from reproduce.errors import UserError
from reproduce.evaluation.judge import Judge
from reproduce.grid.resolve import named
from reproduce.grid.services import check_judge
from reproduce.tools.search.search import open_search
from reproduce.worlds.benchmarks.files import data_file
from reproduce.worlds.benchmarks.questions import load
from reproduce.worlds.question import Question


@pytest.mark.parametrize(("table", "method"), [("1", "aepo"), ("2", "aepo"), ("3", "ppo+epo"), ("3", "grpo")])
def test_only_sizes_and_places_differ_from_the_profile_paper(table, method, tmp_path):
    paper = named(table, "paper", [method], [0])[0]
    changes = settings.differing(paper, tmp_path, "http://127.0.0.1:1/v1", settings.USUAL, "cpu")
    made = named(table, "paper", [method], [0], [f"{key}={value}" for key, value in changes.items()])[0]
    one, other = paper.to_dict(), made.to_dict()
    for key in ("method", "experiment", "seed", "algorithm"):
        one.pop(key), other.pop(key)
    for key in changes:
        *places, last = key.split(".")
        for part in (one, other):
            for place in places:
                part = part[place]
            part[last] = None
    assert one == other
    assert made.training.dtype == "bfloat16"
    if table == "3":
        assert made.training.prompts_per_step * made.training.group_size == 64 and made.task.world == "minihouse"
        assert (made.training.group_size == 1) == (method == "ppo+epo")
        return
    assert made.search.service == paper.search.service == "brightdata"


def test_the_tokenizer_of_episodes_is_trained_on_their_messages():
    found = inputs.messages(named("3", "paper", ["grpo"], [0])[0])
    assert len(found) == 24 and all("Your task is to" in text for text in found)


@pytest.mark.parametrize("table", ["1", "2"])
def test_stand_ins_pass_the_loaders_of_the_real_files(table, tmp_path):
    job = named(table, "paper", ["aepo"], [0])[0]
    inputs.write_data(tmp_path / "data", job, 4)
    seen: set[str] = set()
    for family in job.task.families:
        questions = load(family, "", check_rows=False, path=data_file(family, tmp_path / "data"))
        assert questions and not seen & {question.question for question in questions}
        seen |= {question.question for question in questions}
    assert json.loads(data_file("arpo-sft-54k", tmp_path / "data").read_text())[0]["conversations"][1]["value"]
    assert b"\x08oxed" in data_file(job.task.data.train, tmp_path / "data").read_bytes(), "the shipped fault"


def test_the_recording_is_replayed_by_the_real_search(tmp_path):
    job = named("2", "paper", ["aepo"], [0])[0]
    count = inputs.write_recording(tmp_path / "searches", job.search)
    changes = settings.differing(job, tmp_path, "http://127.0.0.1:1/v1", settings.QUICK, "cpu")
    config = named("2", "paper", ["aepo"], [0], [f"{k}={v}" for k, v in changes.items()])[0].search
    opened = open_search(config)
    found, missing = opened.search_many(["kudin painter", "never asked by anyone"])
    costs = opened.costs()
    opened.close()
    assert count > 1000 and found.hits and all("kudin" in hit.text or "painter" in hit.text for hit in found.hits)
    assert missing.error == "not recorded" and costs["search_requests"] == 0


def test_the_judge_of_the_rehearsal_speaks_the_protocol_of_a_real_one():
    with JudgeServer("a/model") as server:
        config = JudgeConfig(chat=ChatConfig(base_url=server.url, model="a/model"), mode="live")
        assert "a/model" in check_judge(config)
        question = Question("q", 'Which "town"?', ["Varden", "85"], "gaia")
        with Judge(config) as judge:
            verdicts = judge.judge_many([(question, "\\boxed{85}"), (question, "Given answer: Varden"), (question, "")])
    assert [verdict.verdict for verdict in verdicts] == ["correct", "incorrect", "incorrect"] and server.asked == 3


def test_a_launch_config_is_ours_with_other_processes(tmp_path):
    path = stages.launch_config("ddp", tmp_path, 2)
    said, ours = yaml.safe_load(path.read_text()), yaml.safe_load(stages.accelerate_config("ddp").read_text())
    assert said == ours | {"num_processes": 2}
    with pytest.raises(UserError, match="no accelerate config 'dpp'"):
        stages.launch_config("dpp", tmp_path, 2)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "thesis.tex").write_text("!")
    with pytest.raises(UserError, match="something else than a rehearsal"):
        fresh(place)
    assert (place / "thesis.tex").exists()
    old = fresh(tmp_path / "old")
    (old / "inputs").mkdir()
    assert [path.name for path in fresh(old).iterdir()] == [MARK]


def test_a_command_that_ends_early_is_named_by_its_error(tmp_path):
    command = Command(["tabel"], tmp_path / "log.txt")
    with pytest.raises(UserError, match="ended with code 2 before a checkpoint: error: argument command: .* 'tabel'"):
        command.until(lambda: False, "a checkpoint", 120)
    again = Command(["tune-up"], tmp_path / "log.txt")
    again.process.wait()
    assert "'tune-up'" in again.said and "'tabel'" not in again.said


def test_bad_words_are_one_line_and_delete_no_earlier_rehearsal(capsys, tmp_path):
    (fresh(tmp_path / "b") / "log.txt").write_text("earlier")
    for words, message in (
        (["--table", "9"], "there is no table '9'"),
        (["--launch-config", "fdsp", "--folder", str(tmp_path / "a")], "there is no accelerate config 'fdsp'"),
        (["--model", str(tmp_path / "none")], "there is no such folder"),
        (["--model", str(tmp_path)], "holds no .safetensors file"),
        (["--methods", "nope", "--quick", "--folder", str(tmp_path / "b")], "there is no method 'nope'"),
    ):
        assert main(["rehearse", *words]) == 2
        said = capsys.readouterr().err
        assert message in said and "\n" not in said.strip()
    assert (tmp_path / "b" / "log.txt").read_text() == "earlier"


@pytest.mark.slow
def test_a_rehearsal_at_the_smallest_size(tmp_path, capfd):
    """Warm start, training, kill -9, resume, evaluation, judge, table, by two processes through accelerate."""
    assert main(["rehearse", "--quick", "--methods", "aepo", "--folder", str(tmp_path / "r")]) == 0
    said = capfd.readouterr().out
    for stage in ("warm start", "kill -9", "resumed, evaluated", "searches replayed", "the table", "needs a card"):
        assert stage in said, sys.stdout
    assert (tmp_path / "r" / MARK).is_file()
