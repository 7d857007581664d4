"""Real questions as a task (the world `web`): prompts, tools, rewards."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from reproduce.config.sections import DataConfig, TaskConfig
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.runs.files import file_sha256
from reproduce.seeding import stream
from reproduce.tools.sandbox import PythonSandbox
from reproduce.tools.search import open_search
from reproduce.worlds.benchmarks.datasets.rl import BACKSPACE_BUG, BACKSPACE_REPAIR, load_rl
from reproduce.worlds.benchmarks.files import checked_file, data_file
from reproduce.worlds.benchmarks.levels import FILES as LEVELS
from reproduce.worlds.benchmarks.levels import counted, with_levels
from reproduce.worlds.benchmarks.overlap import Training
from reproduce.worlds.benchmarks.questions import load
from reproduce.worlds.benchmarks.tools import BenchmarkTools
from reproduce.worlds.question import Question
from reproduce.worlds.rewards import Reward, reward
from reproduce.worlds.task import Grader, World, no_words
from reproduce.worlds.tool_server import Call

RELEASED = "released"


@dataclass
class QuestionTask:
    """An RL set to train on and evaluation sets (`families`), with search and Python and the papers' reward.

    training: the RL set's questions. evaluation, validation: load an evaluation set by its name, and the validation
    set, on demand. right: the grader of final answers. session: the run's name in recordings.
    """

    families: Sequence[str]
    environment: BenchmarkTools
    training: list[Question]
    evaluation: Callable[[str], list[Question]]
    validation: Callable[[], list[Question]]
    right: Grader
    format_penalty: float
    tool_bonus: float
    session: str = ""

    call_type = Call
    repeatable = True

    def train_questions(self, count: int, seed: int) -> list[Question]:
        """Return `count` training questions: the whole set in a random order, then again in another, and so on."""
        order: list[Question] = []
        while len(order) < count:
            numbers = stream(seed, "pass", len(order) // len(self.training)).permutation(len(self.training))
            order += [self.training[number] for number in numbers]
        return order[:count]

    def panel(self, split: str, count: int) -> list[Question]:
        """Return the first `count` questions of each evaluation set (test), or of the validation set; all if there are
        fewer.
        """
        if split == "test":
            return [question for family in self.families for question in self.evaluation(family)[:count]]
        if split == "validation":
            return self.validation()[:count]
        raise UserError("evaluation.split: the world web is evaluated on test or validation")

    def panel_size(self, split: str) -> int:
        """Return the number of questions of the smallest set."""
        sets = map(self.evaluation, self.families) if split == "test" else [self.validation()]
        return min(map(len, sets))

    def demonstrations(self, count: int, noise: float, turns: int, seed: int) -> Iterator:
        """Refuse: there are none; a warm start takes an SFT set. Raises UserError."""
        raise UserError("warm_start.data is missing: the world web has no demonstrations of its own")

    @staticmethod
    def prompt(question: Question) -> str:
        """Return the user's message: the question alone, as in the RL files."""
        return question.question

    def system_prompt(self, question: Question) -> str:
        """Return the RL set's own prompt, which all its rows share. Evaluation takes the repaired one, as released."""
        own = question.metadata.get("system_prompt")
        shared = self.training[0].metadata["system_prompt"]
        return shared.replace(BACKSPACE_BUG, BACKSPACE_REPAIR) if own is None else own

    def score(self, question: Question, text: str) -> Reward:
        """Compute the reward of a completion (AEPO (e): format, F1, tool bonus); `correct` is the grader's verdict."""
        found = reward(text, question.golds, format_penalty=self.format_penalty, tool_bonus=self.tool_bonus)
        return found._replace(correct=found.format_ok and self.right(question, found.answer))


