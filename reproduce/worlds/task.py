"""Protocols of a world: the task that it opens for a run, and what can be asked before one is opened.

Every world's `task.py` ends with `WORLD = World(...)`, and `registry.py` lists it. There are two kinds: in worlds of
tools a trajectory is one prompt with tool results in its completion (`ToolTask`, `ToolServer`); in worlds of episodes
every turn is a prompt of its own (`episode_task.EpisodeTask`, `TextEnvironment`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from reproduce.config.sections import TaskConfig
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.worlds.rewards import Reward
from reproduce.worlds.tool_server import ToolServer

Grader = Callable[[Any, str | None], bool]
"""(question, final answer) -> whether it is right (`reproduce.evaluation.graders.grade`)."""


class Question(Protocol):
    """One question or episode, as records name it. level: its difficulty. gold: the accepted answer, or a solution."""

    id: str
    family: str
    level: int
    split: str
    gold: str


class Task(Protocol):
    """Questions of a world, in families that are trained on in turn and evaluated each."""

    families: Sequence[str]
    repeatable: bool
    """Whether the world says the same to the same actions. Otherwise finished episodes are kept until a run ends."""

    def train_questions(self, count: int, seed: int) -> list[Question]:
        """`count` training questions in the order of a run's data stream."""

    def panel(self, split: str, count: int) -> list[Question]:
        """`count` questions of each family of "validation" or "test", always the same. UserError if there are fewer."""

    def panel_size(self, split: str) -> int:
        """The most that `panel` can be asked for."""

    def prompt(self, question: Question) -> str:
        """Text of a question."""

    def demonstrations(self, count: int, noise: float, turns: int, seed: int) -> Iterator[Any]:
        """`count` solved training questions for the warm start of a model made from scratch.

        In worlds of tools objects with `question` and `pieces`, (text, whether it is learned); in worlds of episodes a
        list of (step, action), one for each turn. noise: share of poor decisions. turns: the most calls or turns.
        """


class ToolTask(Task, Protocol):
    """The task of a world of tools."""

    environment: ToolServer
    call_type: type
    """`tool_server.Call`."""

    def system_prompt(self, question: Question) -> str:
        """System message for a model of the hub."""

    def score(self, question: Question, text: str) -> Reward:
        """Reward of a completion, tool results in it."""


def _nothing(config: JobConfig) -> None:
    return None


def _unchanged(config: JobConfig) -> TaskConfig:
    return config.task


@dataclass(frozen=True)
class World:
    """A world of the registry.

    open(config, grader): the task of a run, with all that it needs open; raises UserError if it cannot be.
    words(task settings): the vocabulary of a model made from scratch. runs_code: it runs programs of the model's.
    settings: those of `task.episodes` that this world alone reads. check: raises UserError for a missing package.
    panels: a task whose panels can be looked at with nothing open, None where there is no such thing.
    freeze: the settings of the task with hashes of what it reads from outside the repository.
    """

    open: Callable[[JobConfig, Grader], AbstractContextManager[Task]]
    words: Callable[[TaskConfig], Sequence[str]]
    runs_code: bool = False
    settings: tuple[str, ...] = ()
    check: Callable[[JobConfig], None] = _nothing
    panels: Callable[[JobConfig], Task | None] = _nothing
    freeze: Callable[[JobConfig], TaskConfig] = _unchanged


def no_words(task: TaskConfig) -> Sequence[str]:
    """`World.words` of a world that only models of the hub can read."""
    raise UserError(f"model.name_or_path is missing: a model made from scratch cannot read the world {task.world}")
