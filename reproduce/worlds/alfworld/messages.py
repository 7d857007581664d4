"""ALFWorld's messages for a Hub model: every admissible action is listed, as in EPO's messages."""

from collections.abc import Sequence

from reproduce.worlds.actions import ParsedAction, parse_action, response_of
from reproduce.worlds.messages import WINDOW, Turn, turn_prompt
from reproduce.worlds.text_environment import Step

ROLE = "You live in ALFRED's household, a text world in which you carry out chores step by step."
GOAL = "Your task is to: "
FALLBACK = 30
"""How many last characters of a response without action tags are played as the action (released code)."""


def alfworld_prompt(
    goal: str,
    observation: str,
    admissible: Sequence[str],
    history: Sequence[Turn] = (),
    *,
    steps: int | None = None,
    window: int = WINDOW,
) -> str:
    """Write the message of a turn: every admissible action is listed, `help` is left out."""
    available = "Possible actions:\n" + "\n".join(f"- {action}" for action in admissible if action != "help")
    return turn_prompt(ROLE, goal, observation, available, history, steps=steps, window=window)


class AlfworldForm:
    """Plays the text that the model writes between the action's tags as it is, in lower case.

    window: past turns that a message shows (released code: 2).
    """

    def __init__(self, window: int = WINDOW):
        self.window = window

    def prompt(self, step: Step, past: Sequence[Turn], steps: int | None = None) -> str:
        """Write the message of a turn. past: the turns before, oldest first. steps: how many there were; None: all of
        `past`.
        """
        goal = step.info["goal"].removeprefix(GOAL)
        return alfworld_prompt(goal, step.text, step.admissible, past, steps=steps, window=self.window)

    def response(self, command: str) -> str:
        """Write the shortest answer that plays `command`."""
        return response_of(command)

    def action(self, response: str, step: Step) -> ParsedAction:
        """Parse the action in an answer, in lower case; invalid without reasoning or without the action's tags."""
        return parse_action(response, FALLBACK, lower=True)
