"""Prompts, the action parser and whole episodes of the multi-turn environments, without any simulator."""

import pytest

from reproduce.errors import UserError
from reproduce.worlds.actions import parse_action
from reproduce.worlds.alfworld.messages import FALLBACK, alfworld_prompt
from reproduce.worlds.messages import INSTRUCTION, Turn, fit_history
from reproduce.worlds.play import play, replay
from reproduce.worlds.scienceworld.messages import scienceworld_prompt
from reproduce.worlds.text_environment import EpisodeLost, Step, Task

GOOD = "<think>the sink</think><action> focus on Sink </action>"
HISTORY = [Turn(f"saw {n}", f"did {n}") for n in range(1, 6)]


def science(history=HISTORY, **settings) -> str:
    return scienceworld_prompt("boil water", "a pot", ["open OBJ", "wait"], ["pot", "stove"], history, **settings)


def test_action_is_the_text_between_its_tags_and_keeps_its_case_unless_asked():
    assert (parse_action(GOOD).text, parse_action(GOOD).valid) == ("focus on Sink", True)
    shouted = parse_action(GOOD.replace("action>", "ACTION>"), FALLBACK, lower=True)
    assert (shouted.text, shouted.valid) == ("focus on sink", True)


@pytest.mark.parametrize(
    ("response", "text", "fault"),
    [
        ("go to the kitchen and look around you", "d look around you", "no action"),
        ("<think>a</think><action>open door", "<action>open door", "no action"),
        ("<action>wait</action>", "wait", "no reasoning"),
        ("<think>a<action>wait</action>", "wait", "no reasoning"),
        ("<think>\u706b</think><action>wait</action>", "wait", "other script"),
        ("<think>a</think><action>wait</action> <action>open door</action>", "wait", ""),
        ("<think>a</think></action><action>wait", "", ""),
        ("", "", "no action"),
    ],
)
def test_faults_of_a_response_as_the_released_code_finds_them(response, text, fault):
    parsed = parse_action(response, fallback=17)
    assert (parsed.text, parsed.fault, parsed.valid) == (text, fault, not fault)


def test_first_message_has_task_observation_actions_and_instruction_but_no_history():
    text = science([])
    assert "boil water" in text and "Step 1. Current observation: a pot" in text
    assert "- open OBJ" in text and "pot, stove" in text and text.endswith(INSTRUCTION)
    assert "taken so far" not in text and "did" not in text


def test_later_message_shows_two_observations_and_scienceworld_names_all_older_actions():
    text = science()
    assert "Steps taken so far: 5." in text and "Step 6. Current" in text
    assert [n for n in range(1, 6) if f"[{n}] Observation: saw {n}" in text] == [4, 5]
    assert [n for n in range(1, 6) if f"[{n}] did {n}" in text] == [1, 2, 3]
    assert text.index("[4] Action: did 4") < text.index("[5] Observation: saw 5") < text.index("a pot")


def test_alfworld_message_lists_admissible_actions_without_help_and_only_the_recent_past():
    text = alfworld_prompt("put a mug", "a desk", ["go to desk 1", "help", "look"], HISTORY)
    assert "- go to desk 1\n- look" in text and "help" not in text
    assert "did 3" not in text and "[4] Action: did 4" in text


def test_a_limit_drops_the_oldest_turns_first_and_never_the_task():
    def build(history):
        return science(history, steps=len(HISTORY))

    whole = build(HISTORY)
    assert fit_history(build, HISTORY, len(whole), len) == whole
    shorter = fit_history(build, HISTORY, len(whole) - 1, len)
    assert "did 1" not in shorter and "[2] did 2" in shorter and "Step 6" in shorter
    shortest = fit_history(build, HISTORY, len(build([])), len)
    assert "boil water" in shortest and "did 5" not in shortest and "Steps taken so far: 5." in shortest
    with pytest.raises(UserError, match="the limit is 5"):
        fit_history(build, HISTORY, 5, len)


class Corridor:
    """Ends at its third step; loses the episode in the middle as many times as it is told to."""

    name, success_rules = "corridor", ("strict",)

    def __init__(self, losses: int = 0):
        self.losses, self.resets = losses, 0

    def reset(self, task):
        self.position, self.resets = 0, self.resets + 1
        return Step("start")

    def step(self, action):
        self.position += 1
        if self.position == 2 and self.losses:
            self.losses -= 1
            raise EpisodeLost("gone")
        return Step(f"{action} {self.position}", done=self.position == 3, success={"strict": 1.0})


def test_an_episode_ends_with_the_environment_the_turns_or_the_policy():
    task = Task("a/1", "iid", "a")
    assert play(Corridor(), task, lambda steps, actions: "go", turns=9).actions == ("go",) * 3
    assert play(Corridor(), task, lambda steps, actions: "go", turns=2).last.text == "go 2"
    short = play(Corridor(), task, replay(("north",)), turns=9)
    assert short.actions == ("north",) and len(short.steps) == 2 and not short.last.done


def test_a_lost_episode_is_played_again_from_its_start_and_keeps_nothing_of_the_lost_one():
    corridor = Corridor(losses=2)
    seen = []
    episode = play(corridor, Task("a/1", "iid", "a"), lambda steps, actions: seen.append(len(steps)) or "go", turns=9)
    assert corridor.resets == 3 and len(episode.actions) == 3
    assert seen == [1, 2, 1, 2, 1, 2, 3]
