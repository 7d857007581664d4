"""MiniHouse: the committed games are balanced, solvable, distinct between splits, and played without any extra."""

import json
from collections import Counter

import numpy as np
import pytest

from reproduce.errors import UserError
from reproduce.worlds.alfworld.demonstrations import Errand, demonstrate, read_errand
from reproduce.worlds.alfworld.source import CommittedGames
from reproduce.worlds.alfworld.stepper.environment import FastAlfworld, LoadedGames
from reproduce.worlds.alfworld.stepper.game import KINDS
from reproduce.worlds.alfworld.stepper.stepper import NOTHING
from reproduce.worlds.minihouse.environment import FOLDER, PER_KIND, TURNS, open_minihouse
from reproduce.worlds.text_environment import SPLITS, TRAIN, TextEnvironment

SOURCE = CommittedGames(FOLDER)


def a_task(kind="pick_heat_then_place_in_recep", split=TRAIN):
    return next(task for task in SOURCE.tasks(split) if task.kind == kind)


def test_every_split_has_as_many_games_of_every_type_and_none_twice():
    contents = []
    for split in SPLITS:
        tasks = SOURCE.tasks(split)
        assert Counter(task.kind for task in tasks) == dict.fromkeys(KINDS, PER_KIND[split])
        assert len({task.id for task in tasks}) == len(tasks)
        for task in tasks:
            game = SOURCE.game(task)[1]
            contents.append(json.dumps([game.task, sorted(game.facts), sorted(game.names.items())]))
    assert len(set(contents)) == len(contents)


def test_the_expert_wins_every_game_within_the_turns_and_only_its_last_action_is_rewarded():
    environment = open_minihouse()[0]
    for split in SPLITS:
        for task in environment.tasks(split)[::10]:
            path = environment.gold_path(task)
            step = environment.reset(task)
            assert path and len(path) <= TURNS and step.info["goal"].startswith("Your task is to: ")
            rewards = []
            for action in path:
                assert action in step.admissible and not step.done
                step = environment.step(action)
                rewards.append(step.reward)
            assert rewards == [0.0] * (len(path) - 1) + [1.0]
            assert step.done and step.success == {"won": 1.0} and step.info["score"] == 1


def test_the_environments_share_loaded_games_but_not_episodes():
    one, two = open_minihouse(2)
    assert isinstance(one, TextEnvironment)
    task = a_task()
    first, _ = one.reset(task), two.reset(task)
    assert one.episode.loaded is two.episode.loaded
    one.step(first.admissible[0])
    assert two.reset(task) == first


def test_an_environment_needs_a_reset_before_a_step_and_after_the_end():
    environment, task = open_minihouse()[0], a_task("pick_and_place_simple")
    with pytest.raises(ValueError, match="reset"):
        environment.step("look")
    environment.reset(task)
    assert environment.step("sing").text == NOTHING
    for action in environment.gold_path(task):
        environment.step(action)
    with pytest.raises(ValueError, match="reset"):
        environment.step("look")
    with pytest.raises(UserError, match="no split 'test'"):
        environment.tasks("test")


def test_only_the_last_loaded_games_are_kept():
    games = LoadedGames(SOURCE, kept=2)
    environment = FastAlfworld(SOURCE, games)
    tasks = SOURCE.tasks(TRAIN)[:3]
    first = environment.reset(tasks[0])
    for task in tasks[1:]:
        environment.reset(task)
    assert (games.load.cache_info().currsize, games.load.cache_info().misses) == (2, 3)
    assert environment.reset(tasks[0]) == first and games.load.cache_info().misses == 4, "it was dropped"


def test_missing_files_and_the_real_engine_are_named(tmp_path):
    with pytest.raises(UserError, match=r"rules\.json is missing"):
        open_minihouse(folder=tmp_path)
    (tmp_path / "rules.json").write_text((FOLDER / "rules.json").read_text())
    with pytest.raises(UserError, match=r"train\.jsonl is missing"):
        open_minihouse(folder=tmp_path)[0].tasks(TRAIN)
    with pytest.raises(UserError, match="no files for the real engine"):
        SOURCE.content(a_task())


@pytest.mark.parametrize(
    ("sentence", "errand"),
    [
        ("put a mug in shelf", Errand("mug", "shelf")),
        ("put some mug on shelf", Errand("mug", "shelf")),
        ("put a clean pan in fridge", Errand("pan", "fridge", treatment="clean")),
        ("heat some egg and put it in sinkbasin", Errand("egg", "sinkbasin", treatment="heat")),
        ("put a hot egg in sinkbasin", Errand("egg", "sinkbasin", treatment="heat")),
        ("cool some pot and put it in stoveburner", Errand("pot", "stoveburner", treatment="cool")),
        ("find two cd and put them in safe", Errand("cd", "safe", 2)),
        ("put two cd in safe", Errand("cd", "safe", 2)),
        ("look at book under the desklamp", Errand("book", "desklamp", use=True)),
        ("examine the book with the floorlamp", Errand("book", "floorlamp", use=True)),
    ],
)
def test_task_sentences_are_understood(sentence, errand):
    assert read_errand(f"Your task is to: {sentence}.") == errand


def test_every_committed_sentence_is_understood_and_another_one_is_refused():
    for split in SPLITS:
        for task in SOURCE.tasks(split):
            read_errand(SOURCE.game(task)[1].task)
    with pytest.raises(UserError, match="not one of ALFWorld's sentences"):
        read_errand("Your task is to: slice the bread.")


def test_the_player_wins_by_what_it_sees_and_noise_costs_it_games():
    environment = open_minihouse()[0]
    tasks = [task for split in SPLITS for task in environment.tasks(split)[:30]]
    wins, lengths = {}, {}
    for noise in (0.0, 0.6, 1.0):
        played = [demonstrate(environment, t, np.random.default_rng(i), noise, TURNS) for i, t in enumerate(tasks)]
        wins[noise] = np.mean([won for _, won in played])
        lengths[noise] = np.mean([len(turns) for turns, _ in played])
    assert wins[0.0] == 1.0 and lengths[0.0] < 15
    assert wins[1.0] < 0.15 < wins[0.6] < 1.0
    assert lengths[0.0] < lengths[0.6] < lengths[1.0]


def test_the_player_plays_admissible_actions_and_the_same_ones_for_the_same_seed():
    environment, task = open_minihouse()[0], a_task("pick_two_obj_and_place", "ood")
    one, two = (demonstrate(environment, task, np.random.default_rng(3), 0.3, TURNS)[0] for _ in range(2))
    assert one == two
    assert all(action in step.admissible and action != "help" for step, action in one)


def test_the_player_searches_in_the_listed_order_from_where_it_is_so_that_its_message_tells_what_it_does():
    environment = open_minihouse()[0]
    for kind in ("pick_and_place_simple", "look_at_obj_in_light"):
        task = a_task(kind)
        played, _ = demonstrate(environment, task, np.random.default_rng(1), 0.0, TURNS)
        places = sorted(action for action in played[0][0].admissible if action.startswith("go to "))
        searched = [a for _, a in played[: [a.split()[0] for _, a in played].index("take")] if a in places]
        first = places.index(searched[0])
        assert searched == [places[(first + i) % len(places)] for i in range(len(searched))]
