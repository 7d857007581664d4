"""Protocols of a world: the task that it opens for a run, and the questions that it answers before one is opened.

Every world's `task.py` ends with `WORLD = World(...)`, and `registry.py` lists it. There are two kinds. In worlds of
tools a trajectory is one prompt with tool results in its completion (`ToolTask`, `ToolServer`). In worlds of episodes
every turn is a prompt (`episode_task.EpisodeTask`, `TextEnvironment`).
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
    """Questions of a world, in families. Training takes the families in turn; evaluation reports each."""

    families: Sequence[str]
    repeatable: bool
    """Whether the world gives the same answers to the same actions. Otherwise finished episodes are kept until a run
    ends.
    """

    def train_questions(self, count: int, seed: int) -> list[Question]:
        """Return `count` training questions in the order of a run's data stream."""

    def panel(self, split: str, count: int) -> list[Question]:
        """Return `count` questions of each family of "validation" or "test", always the same ones.

        Raises:
            UserError: there are fewer.
        """

    def panel_size(self, split: str) -> int:
        """Return the largest count that `panel` takes."""

    def prompt(self, question: Question) -> str:
        """Return the text of a question."""

    def demonstrations(self, count: int, noise: float, turns: int, seed: int) -> Iterator[Any]:
        """Yield `count` solved training questions for the warm start of a model that is trained from scratch.

        In worlds of tools these are objects with `question` and `pieces`, (text, whether it is trained on). In worlds
        of episodes each is a list of (step, action), one per turn.

        Args:
            count: how many.
            noise: share of poor decisions.
            turns: the most calls or turns.
            seed: of their streams.
        """


class ToolTask(Task, Protocol):
    """The task of a world of tools."""

    environment: ToolServer
    call_type: type
    """`tool_server.Call`."""

    def system_prompt(self, question: Question) -> str:
        """Return the system message for a Hub model."""

    def score(self, question: Question, text: str) -> Reward:
        """Compute the reward of a completion, tool results included."""


def _nothing(config: JobConfig) -> None:
    return None


def _unchanged(config: JobConfig) -> TaskConfig:
    return config.task


@dataclass(frozen=True)
class World:
    """A world of the registry.

    open: open(config, grader) opens the task of a run with all that it needs, or raises UserError. words: words(task
    settings) is the vocabulary of a model trained from scratch. runs_code: the world runs programs that the model
    writes. settings: those of `task.episodes` that only this world reads. check: raises UserError for a missing
    package. panels: makes a task whose panels can be read with nothing open; None if there is no such task. freeze:
    fills hashes of what the task reads from outside the repository into its settings.
    """

    open: Callable[[JobConfig, Grader], AbstractContextManager[Task]]
    words: Callable[[TaskConfig], Sequence[str]]
    runs_code: bool = False
    settings: tuple[str, ...] = ()
    check: Callable[[JobConfig], None] = _nothing
    panels: Callable[[JobConfig], Task | None] = _nothing
    freeze: Callable[[JobConfig], TaskConfig] = _unchanged


def no_words(task: TaskConfig) -> Sequence[str]:
    """Refuse a vocabulary: only Hub models can read this world. Raises UserError."""
    raise UserError(f"model.name_or_path is missing: a model trained from scratch cannot read the world {task.world}")
