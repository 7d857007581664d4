"""Worlds of questions and tools: MiniWeb, and public question sets with a real search."""

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.evaluation.graders import grade
from reproduce.tools.sandbox import PythonSandbox
from reproduce.tools.search import open_search
from reproduce.training.setup import Setup
from reproduce.training.tiny_model import build_tokenizer
from reproduce.worlds.benchmarks.task import open_questions
from reproduce.worlds.benchmarks.tools import BenchmarkTools
from reproduce.worlds.miniweb.task import open_task


class MiniWebSetup(Setup):
    """A MiniWeb world with its Python tool."""

    def __init__(self, config: JobConfig, sandbox: PythonSandbox):
        t = config.task
        self.config, self.task = config, open_task(t.families, t.world, sandbox, t.format_penalty, t.tool_bonus)

    def tokenizer(self):
        """The tokenizer of a model that is trained from nothing."""
        return build_tokenizer(self.task.environment.world)


class QuestionSetup(Setup):
    """Public question sets with a real search (`task.world: web`), for models of the hub."""

    def __init__(self, config: JobConfig, sandbox: PythonSandbox):
        t, d = config.task, config.task.data
        self.config = config
        self.session = f"{config.experiment}/{config.name}/{config.seed}"  # its name in recordings
        self.search = open_search(config.search, seed=config.seed, session=self.session)
        environment = BenchmarkTools(self.search, sandbox)
        self.task = open_questions(
            t.families, d.train, d.validation, d.prompts, environment, self.data_file,
            lambda question, answer: grade(question, answer).correct, t.format_penalty, t.tool_bonus,
            check_rows=d.check_rows,
        )  # fmt: skip

    def tokenizer(self):
        """None is made: a model from scratch cannot read real questions."""
        raise UserError("model.name_or_path is missing: a model made from scratch cannot read the world web")
