"""How ALFWorld and ScienceWorld talk to a model of the hub: EPO's messages (`prompts`) and its parsing (`actions`)."""

from collections.abc import Sequence

from reproduce.worlds.actions import (
    ACTION_CLOSE,
    ACTION_OPEN,
    ALFWORLD_FALLBACK,
    SCIENCEWORLD_FALLBACK,
    THINK_CLOSE,
    THINK_OPEN,
    ParsedAction,
    parse_action,
)
from reproduce.worlds.messages import WINDOW, Turn, alfworld_prompt, scienceworld_prompt
from reproduce.worlds.text_environment import Step

_GOAL = "Your task is to: "


class AlfworldForm:
    """Every admissible action is listed, and what the model writes between the action's tags is played as it is.

    window: past turns that a message shows (released code: 2).
    """

    def __init__(self, window: int = WINDOW):
        self.window = window

    def prompt(self, step: Step, past: Sequence[Turn], steps: int | None = None) -> str:
        """The message of a turn. past: the turns before, oldest first; steps: how many there were (default: all)."""
        goal = step.info["goal"].removeprefix(_GOAL)
        return alfworld_prompt(goal, step.text, step.admissible, past, steps=steps, window=self.window)

    def response(self, command: str) -> str:
        """The shortest answer that plays `command`."""
        return _answer(command)

    def action(self, response: str, step: Step) -> ParsedAction:
        """Action in an answer, in lower case; invalid without reasoning or without the action's tags."""
        return parse_action(response, ALFWORLD_FALLBACK, lower=True)


class ScienceWorldForm(AlfworldForm):
    """Action templates and the objects in sight are listed, and all older actions; nothing is put in lower case."""

    def prompt(self, step: Step, past: Sequence[Turn], steps: int | None = None) -> str:
        """The message of a turn, as in `AlfworldForm.prompt`. The environment must have been opened with objects."""
        info = step.info
        return scienceworld_prompt(
            info["goal"], step.text, info["templates"], info["objects"], past, steps=steps, window=self.window
        )

    def action(self, response: str, step: Step) -> ParsedAction:
        """Action in an answer; invalid without reasoning or without the action's tags."""
        return parse_action(response, SCIENCEWORLD_FALLBACK)


def _answer(command: str) -> str:
    return f"{THINK_OPEN}{THINK_CLOSE}{ACTION_OPEN}{command}{ACTION_CLOSE}"
