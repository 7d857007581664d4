"""A task as training and evaluation see it: questions, prompts, tools, scores."""

from dataclasses import dataclass
from pathlib import Path

from reproduce.errors import UserError
from reproduce.tasks.environment import Call, Environment
from reproduce.tasks.miniweb import generate_world, load_world
from reproduce.tasks.questions import FAMILIES, MiniQuestion, load_panel, make_questions, panel_path
from reproduce.tasks.rewards import Reward, reward
from reproduce.tasks.sandbox import PythonSandbox

WORLDS = Path(__file__).resolve().parents[2] / "data" / "worlds"


@dataclass
class MiniTask:
    """One family of MiniWeb questions over the committed world, with its tools and its reward."""

    family: str
    environment: Environment
    format_penalty: float
    tool_bonus: float
    directory: Path = WORLDS

    call_type = Call

    def train_questions(self, count: int, seed: int) -> list[MiniQuestion]:
        """`count` distinct training questions, in the order of the run's data stream."""
        return make_questions(self.environment.world, self.family, "train", count, seed)

    def panel(self, split: str, count: int) -> list[MiniQuestion]:
        """The first `count` questions of the committed panel, levels in turn. UserError if it holds fewer."""
        questions = load_panel(panel_path(self.directory, self.family, split))
        if count > len(questions):
            raise UserError(f"the panel {self.family}-{split} holds {len(questions)} questions, {count} asked")
        levels: dict[int, list[MiniQuestion]] = {}
        for question in questions:
            levels.setdefault(question.level, []).append(question)
        turns = [question for turn in _zip_longest(levels[level] for level in sorted(levels)) for question in turn]
        return turns[:count]

    @staticmethod
    def prompt(question: MiniQuestion) -> str:
        """The text in front of the completion, without the beginning-of-sequence token."""
        return f"question : {question.text}"

    def score(self, question: MiniQuestion, text: str) -> Reward:
        """The reward of a completion (AEPO (e): format, F1, tool bonus)."""
        return reward(text, [question.gold], format_penalty=self.format_penalty, tool_bonus=self.tool_bonus)


def _zip_longest(lists):
    lists = [list(items) for items in lists]
    return [[items[i] for items in lists if i < len(items)] for i in range(max(map(len, lists)))]


def open_task(
    family: str, world: str, sandbox: PythonSandbox, format_penalty: float, tool_bonus: float,
    directory: Path = WORLDS,
) -> MiniTask:  # fmt: skip
    """The task `family` over the committed world `world`. UserError for an unknown family or world."""
    if family not in FAMILIES:
        raise UserError(f"task.family: unknown family {family!r}; choose one of {', '.join(FAMILIES)}")
    path = directory / f"{world}.jsonl"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in directory.glob("*.jsonl")))
        raise UserError(f"task.world: there is no world {world!r} in {directory.name}; worlds: {known}")
    return MiniTask(family, Environment(load_world(path), sandbox), format_penalty, tool_bonus, directory)


def fresh_world(seed: int, environment: Environment) -> Environment:
    """Another world of the same words and tools, for demonstrations: nothing true of it holds in the committed one."""
    return Environment(generate_world(seed), environment.sandbox, environment.timeout_share, environment.printed)
