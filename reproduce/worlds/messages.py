"""The user message of one turn, for environments in which every turn is a prompt of its own.

EPO's set-up (arXiv 2509.22576, App. D and released code): no system message and no earlier chat turns; the history
lives in the text. A message holds the task, the number of steps so far, the last two observations with their actions,
the current observation, what can be done now, and the instruction to reason in <think> and act in <action>. The wording
is our own. Different from the released ScienceWorld prompt: the action templates are those that the simulator really
accepts under its simplifications (the released list writes `go to LOC` and knows no teleport), and steps are numbered
from 1 throughout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reproduce.errors import UserError

WINDOW = 2
"""Observations of the past that are shown again (released code: history_length)."""

SCIENCEWORLD_ROLE = "You are a scientist in ScienceWorld, a text world of ten rooms in which you carry out experiments."
ALFWORLD_ROLE = "You live in ALFRED's household, a text world in which you carry out chores step by step."

INSTRUCTION = (
    "Think first: reason about the task and your situation between <think> and </think>. "
    "Then give exactly one action, between <action> and </action>."
)

TEMPLATE_HELP = {
    "activate OBJ": "switch a device on",
    "close OBJ": "close a door or a container",
    "connect OBJ to OBJ": "join two electrical parts",
    "deactivate OBJ": "switch a device off",
    "disconnect OBJ": "take an electrical part off the others",
    "dunk OBJ in OBJ": "dip a container into a liquid",
    "eat OBJ": "eat something",
    "flush OBJ": "flush a toilet",
    "focus on OBJ": "point out the object that the task asks for; the wrong one fails the task",
    "go OBJ": "walk to a neighbouring room",
    "inventory": "list what you carry",
    "look around": "describe the room",
    "look at OBJ": "describe an object",
    "look in OBJ": "list what a container holds",
    "mix OBJ": "mix what a container holds",
    "move OBJ to OBJ": "put an object into a container or room",
    "open OBJ": "open a door or a container",
    "pick up OBJ": "take an object along",
    "pour OBJ in OBJ": "pour a liquid into a container",
    "put down OBJ": "drop an object that you carry",
    "read OBJ": "read a text",
    "reset task": "begin the task's steps again",
    "task": "repeat the task",
    "teleport OBJ": "be at once in any of the ten rooms, as in teleport to kitchen",
    "use OBJ on OBJ": "use a tool or device on something",
    "wait": "let ten steps pass",
    "wait1": "let one step pass",
}
"""One line on each action template of ScienceWorld, electrical ones included."""


@dataclass(frozen=True)
class Turn:
    """A past turn: the observation that was seen before the action, and the action."""

    observation: str
    action: str


def turn_prompt(
    role: str, goal: str, observation: str, available: str, history: Sequence[Turn] = (), *, steps: int | None = None,
    window: int = WINDOW, older_actions: bool = False,
) -> str:  # fmt: skip
    """The user message of the next turn.

    history: past turns, oldest first; the last `window` are shown whole. older_actions: name the actions of all earlier
    ones too. steps: number of actions taken so far, if `history` no longer has them all (default: its length).
    """
    steps = len(history) if steps is None else steps
    numbered = list(enumerate(history, start=steps - len(history) + 1))
    split = max(len(history) - window, 0)
    older, recent = numbered[:split], numbered[split:]
    parts = [role, f"Task: {goal}"]
    if steps:
        parts.append(f"Steps taken so far: {steps}.")
    if older and older_actions:
        parts.append("Earlier actions:\n" + "\n".join(f"[{n}] {turn.action}" for n, turn in older))
    if recent:
        shown = [f"[{n}] Observation: {turn.observation}\n[{n}] Action: {turn.action}" for n, turn in recent]
        parts.append("What you saw and did last:\n" + "\n".join(shown))
    parts.append(f"Step {steps + 1}. Current observation: {observation}")
    return "\n\n".join([*parts, available, INSTRUCTION])


def scienceworld_prompt(
    goal: str, observation: str, templates: Sequence[str], objects: Sequence[str], history: Sequence[Turn] = (), *,
    steps: int | None = None, window: int = WINDOW,
) -> str:  # fmt: skip
    """ScienceWorld's message: templates with a word on each, the objects in sight, and all older actions."""
    lines = [f"- {template}: {TEMPLATE_HELP.get(template, 'another action')}" for template in templates]
    available = (
        "Actions (OBJ stands for an object):\n" + "\n".join(lines) + f"\nObjects in sight: {', '.join(objects)}\n"
        "Example: <action>look at door</action>"
    )
    return turn_prompt(
        SCIENCEWORLD_ROLE, goal, observation, available, history, steps=steps, window=window, older_actions=True
    )


def alfworld_prompt(
    goal: str, observation: str, admissible: Sequence[str], history: Sequence[Turn] = (), *,
    steps: int | None = None, window: int = WINDOW,
) -> str:  # fmt: skip
    """ALFWorld's message: every admissible action is listed, `help` is left out."""
    available = "Possible actions:\n" + "\n".join(f"- {action}" for action in admissible if action != "help")
    return turn_prompt(ALFWORLD_ROLE, goal, observation, available, history, steps=steps, window=window)


def fit_history(
    build: Callable[[Sequence[Turn]], str], history: Sequence[Turn], limit: int, length: Callable[[str], int]
) -> str:
    """The longest message `build(history)` within `limit` tokens (as `length` counts them): oldest turns go first.

    `build` gives `turn_prompt` the full number of `steps`, so the numbers stay right.
    So the text that is sampled from is the text that is trained on, and the task is always in it; cutting tokens on
    the left, as the released code does to its training rows, removes the task. UserError if none fits.
    """
    for start in range(len(history) + 1):
        prompt = build(history[start:])
        if length(prompt) <= limit:
            return prompt
    raise UserError(
        f"prompt: without any history it has {length(prompt)} tokens and the limit is {limit}; raise the prompt limit"
    )
