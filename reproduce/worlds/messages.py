"""The user message of one turn, for environments in which every turn is a prompt.

This is EPO's set-up (arXiv 2509.22576, App. D and released code): no system message and no earlier chat turns; the text
holds the history. A message holds the task, the number of steps so far, the last two observations with their actions,
the current observation, the possible actions, and the instruction to reason in <think> and act in <action>. The wording
is ours. Unlike the released code, we number steps from 1 throughout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reproduce.errors import UserError

LAST, NOW, CAN = "<last>", "<now>", "<can>"
"""Marks in the short messages for models that are trained from scratch."""

WINDOW = 2
"""Past observations that a message shows again (released code: history_length)."""

INSTRUCTION = (
    "Think first: reason about the task and your situation between <think> and </think>. "
    "Then give exactly one action, between <action> and </action>."
)


@dataclass(frozen=True)
class Turn:
    """A past turn: the observation before the action, and the action."""

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
    """Write the user message of the next turn.

    Args:
        role: who the model is.
        goal: the task.
        observation: the current observation.
        available: the possible actions.
        history: past turns, oldest first.
        steps: number of actions so far, if `history` no longer has them all; None: its length.
        window: past turns that are shown whole.
        older_actions: also name the actions of all earlier turns.
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
    """Build the longest message within a limit; the oldest turns are left out first.

    The text that is sampled from is the text that is trained on, and the task is always in it. The released code cuts
    its training rows on the left instead, which removes the task.

    Args:
        build: build(history) -> message; it gives `turn_prompt` the full number of `steps`, so the numbers stay right.
        history: past turns, oldest first.
        limit: in tokens.
        length: length(message), in tokens.

    Raises:
        UserError: even the message without history is too long.
    """
    for start in range(len(history) + 1):
        prompt = build(history[start:])
        if length(prompt) <= limit:
            return prompt
    raise UserError(
        f"prompt: without any history it has {length(prompt)} tokens and the limit is {limit}; raise the prompt limit"
    )
