"""The stepper beside the real engine, the generator, and the files of both. Needs the extra, else skipped."""

import json
import sys
from dataclasses import replace

import pytest

from reproduce.errors import UserError
from reproduce.worlds.alfworld.stepper.game import KINDS
from reproduce.worlds.text_environment import IID, OOD, SPLITS, TRAIN, Task, TextEnvironment

pytest.importorskip("alfworld", reason="needs the extra: pip install -r requirements-envs.txt")
pytest.importorskip("textworld", reason="needs the extra: pip install -r requirements-envs.txt")

from reproduce.commands import check_alfworld
from reproduce.worlds.alfworld import wheel
from reproduce.worlds.alfworld.games import SIZES, furniture, generate, rooms_of
from reproduce.worlds.alfworld.real import RealAlfworld, RealEngine
from reproduce.worlds.alfworld.source import GeneratedGames, PublishedGames, installed_rules
from reproduce.worlds.alfworld.stepper.environment import FastAlfworld
from reproduce.worlds.minihouse.environment import FOLDER, write_minihouse

SMALL = GeneratedGames(5, "mini", dict.fromkeys(SPLITS, 1))


def test_the_committed_minihouse_is_what_the_generator_writes(tmp_path):
    for path in write_minihouse(tmp_path):
        assert path.read_bytes() == (FOLDER / path.name).read_bytes(), path.name


def test_the_installed_rules_are_the_proven_ones():
    installed_rules().check_proven()


def test_a_game_is_a_function_of_its_numbers_and_its_rooms_are_of_its_split():
    for kind in KINDS:
        for split in SPLITS:
            one, two = (generate(3, SIZES["full"], split, kind, 4) for _ in range(2))
            assert one == two and one.room in rooms_of(split, kind)
            assert one.problem != generate(4, SIZES["full"], split, kind, 4).problem
        assert not set(rooms_of(OOD, kind)) & set(rooms_of(TRAIN, kind))
        assert rooms_of(IID, kind) == rooms_of(TRAIN, kind)
    assert furniture(9) == furniture(9)
    for short in ({"receptacles": 1}, {"things": 1}, {"instances": 1}):
        kind = KINDS[3] if "receptacles" in short else KINDS[5]
        with pytest.raises(UserError, match=f"no game of type {kind} fits"):
            generate(0, replace(SIZES["mini"], **short), TRAIN, kind, 0)
    assert "go to" in generate(0, replace(SIZES["mini"], receptacles=2, things=2), TRAIN, KINDS[5], 0).plan[0]


@pytest.mark.slow
def test_the_two_engines_agree_on_a_sample_of_all_types(tmp_path):
    log = tmp_path / "log.jsonl"
    arguments = ["--games", "6", "--steps", "300", "--sizes", "mini", "--log", str(log)]
    assert check_alfworld.main(arguments) == 0
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert {record["kind"] for record in records} == set(KINDS) and sum(r["steps"] for r in records) == 300
    before = log.read_bytes()
    assert check_alfworld.main(arguments) == 0 and log.read_bytes() == before


@pytest.mark.slow
def test_a_difference_is_found_and_ends_the_check(tmp_path, monkeypatch, capsys):
    from reproduce.worlds.alfworld.stepper.stepper import Stepper

    told = Stepper.step
    monkeypatch.setattr(Stepper, "step", lambda self, command: told(self, command).replace("You open", "You shut"))
    arguments = ["--games", "1", "--steps", "400", "--sizes", "mini", "--log", str(tmp_path / "log.jsonl")]
    assert check_alfworld.main(arguments) == 1
    assert "DIFFERENT" in capsys.readouterr().out


@pytest.mark.slow
def test_both_engines_are_the_same_environment_also_with_shortcuts():
    task = SMALL.tasks(OOD)[4]
    from textworld.envs.pddl import textgen

    arguments, stock = list(sys.argv), textgen.copy_context
    played = []
    for environment in (FastAlfworld(SMALL), RealAlfworld(SMALL), RealAlfworld(SMALL, quick=True)):
        assert isinstance(environment, TextEnvironment)
        path = environment.gold_path(task)
        steps = [environment.reset(task)] + [environment.step(action) for action in ("inventory", "hop", *path)]
        played.append(steps)
        environment.close()
    assert played[0] == played[1] == played[2] and played[0][-1].success == {"won": 1.0}
    assert sys.argv == arguments
    assert textgen.copy_context is stock


@pytest.mark.slow
def test_published_games_are_found_checked_and_played(tmp_path):
    folders = {TRAIN: "train", IID: "valid_seen", OOD: "valid_unseen"}
    for split, folder in folders.items():
        for number, kind in enumerate(KINDS[:2]):
            home = tmp_path / "json_2.1.1" / folder / f"{kind}-{number}" / "trial"
            home.mkdir(parents=True)
            game = generate(1, SIZES["mini"], split, kind, number)
            game.save(home / "game.tw-pddl")
            (home / "traj_data.json").write_text(json.dumps({"task_type": kind}))
    source = PublishedGames(tmp_path)
    assert [task.kind for task in source.tasks(IID)] == sorted(KINDS[:2])
    task = source.tasks(OOD)[0]
    assert task.id == "valid_unseen/look_at_obj_in_light-1/trial"
    fast = FastAlfworld(source)
    fast.reset(task)
    assert [fast.step(action).done for action in fast.gold_path(task)][-1]
    log = tmp_path / "log.jsonl"
    assert check_alfworld.main(["--data", str(tmp_path), "--games", "2", "--steps", "40", "--log", str(log)]) == 0
    path = tmp_path / "json_2.1.1" / "train" / "pick_and_place_simple-0" / "trial" / "game.tw-pddl"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pddl_problem": None}))
    with pytest.raises(UserError, match="has no pddl_problem"):
        source.game(next(task for task in source.tasks(TRAIN) if task.kind == KINDS[0]))
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        PublishedGames(tmp_path).tasks(TRAIN)


def test_missing_data_and_wrong_versions_are_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="alfworld-download"):
        PublishedGames(tmp_path).tasks(TRAIN)
    with pytest.raises(UserError, match="no split"):
        SMALL.tasks("valid")
    with pytest.raises(UserError, match="no size"):
        GeneratedGames(0, "huge", {})
    monkeypatch.setattr(wheel, "VERSIONS", {"alfworld": "0.0.1"})
    with pytest.raises(UserError, match=r"alfworld is at version .*requirements-envs\.txt"):
        RealEngine()
    monkeypatch.setattr(wheel, "VERSIONS", {"no-such-package-here": "1"})
    with pytest.raises(UserError, match="not installed: pip install -r requirements-envs"):
        wheel.check_versions()
    assert Task("a", TRAIN, "b") < Task("b", TRAIN, "a")
