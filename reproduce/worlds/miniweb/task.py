"""MiniWeb as training and evaluation see it: questions, prompts, tools, scores."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from reproduce.config.sections import TaskConfig
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.seeding import child_seed, stream
from reproduce.tools.sandbox import PythonSandbox
from reproduce.worlds.miniweb import english, messages
from reproduce.worlds.miniweb.demonstrations import Demonstration, demonstrate
from reproduce.worlds.miniweb.english_tools import EnglishTools
from reproduce.worlds.miniweb.generator import World as Web
from reproduce.worlds.miniweb.generator import generate_world, load_world
from reproduce.worlds.miniweb.questions import FAMILIES, LEVELS, MiniQuestion, load_panel, make_questions, panel_path
from reproduce.worlds.miniweb.tools import MiniWebTools
from reproduce.worlds.rewards import Reward, reward
from reproduce.worlds.tags import SYSTEM_PROMPT
from reproduce.worlds.task import World
from reproduce.worlds.tool_server import Call

WORLDS = Path(__file__).resolve().parents[3] / "data" / "worlds"
PASS = 1200
"""Training questions of a family before they may recur; mini-knowledge has about 1500 in the committed world."""
QUESTIONS_PER_WORLD = 400
"""Questions of each fresh world in which demonstrations are made."""


@dataclass
class MiniTask:
    """One or more families of MiniWeb questions over the committed world, with their tools and their reward.

    levels: family -> its levels, where not all are asked.
    """

    families: Sequence[str]  # a text is one family
    environment: MiniWebTools
    format_penalty: float
    tool_bonus: float
    directory: Path = WORLDS
    levels: Mapping[str, Sequence[int]] = field(default_factory=dict)

    call_type = Call
    repeatable = True

    def __post_init__(self):
        self.families = (self.families,) if isinstance(self.families, str) else tuple(self.families)
        for family in self.families:
            if family not in FAMILIES:
                raise UserError(f"task.families: unknown family {family!r}; choose from {', '.join(FAMILIES)}")
        for family, levels in self.levels.items():
            if family not in FAMILIES:
                raise UserError(f"task.levels: unknown family {family!r}; choose from {', '.join(FAMILIES)}")
            if not levels or len(set(levels)) < len(levels) or not set(levels) <= set(LEVELS):
                raise UserError(f"task.levels.{family}: must list some of {LEVELS}, each once, not {list(levels)}")

    def train_questions(self, count: int, seed: int) -> list[MiniQuestion]:
        """Return `count` training questions, families in turn, in the order of the run's data stream.

        They are distinct within a pass of `PASS` questions per family; further passes draw again, in another order.
        """
        starts = range(0, count, PASS * len(self.families))
        sizes = [min(PASS * len(self.families), count - start) for start in starts]
        seeds = [seed, *(child_seed(seed, "pass", number) for number in range(1, len(sizes)))]
        world = self.environment.world
        return [q for size, s in zip(sizes, seeds, strict=True) for q in self.questions(world, "train", size, s)]

    def questions(self, world: Web, split: str, count: int, seed: int) -> list[MiniQuestion]:
        """Return `count` distinct questions of a world's split, families in turn. Each family has its own stream."""
        shares = [len(range(i, count, len(self.families))) for i in range(len(self.families))]
        drawn = [
            make_questions(world, f, split, n, seed, self.levels.get(f, LEVELS))
            for f, n in zip(self.families, shares, strict=True)
        ]
        return _in_turn(drawn)

    def panel(self, split: str, count: int) -> list[MiniQuestion]:
        """Return `count` questions of each family's committed panel, families and levels in turn.

        Raises:
            UserError: a panel holds fewer.
        """
        return _in_turn([self._panel(family, split, count) for family in self.families])

    def panel_size(self, split: str) -> int:
        """Return the number of questions of the smallest committed panel."""
        return min(len(self._committed(family, split)) for family in self.families)

    def demonstrations(self, count: int, noise: float, turns: int, seed: int) -> Iterator[Demonstration]:
        """Yield `count` demonstrations, families in turn; every `QUESTIONS_PER_WORLD` questions come from a fresh
        world.
        """
        for number, start in enumerate(range(0, count, QUESTIONS_PER_WORLD)):
            environment = fresh_world(child_seed(seed, "demonstration-world", number), self.environment)
            wanted = min(QUESTIONS_PER_WORLD, count - start)
            questions = self.questions(environment.world, "train", wanted, child_seed(seed, number))
            yield from demonstrate(environment, questions, noise, turns, stream(seed, "demonstrations", number))

    def _panel(self, family: str, split: str, count: int) -> list[MiniQuestion]:
        questions = self._committed(family, split)
        if count > len(questions):
            raise UserError(f"the panel {family}-{split} holds {len(questions)} questions, {count} asked")
        levels: dict[int, list[MiniQuestion]] = {}
        for question in questions:
            levels.setdefault(question.level, []).append(question)
        return _in_turn([levels[level] for level in sorted(levels)])[:count]

    def _committed(self, family: str, split: str) -> list[MiniQuestion]:
        """The committed panel of a family, without the levels that are not asked."""
        asked = self.levels.get(family, LEVELS)
        return [q for q in load_panel(panel_path(self.directory, family, split)) if q.level in asked]

    @staticmethod
    def prompt(question: MiniQuestion) -> str:
        """Return the text before the completion, without the beginning-of-sequence token."""
        return messages.prompt(question.text)

    @staticmethod
    def system_prompt(question: MiniQuestion) -> str:
        """Return the system prompt for a Hub model; a model trained for the world needs none."""
        return SYSTEM_PROMPT

    def score(self, question: MiniQuestion, text: str) -> Reward:
        """Compute the reward of a completion (AEPO (e): format, F1, tool bonus)."""
        return reward(text, [question.gold], format_penalty=self.format_penalty, tool_bonus=self.tool_bonus)


