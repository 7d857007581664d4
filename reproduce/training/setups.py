"""What a job needs of the world that its config names: the task, the words of a model made for it, demonstrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from reproduce.config.sections import SHAPE, WEB
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.evaluation.graders import grade
from reproduce.rollouts.agent import Limits
from reproduce.rollouts.chat import ChatCollector
from reproduce.rollouts.collector import Collector
from reproduce.rollouts.grammar import WEB_TOOLS, Grammar, SpeltGrammar
from reproduce.tools.hub.fetch import file_sha256
from reproduce.tools.sandbox import PythonSandbox
from reproduce.tools.search import open_search
from reproduce.training.engine_host import EngineHost
from reproduce.training.hub_model import load_hub_model
from reproduce.training.tiny_model import build_model, build_tokenizer
from reproduce.training.warm_start import web_rows
from reproduce.worlds.benchmarks.files import data_file
from reproduce.worlds.benchmarks.task import open_questions
from reproduce.worlds.benchmarks.tools import BenchmarkTools
from reproduce.worlds.miniweb.task import open_task


class WebSetup:
    """A MiniWeb world with its Python tool."""

    tools = WEB_TOOLS
    repeatable = True  # an environment says the same to the same actions
    collector_type = Collector
    chat_collector_type = ChatCollector

    def __init__(self, config: JobConfig, sandbox: PythonSandbox):
        t = config.task
        self.config, self.task = config, open_task(t.families, t.world, sandbox, t.format_penalty, t.tool_bonus)

    def tokenizer(self):
        """The tokenizer of a model that is trained from nothing."""
        return build_tokenizer(self.task.environment.world)

    def initial_model(self, device: str):
        """(model, tokenizer) that the warm start begins with: made from nothing, float32, or the hub's."""
        m = self.config.model
        if m.name_or_path is not None:
            return load_hub_model(m.name_or_path, m.revision, device, self.config.training.dtype)
        tokenizer = self.tokenizer()
        shape = {name: value for name, value in asdict(m).items() if name in SHAPE}
        ids = dict(pad_id=tokenizer.pad_token_id, bos_id=tokenizer.bos_token_id, eos_id=tokenizer.eos_token_id)
        return build_model(len(tokenizer), self.config.warm_start.seed, **shape, **ids).to(device), tokenizer

    def grammar(self, tokenizer) -> Grammar:
        """The tags of the tools: tokens of a model made from nothing, spelt by one of the hub."""
        kind = Grammar if self.config.model.name_or_path is None else SpeltGrammar
        return kind(tokenizer, self.tools)

    host: EngineHost | None = None
    """What the config's `engine` asks for; None: Transformers, tools in batches."""

    def collector(
        self, model, grammar: Grammar, seed: int, temperature: float | None = None, default_engine: bool = False
    ) -> Collector:
        """A collector; temperature: None is that of training. default_engine: Transformers, whatever is configured."""
        t = self.config.task
        limits = Limits(t.max_tool_calls, t.max_completion_tokens)
        temperature = temperature or self.config.training.temperature
        kind = self.collector_type if self.config.model.name_or_path is None else self.chat_collector_type
        return kind(self.task, model, grammar, limits, temperature, seed, None if default_engine else self.host)

    def demonstrations(self, collector: Collector) -> Iterator[dict]:
        """Rows for the warm start: input_ids and labels (-100 where nothing is learned)."""
        if self.config.warm_start.data is not None:
            from reproduce.training.cold_start import sft_rows  # it imports what trains

            return sft_rows(collector, self.config.warm_start, self.data_file(self.config.warm_start.data.name))
        return web_rows(collector, self.config.warm_start, self.config.task.max_tool_calls)

    def data_file(self, name: str) -> Path:
        """The file of an SFT, RL or evaluation set. UserError if it is not the one that the config was made with."""
        data, sft = self.config.task.data, self.config.warm_start.data
        path = data_file(name, None if data is None else data.folder)
        known = dict(data.sha256 or {}) if data is not None else {}
        if sft is not None:
            known[sft.name] = sft.sha256
        if known.get(name) not in (None, file_sha256(path)):
            raise UserError(f"{path}: the file has changed since the runs were set up; restore it, or move them away")
        return path


class QuestionSetup(WebSetup):
    """Real questions with a real search (the world `web`)."""

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


@contextmanager
def open_setup(config: JobConfig) -> Iterator[WebSetup]:
    """The setup of a config's world, with what it needs open. UserError if the world cannot be opened."""
    if config.task.episodes is not None:
        from reproduce.training.episode_setups import open_episodes  # it builds on this module

        setup = open_episodes(config)
        try:
            with _engine(setup):
                yield setup
        finally:
            setup.close()
        return
    with PythonSandbox(preload=False) as sandbox:
        if config.task.world != WEB:
            with _engine(WebSetup(config, sandbox)) as setup:
                yield setup
            return
        setup = QuestionSetup(config, sandbox)
        try:
            with _engine(setup):
                yield setup
        finally:
            setup.task.environment.close()


@contextmanager
def _engine(setup: WebSetup) -> Iterator[WebSetup]:
    """The setup with what its config's `engine` asks for, open."""
    if setup.config.engine is None:
        yield setup
        return
    setup.host = EngineHost(setup.config.engine)
    try:
        yield setup
    finally:
        setup.host.close()
