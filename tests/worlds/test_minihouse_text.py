"""MiniHouse in few words: every command has one short form, every word is known, and answers mean what they say."""

import numpy as np
import pytest
from house import loaded

from reproduce.worlds.alfworld.demonstrations import demonstrate
from reproduce.worlds.messages import Turn
from reproduce.worlds.minihouse.messages import MiniHouseForm, short
from reproduce.worlds.text_environment import Step


@pytest.fixture(scope="module")
def episodes():
    """Noisy demonstrations on games of all kinds and splits: lists of (step, action)."""
    setup, _ = loaded()
    environment = setup.task.environments(1)[0]
    questions = setup.task.panel("validation", 2) + setup.task.panel("test", 2)
    rng = np.random.default_rng(0)
    return [demonstrate(environment, question.task, rng, 0.6, 30)[0] for question in questions]


def steps(episodes):
    return [step for played in episodes for step, _ in played]


def test_every_admissible_command_is_the_answer_that_plays_it(episodes):
    form = loaded()[0].task.form
    for step in steps(episodes):
        assert len({short(command) for command in step.admissible}) == len(step.admissible)
        for command in step.admissible:
            action = form.action(form.response(command), step)
            assert (action.text, action.valid) == (command, True)


def test_messages_and_answers_hold_no_unknown_word_and_stay_short(episodes):
    setup, tokenizer = loaded()
    lengths = []
    for played in episodes:
        past = [Turn(step.text, action) for step, action in played]
        for turn, (step, action) in enumerate(played):
            text = f"{setup.task.form.prompt(step, past[:turn])} {setup.task.form.response(action)}"
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert tokenizer.unk_token_id not in ids and len(ids) == len(text.split()), text
            lengths.append(len(ids))
    assert np.mean(lengths) < 45 and max(lengths) < 90


FRIDGE = Step(
    "You open the fridge 1. The fridge 1 is open. In it, you see a bread 1, and a mug 2.",
    (
        "close fridge 1",
        "examine fridge 1",
        "go to drawer 1",
        "go to drawer 3",
        "go to shelf 1",
        "help",
        "look",
        "take bread 1 from fridge 1",
        "take mug 2 from fridge 1",
    ),
    info={"goal": "Your task is to: put a hot bread in fridge."},
)
THINGS, PLACES = ("bread", "mug", "mug2"), ("drawer", "drawer3", "fridge", "shelf")


def test_a_message_holds_goal_last_actions_observation_and_every_action_but_help():
    form = MiniHouseForm(THINGS, PLACES)
    past = [Turn("seen", action) for action in ("look", "go to fridge 1", "open fridge 1")]
    expected = (
        "put a hot bread in fridge <last> go fridge open fridge <now> fridge open bread mug2 <can> "
        "close fridge examine fridge go drawer drawer3 <here> shelf look take bread mug2"
    )
    assert form.prompt(FRIDGE, past) == expected
    assert MiniHouseForm(THINGS, PLACES, window=0).prompt(FRIDGE, past).split("<last> ")[1].startswith("<now>")
    assert form.action("<action> take mug2 </action>", FRIDGE).text == "take mug 2 from fridge 1"


def test_where_one_is_is_marked_by_what_can_be_examined_and_held_things_are_not_places():
    form = MiniHouseForm(THINGS, PLACES)
    places = ("go to drawer 1", "go to fridge 1")
    holding = Step("", ("examine bread 1", "examine drawer 3", *places), info=FRIDGE.info)
    assert form.prompt(holding, []).endswith("go drawer <here> fridge")
    start = Step("", places, info=FRIDGE.info)
    assert form.prompt(start, []).endswith("<can> go drawer fridge")


def test_what_cannot_be_played_is_passed_on_and_what_has_no_tags_is_a_fault():
    form, step = MiniHouseForm([], ["fridge"]), Step("", ("open fridge 1", "look"))
    assert form.action("<action> open drawer </action>", step).text == "open drawer"
    assert form.action("<action> open drawer </action>", step).valid, "not admissible is not a wrong format"
    missing = form.action("look", step)
    assert (missing.text, missing.fault) == ("look", "no action")
    assert not form.action("<action> look", step).valid
