"""The user message of one turn, for environments in which every turn is a prompt of its own.

EPO's set-up (arXiv 2509.22576, App. D and released code): no system message and no earlier chat turns; the history
lives in the text. A message holds the task, the number of steps so far, the last two observations with their actions,
the current observation, what can be done now, and the instruction to reason in <think> and act in <action>. The wording
is our own. Different from the released code: steps are numbered from 1 throughout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reproduce.errors import UserError

LAST, NOW, CAN = "<last>", "<now>", "<can>"
"""Marks in the short messages for models made from scratch."""

WINDOW = 2
"""Observations of the past that are shown again (released code: history_length)."""

INSTRUCTION = (
    "Think first: reason about the task and your situation between <think> and </think>. "
    "Then give exactly one action, between <action> and </action>."
)


@dataclass(frozen=True)
class Turn:
    """A past turn: the observation that was seen before the action, and the action."""

    observation: str
    action: str


def turn_prompt(
    role: str,
    goal: str,
    observation: str,
    available: str,
    history: Sequence[Turn] = (),
    *,
    steps: int | None = None,
    window: int = WINDOW,
    older_actions: bool = False,
) -> str:
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
