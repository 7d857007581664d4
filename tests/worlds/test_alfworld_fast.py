"""The ALFWorld stepper says what the real engine said in recorded games, and refuses what it cannot vouch for."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
from record_alfworld import FOLDER, digest

from reproduce.errors import UserError
from reproduce.worlds.alfworld.stepper.files import read_games, write_games
from reproduce.worlds.alfworld.stepper.game import KINDS, Game, display_names
from reproduce.worlds.alfworld.stepper.pddl import Disjunct, Literal
from reproduce.worlds.alfworld.stepper.rules import rules_from_json
from reproduce.worlds.alfworld.stepper.stepper import NOTHING, Stepper, load_game
from reproduce.worlds.minihouse.environment import FOLDER as MINIHOUSE

RULES = rules_from_json(json.loads((MINIHOUSE / "rules.json").read_text()))
GAMES = {game.id: game for game in read_games(FOLDER / "games.jsonl", RULES)}
TRACES = [json.loads(line) for line in (FOLDER / "traces.jsonl").read_text().splitlines()]


def loaded(start: str = "full"):
    return load_game(RULES, next(game for id, game in GAMES.items() if id.startswith(start)))


def changed(game: Game, add=(), drop=()) -> Game:
    return replace(game, facts=(game.facts - set(drop)) | set(add))


def refusal(game: Game) -> str:
    with pytest.raises(UserError) as error:
        load_game(RULES, game)
    assert game.id in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace["game"])
def test_every_recorded_step_of_the_real_engine(trace):
    episode = Stepper(load_game(RULES, GAMES[trace["game"]]))
    assert episode.intro() == trace["text"]
    assert list(episode.admissible()) == trace["admissible"]
    for turn, (command, text, won, commands) in enumerate(trace["steps"]):
        assert (episode.step(command), int(episode.won)) == (text, won), (turn, command)
        assert digest(episode.admissible()) == commands, (turn, command)


def test_the_recordings_cover_all_types_texts_and_ends():
    assert {GAMES[trace["game"]].kind for trace in TRACES} == set(KINDS)
    said = " ".join(text for trace in TRACES for _, text, _, _ in trace["steps"])
    for phrase in ("Nothing happens", "is closed", "is open", "You move", "using the", "turn on", "carrying", "normal"):
        assert phrase in said, phrase
    assert sum(any(won for _, _, won, _ in trace["steps"]) for trace in TRACES) >= 10


def test_a_command_that_is_not_admissible_changes_nothing():
    episode = Stepper(loaded())
    before = (set(episode.facts), episode.admissible(), copy.deepcopy(episode.tables))
    for command in ("", "fly away", "LOOK", "go to nowhere 1", "take everything"):
        assert episode.step(command) == NOTHING
    assert before == (episode.facts, episode.admissible(), episode.tables)
    assert episode.step("  look ") != NOTHING


def test_two_episodes_of_one_game_do_not_touch_each_other():
    game = loaded("mini")
    one, two = Stepper(game), Stepper(game)
    for command in game.game.plan:
        one.step(command)
    assert one.won and not two.won
    assert two.admissible() == Stepper(game).admissible() and two.intro() == Stepper(game).intro()


def test_one_cannot_go_to_where_one_is():
    episode = Stepper(loaded())
    there = next(command for command in episode.admissible() if command.startswith("go to "))
    episode.step(there)
    assert there not in episode.admissible() and episode.step(there) == NOTHING


def test_rules_that_were_not_compared_are_refused():
    value = json.loads((MINIHOUSE / "rules.json").read_text())
    value["productions"]["list_empty"][0][1][0][1] = "nothing at all"
    with pytest.raises(UserError, match="not proven for these rules"):
        load_game(rules_from_json(value), next(iter(GAMES.values())))


def test_games_outside_of_what_was_proven_are_refused():
    game = next(game for game in GAMES.values() if game.kind == "pick_and_place_simple")
    place = next(fact for fact in game.facts if fact[0] == "atlocation")
    first, second = sorted(id for id, kind in game.objects.items() if kind == "receptacle")[:2]
    location = next(fact for fact in game.facts if fact[:2] == ("receptacleatlocation", first))
    other = next(id for id, kind in game.objects.items() if kind == "location" and id not in (location[2], place[2]))
    assert "exactly once" in refusal(changed(game, drop=[place]))
    assert "two objects are called" in refusal(replace(game, names={**game.names, first: game.names[second]}))
    assert "a word and a number" in refusal(replace(game, names={**game.names, first: "box 1 from box 2"}))
    assert "has no name" in refusal(replace(game, names={k: v for k, v in game.names.items() if k != first}))
    assert "does not tell which" in refusal(changed(game, add=[("receptacleatlocation", first, other)]))
    thing = next(id for id, kind in game.objects.items() if kind == "object")
    assert "several types" in refusal(changed(game, add=[("receptacleatlocation", thing, other)]))
    harmless = changed(game, add=[("objectatlocation", first, other)])
    assert Stepper(load_game(RULES, harmless)).admissible() == Stepper(load_game(RULES, game)).admissible()
    assert "expert's plan" in refusal(replace(game, plan=game.plan[:-1]))
    assert "expert's plan" in refusal(replace(game, plan=()))
    lamp = ((Disjunct((("?o", "object"),), (Literal("ison", ("?o",)),)),),)
    assert "ison" in refusal(replace(game, goal=lamp))
    held = ((Disjunct((), (Literal(place[0], place[1:]),)),),)
    assert "before the first action" in refusal(replace(game, goal=held))


def test_names_count_down_and_basins_are_named_so():
    ids = [f"apple_bar__plus_0{n}_dot_00" for n in (1, 2, 3)] + ["sink_bar__minus_01_dot_00_bar_sinkbasin"]
    names = display_names(frozenset(("pickupable", id) for id in ids) | {("holdsany", "agent1")})
    assert [names[id] for id in ids] == ["apple 3", "apple 2", "apple 1", "sinkbasin 1"]
    assert names["agent1"] == "agent1 "


def test_written_games_read_back_as_they_were(tmp_path):
    write_games(tmp_path / "games.jsonl", list(GAMES.values()))
    assert (tmp_path / "games.jsonl").read_bytes() == (FOLDER / "games.jsonl").read_bytes()
    assert {game.id: game for game in read_games(tmp_path / "games.jsonl", RULES)} == GAMES


@pytest.mark.parametrize("content", ["", "{}\n{}\n", '{"facts": {}, "goals": []}\n{"id": 1}\n', "not json\n"])
def test_a_damaged_file_of_games_is_named(tmp_path, content):
    path: Path = tmp_path / "train.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=r"train\.jsonl is damaged"):
        read_games(path, RULES)
    path.unlink()
    with pytest.raises(UserError, match=r"train\.jsonl is missing"):
        read_games(path, RULES)
