"""Real questions as training and evaluation see a task: prompts, tools, rewards (the world `web`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reproduce.errors import UserError
from reproduce.seeding import stream
from reproduce.worlds.benchmarks.datasets.rl import BACKSPACE_BUG, BACKSPACE_REPAIR, load_rl
from reproduce.worlds.benchmarks.questions import Question, load
from reproduce.worlds.benchmarks.tools import BenchmarkTools
from reproduce.worlds.rewards import Reward, reward
from reproduce.worlds.tool_server import Call

RELEASED = "released"


@dataclass
class QuestionTask:
    """An RL set to train on and evaluation sets (`families`), with search and Python and the papers' reward.

    training: the RL set's questions. evaluation, validation: load an evaluation set by its name, and the validation
    set, when they are asked for. right: the grader of final answers (`reproduce.evaluation.graders.grade`).
    """

    families: Sequence[str]
    environment: BenchmarkTools
    training: list[Question]
    evaluation: Callable[[str], list[Question]]
    validation: Callable[[], list[Question]]
    right: Callable[[Question, str | None], bool]
    format_penalty: float
    tool_bonus: float

    call_type = Call

    def train_questions(self, count: int, seed: int) -> list[Question]:
        """`count` training questions: the whole set in a random order, then again in another, and so on."""
        order: list[Question] = []
        while len(order) < count:
            numbers = stream(seed, "pass", len(order) // len(self.training)).permutation(len(self.training))
            order += [self.training[number] for number in numbers]
        return order[:count]

    def panel(self, split: str, count: int) -> list[Question]:
        """The first `count` questions, or all if there are fewer, of each evaluation set (test) or of the RL set's
        validation set."""
        if split == "test":
            return [question for family in self.families for question in self.evaluation(family)[:count]]
        if split == "validation":
            return self.validation()[:count]
        raise UserError("evaluation.split: the world web is evaluated on test or validation")

    @staticmethod
    def prompt(question: Question) -> str:
        """The user's message: the question alone, as in the RL files."""
        return question.question

    def system_prompt(self, question: Question) -> str:
        """The RL set's own, which is one for all its rows. Evaluation has the repaired one, as released."""
        own = question.metadata.get("system_prompt")
        shared = self.training[0].metadata["system_prompt"]
        return shared.replace(BACKSPACE_BUG, BACKSPACE_REPAIR) if own is None else own

    def score(self, question: Question, text: str) -> Reward:
        """The reward of a completion (AEPO (e): format, F1, tool bonus); `correct` is the grader's verdict."""
        found = reward(text, question.golds, format_penalty=self.format_penalty, tool_bonus=self.tool_bonus)
        return found._replace(correct=found.format_ok and self.right(question, found.answer))


def open_questions(
    families: Sequence[str], train: str, validation: str, prompts: str, environment: BenchmarkTools,
    file_of: Callable[[str], Path], right: Callable[[Question, str | None], bool], format_penalty: float,
    tool_bonus: float, check_rows: bool = True,
) -> QuestionTask:  # fmt: skip
    """The task of these sets. prompts: "paper", or "released" with the backspace in the training prompts.

    file_of: name of a set -> its file. UserError as the loaders raise it, and for an RL set without a usable row.
    """
    kept = prompts == RELEASED
    training = load_rl(train, "", keep_backspace=kept, check_rows=check_rows, path=file_of(train)).questions
    if not training:
        raise UserError(f"task.data.train: {train} holds no question with an answer")

    def held_out() -> list[Question]:
        found = load_rl(validation, "", check_rows=check_rows, path=file_of(validation)).questions
        return [replace(question, split="validation") for question in found]

    def evaluated(name: str) -> list[Question]:
        return load(name, "", check_rows=check_rows, path=file_of(name))

    return QuestionTask(families, environment, training, evaluated, held_out, right, format_penalty, tool_bonus)
