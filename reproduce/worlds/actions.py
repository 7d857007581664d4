"""Parse the action in a model's turn: `<think>...</think><action>...</action>`.

The rules are those of EPO's released code (arXiv 2509.22576).
"""

import re
from dataclasses import dataclass

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ACTION_OPEN, ACTION_CLOSE = "<action>", "</action>"

ACTION_TAGS = (ACTION_OPEN, ACTION_CLOSE)

FALLBACK = 20
"""How many last characters of a response without action tags are played as the action (released code, ScienceWorld)."""

_CJK = re.compile("[\u4e00-\u9fff]")


@dataclass(frozen=True)
class ParsedAction:
    """The action's text. fault: what is wrong with the response's format, "" if nothing is."""

    text: str
    fault: str = ""

    @property
    def valid(self) -> bool:
        """Whether the response has the required format. An action that the environment does not know is valid too."""
        return not self.fault


def parse_action(response: str, fallback: int = FALLBACK, lower: bool = False) -> ParsedAction:
    """Parse a response.

    The action is the text between the first `<action>` and the first `</action>`, stripped; it is empty if they come in
    the wrong order. A response without both is invalid, and its last `fallback` characters are played. A missing
    `<think>` or `</think>`, or a Chinese character, also makes a response invalid.

    Args:
        response: the model's turn.
        fallback: characters to play without tags.
        lower: lower-case the action and find its tags in any case, as for ALFWorld.
    """
    text = response.lower() if lower else response
    start, end = text.find(ACTION_OPEN), text.find(ACTION_CLOSE)
    if start < 0 or end < 0:
        return ParsedAction(text[-fallback:], "no action")
    action = text[start + len(ACTION_OPEN) : end].strip()
    if THINK_OPEN not in response or THINK_CLOSE not in response:
        return ParsedAction(action, "no reasoning")
    if _CJK.search(response):
        return ParsedAction(action, "other script")
    return ParsedAction(action)


def response_of(command: str) -> str:
    """Write the shortest response in the required format that plays `command`."""
    return f"{THINK_OPEN}{THINK_CLOSE}{ACTION_OPEN}{command}{ACTION_CLOSE}"