class EnglishTask(MiniTask):
    """`MiniTask` in English (`english.py`), for models that come with a vocabulary. environment: `EnglishTools`."""

    @staticmethod
    def prompt(question: MiniQuestion) -> str:
        """Return the question as a person would ask it."""
        return english.question(question)

    @staticmethod
    def system_prompt(question: MiniQuestion) -> str:
        """Return the system message: the tools of the question's family and the form of an answer."""
        return english.system_prompt(question)

    def demonstrations(self, count: int, noise: float, turns: int, seed: int) -> Iterator[Demonstration]:
        """Yield the demonstrations of `MiniTask`, in English."""
        yield from map(english.demonstration, super().demonstrations(count, noise, turns, seed))


def _in_turn(lists: list[list[MiniQuestion]]) -> list[MiniQuestion]:
    """The first of each list, then the second of each, and so on; shorter lists end earlier."""
    return [items[i] for i in range(max(map(len, lists), default=0)) for items in lists if i < len(items)]


def open_task(
    families: Sequence[str] | str,
    world: str,
    sandbox: PythonSandbox,
    format_penalty: float,
    tool_bonus: float,
    directory: Path = WORLDS,
    rendering: str | None = None,
    levels: Mapping[str, Sequence[int]] | None = None,
) -> MiniTask:
    """Open the task of these families over the committed world `world`.

    Args:
        families: of questions.
        world: the name of the committed world.
        sandbox: runs programs.
        format_penalty: reward of a bad format.
        tool_bonus: reward for using both tools.
        directory: where worlds and panels lie.
        rendering: "english", or None for words.
        levels: family -> its levels, where not all are asked.

    Raises:
        UserError: a family, a level or the world is unknown.
    """
    tools, task = (EnglishTools, EnglishTask) if rendering == "english" else (MiniWebTools, MiniTask)
    environment = tools(load_world(world_file(world, directory)), sandbox)
    return task(families, environment, format_penalty, tool_bonus, directory, levels or {})


def world_file(world: str, directory: Path = WORLDS) -> Path:
    """Find the committed world of that name.

    Raises:
        UserError: there is none; the message lists them.
    """
    path = directory / f"{world}.jsonl"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in directory.glob("*.jsonl")))
        raise UserError(f"task.world: there is no world {world!r} in {directory.name}; worlds: {known}")
    return path


def fresh_world(seed: int, environment: MiniWebTools) -> MiniWebTools:
    """Make another world of the same words and tools, for demonstrations. Its facts differ from the committed one's."""
    return MiniWebTools(generate_world(seed), environment.sandbox, environment.timeout_share, environment.printed)


@contextmanager
def _open(config: JobConfig, grader=None) -> Iterator[MiniTask]:
    t = config.task
    with PythonSandbox(preload=False) as sandbox:
        yield open_task(t.families, t.world, sandbox, t.format_penalty, t.tool_bonus, WORLDS, t.rendering, t.levels)


def _words(task: TaskConfig) -> tuple[str, ...]:
    return _vocabulary(world_file(task.world))


@cache
def _vocabulary(file: Path) -> tuple[str, ...]:
    return tuple(load_world(file).vocabulary())


def _panels(config: JobConfig) -> MiniTask:
    t = config.task
    return MiniTask(t.families, None, t.format_penalty, t.tool_bonus, levels=t.levels or {})


WORLD = World(_open, _words, runs_code=True, panels=_panels)