def open_questions(
    families: Sequence[str],
    train: str,
    validation: str,
    prompts: str,
    environment: BenchmarkTools,
    file_of: Callable[[str], Path],
    right: Grader,
    format_penalty: float,
    tool_bonus: float,
    check_rows: bool = True,
    levelled: Collection[str] = (),
) -> QuestionTask:
    """Make the task of these sets.

    Args:
        families: evaluation sets.
        train: the RL set to train on.
        validation: the RL set to validate on.
        prompts: "paper", or "released" with the backspace in the training prompts.
        environment: the tools.
        file_of: name of a set -> its file.
        right: the grader of final answers.
        format_penalty: reward of a bad format.
        tool_bonus: added if both tools were used.
        check_rows: refuse files of another size than the published ones.
        levelled: evaluation sets whose levels are in a file of their own (`levels.FILES`).

    Raises:
        UserError: as the loaders, and if the RL set has no usable row.
    """
    kept = prompts == RELEASED
    training = load_rl(train, "", keep_backspace=kept, check_rows=check_rows, path=file_of(train)).questions
    if not training:
        raise UserError(f"task.data.train: {train} holds no question with an answer")

    def held_out() -> list[Question]:
        found = load_rl(validation, "", check_rows=check_rows, path=file_of(validation)).questions
        return [replace(question, split="validation") for question in found]

    def evaluated(name: str) -> list[Question]:
        found = load(name, "", check_rows=check_rows, path=file_of(name))
        return with_levels(found, file_of(LEVELS[name])) if name in levelled else found

    return QuestionTask(families, environment, training, evaluated, held_out, right, format_penalty, tool_bonus)


@contextmanager
def _open(config: JobConfig, grader: Grader) -> Iterator[QuestionTask]:
    t, d = config.task, config.task.data
    session = f"{config.experiment}/{config.name}/{config.seed}"
    with PythonSandbox(preload=False) as sandbox:
        search = open_search(config.search, seed=config.seed, session=session)
        with closing(BenchmarkTools(search, sandbox)) as tools:
            task = open_questions(
                t.families,
                d.train,
                d.validation,
                d.prompts,
                tools,
                lambda name: checked_file(config, name),
                grader,
                t.format_penalty,
                t.tool_bonus,
                check_rows=d.check_rows,
                levelled=[name for name, file in LEVELS.items() if file in (d.sha256 or {})],
            )
            yield replace(task, session=session)


def _freeze(config: JobConfig) -> TaskConfig:
    """Fill in the hash of every file. All are read once, so that a malformed or cut file is found now. Prints the
    questions that training and test share.
    """
    data, test = config.task.data, config.evaluation.split == "test"
    evaluated = config.task.families if test else []
    paths = {name: data_file(name, data.folder) for name in [data.train, *(evaluated if test else [data.validation])]}
    training = Training(load_rl(data.train, "", check_rows=data.check_rows, path=paths[data.train]).questions)
    for name in evaluated:
        found = training.overlap(load(name, "", check_rows=data.check_rows, path=paths[name]))
        if found.touched:
            shared = f"{found.touched} of {found.tests} questions of {name}"
            print(f"{shared} are, exactly or nearly, in the training set {data.train} (python -m reproduce overlap)")
        paths |= _levels(name, data)
    hashes = {name: file_sha256(path) for name, path in paths.items()}
    return replace(config.task, data=replace(data, sha256=hashes))


def _levels(name: str, data: DataConfig) -> dict[str, Path]:
    """The file with the levels of a set that has one. Prints what it says, or why the set stays without levels."""
    if name not in LEVELS:
        return {}
    try:
        path = data_file(LEVELS[name], data.folder)
    except UserError as error:
        print(f"{name}: without levels ({error})")
        return {}
    questions = load(name, "", check_rows=data.check_rows, path=data_file(name, data.folder))
    print(f"{name}: levels of {counted(with_levels(questions, path))} (ARPO's selection: 45, 84, 71)")
    return {LEVELS[name]: path}


WORLD = World(_open, no_words, runs_code=True, freeze=_freeze)
