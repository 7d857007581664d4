"""The small interface of a multi-turn text environment: tasks by split, reset, step, gold path.

A `TextEnvironment` plays one episode at a time; a batch of episodes uses a batch of environments. The caller ends an
episode after as many turns as its setting says. A `Task` names one exact task (a ScienceWorld task and variation, one
ALFWorld game), so a GRPO group is several episodes of the same `Task`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

TRAIN, IID, OOD = "train", "iid", "ood"
SPLITS = (TRAIN, IID, OOD)
"""Training tasks, and EPO's IID and OOD evaluation tasks (arXiv 2509.22576)."""

ATTEMPTS = 3
"""The third loss of the same episode in a row is a UserError of the environment, so a caller may simply try again."""


@dataclass(frozen=True, order=True)
class Task:
    """One exact task. id: unique within the environment and the same on every machine. kind: the task type."""

    id: str
    split: str
    kind: str


@dataclass(frozen=True)
class Step:
    """The observation after a reset or an action.

    text: the observation. admissible: actions that change or inspect something now, in the environment's order; empty
    if the environment does not list them. reward: of this action alone, before any shaping; 0.0 after a reset. done:
    the environment ended the episode. success: rule -> its value, 0.0 to 1.0, if the episode ended here. info: further
    facts (score, moves, the task sentence as "goal", ...).
    """

    text: str
    admissible: tuple[str, ...] = ()
    reward: float = 0.0
    done: bool = False
    success: Mapping[str, float] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)


class EpisodeLost(RuntimeError):
    """The environment failed in the middle of an episode, whose state is gone. `reset` starts the task again.

    An environment that is not deterministic cannot restore the state by playing the actions again, so the caller drops
    the episode's turns and plays it from its start.
    """


@runtime_checkable
class TextEnvironment(Protocol):
    """Plays one episode at a time. success_rules: the keys of `Step.success`, the main one first."""

    name: str
    success_rules: tuple[str, ...]

    def tasks(self, split: str) -> Sequence[Task]:
        """List all tasks of a split, in a fixed order. Raises UserError for an unknown split."""

    def reset(self, task: Task) -> Step:
        """Start an episode of `task` and return its first observation."""

    def step(self, action: str) -> Step:
        """Play one action, admissible or not. Raises ValueError before the first reset or after the end."""

    def gold_path(self, task: Task) -> tuple[str, ...] | None:
        """Return the actions of an expert that solves `task`; None if there is none. Ends the running episode."""

    def close(self) -> None:
        """Free processes and files; safe to call twice."""
