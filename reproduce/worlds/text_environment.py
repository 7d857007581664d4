"""The small interface of a multi-turn text environment: tasks by split, reset, step, gold path.

A `TextEnvironment` object plays one episode at a time; a batch of episodes uses a batch of objects. The caller ends an
episode after as many turns as its setting says. A `Task` names one exact task (a ScienceWorld task and variation, one
ALFWorld game), so a GRPO group is several episodes of the same `Task`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

TRAIN, IID, OOD = "train", "iid", "ood"
SPLITS = (TRAIN, IID, OOD)
"""Training tasks; EPO's IID and OOD evaluation tasks (arXiv 2509.22576)."""

ATTEMPTS = 3
"""The third loss of the same episode in a row is a UserError of the environment, so a caller may simply try again."""


@dataclass(frozen=True, order=True)
class Task:
    """One exact task. `id` is unique within the environment and stable between machines; `kind` is the task type."""

    id: str
    split: str
    kind: str


@dataclass(frozen=True)
class Step:
    """Observation after a reset or an action.

    text: the observation. admissible: actions that change or inspect something now, in the environment's order; empty
    where the environment was opened without listing them. reward: of this action alone, before any shaping; 0.0 after a
    reset. done: the environment ended the episode by itself. success: value of every named success rule if the episode
    ended here, 0.0 to 1.0. info: further facts (score, moves, the task sentence as "goal", ...).
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
    """One episode at a time. `success_rules` are the keys of `Step.success`, the main one first."""

    name: str
    success_rules: tuple[str, ...]

    def tasks(self, split: str) -> Sequence[Task]:
        """All tasks of a split, in a fixed order. UserError for an unknown split."""

    def reset(self, task: Task) -> Step:
        """Starts an episode of `task` and returns its first observation."""

    def step(self, action: str) -> Step:
        """Plays one action, admissible or not. ValueError before the first reset or after the end."""

    def gold_path(self, task: Task) -> tuple[str, ...] | None:
        """Actions of an expert that solves `task`, None where there is none. It ends the running episode."""

    def close(self) -> None:
        """Frees processes and files; safe to call twice."""
