"""What a job needs of the world that its config names: the task, the words of a model made for it, demonstrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from reproduce.errors import UserError
from reproduce.evaluation.graders import grade
from reproduce.experiments.config import JobConfig
from reproduce.experiments.sections import SHAPE, WEB
from reproduce.rollouts.agent import Limits
from reproduce.rollouts.chat import ChatCollector
from reproduce.rollouts.collector import Collector
from reproduce.rollouts.episodes import EpisodeCollector
from reproduce.rollouts.grammar import ACTIONS, WEB_TOOLS, Grammar
from reproduce.seeding import child_seed, stream
from reproduce.tasks.datasets.fetch import data_file, file_sha256
from reproduce.tasks.envs.alfworld_fast.environment import FastAlfworld, LoadedGames
from reproduce.tasks.envs.alfworld_player import demonstrate
from reproduce.tasks.envs.alfworld_source import CommittedGames
from reproduce.tasks.envs.interface import SPLITS
from reproduce.tasks.envs.minihouse import FOLDER
from reproduce.tasks.episode_task import EpisodeTask
from reproduce.tasks.minihouse_text import MiniHouseForm, names_of, vocabulary
from reproduce.tasks.question_task import open_questions
from reproduce.tasks.sandbox import PythonSandbox
from reproduce.tasks.suite import open_task
from reproduce.tasks.web import WebEnvironment, open_search
from reproduce.training.engine_host import EngineHost
from reproduce.training.hub_model import load_hub_model
from reproduce.training.tiny_model import build_model, build_tokenizer, word_tokenizer
from reproduce.training.warm_start import sft_rows, web_rows


class WebSetup:
    """A MiniWeb world with its Python tool."""

    tools = WEB_TOOLS
    collector_type = Collector

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

    host: EngineHost | None = None
    """What the config's `engine` asks for; None: Transformers, tools in batches."""

    def collector(
        self, model, grammar: Grammar, seed: int, temperature: float | None = None, default_engine: bool = False
    ) -> Collector:
        """A collector; temperature: None is that of training. default_engine: Transformers, whatever is configured."""
        t = self.config.task
        limits = Limits(t.max_tool_calls, t.max_completion_tokens)
        temperature = temperature or self.config.training.temperature
        kind = self.collector_type if self.config.model.name_or_path is None else ChatCollector
        return kind(self.task, model, grammar, limits, temperature, seed, None if default_engine else self.host)

    def demonstrations(self, collector: Collector) -> Iterator[dict]:
        """Rows for the warm start: input_ids and labels (-100 where nothing is learned)."""
        if self.config.warm_start.data is not None:
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
        environment = WebEnvironment(self.search, sandbox)
        self.task = open_questions(
            t.families, d.train, d.validation, d.prompts, environment, self.data_file,
            lambda question, answer: grade(question, answer).correct, t.format_penalty, t.tool_bonus,
            check_rows=d.check_rows,
        )  # fmt: skip


class HouseSetup(WebSetup):
    """MiniHouse: episodes of many turns, each turn a prompt of its own."""

    tools = ACTIONS
    collector_type = EpisodeCollector

    def __init__(self, config: JobConfig, games: LoadedGames | None = None):
        """games: those of another setup, to share."""
        t = config.task
        self.config = config
        self.games = games or loaded_games()
        self.names = names_of(self.games.source)
        self.task = EpisodeTask(
            lambda count: [FastAlfworld(self.games.source, self.games) for _ in range(count)],
            MiniHouseForm(*self.names, t.episodes.history), t.families,
            t.episodes.success_reward, t.episodes.invalid_penalty,
        )  # fmt: skip

    def tokenizer(self):
        """The tokenizer of a model that is trained from nothing."""
        return word_tokenizer(vocabulary(*self.names))

    def demonstrations(self, collector: EpisodeCollector) -> Iterator[dict]:
        """A row for every turn of episodes of a scripted player that errs on purpose, on the training tasks."""
        w, grammar, form = self.config.warm_start, collector.grammar, self.task.form
        questions = self.task.train_questions(w.demonstrations, child_seed(w.seed, "demonstrations"))
        environment = self.task.environments(1)[0]
        for number, question in enumerate(questions):
            rng = stream(w.seed, "demonstrations", number)
            played, _ = demonstrate(environment, question.task, rng, w.noise, self.config.task.max_tool_calls)
            actions = [action for _, action in played]
            for turn, (step, action) in enumerate(played):
                prompt = collector.message_ids(form.prompt(step, actions[:turn]))
                answer = grammar.encode(form.response(action))
                yield {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}


def loaded_games() -> LoadedGames:
    """MiniHouse's committed games, each kept once it is loaded."""
    source = CommittedGames(FOLDER)
    return LoadedGames(source, kept=sum(len(source.tasks(split)) for split in SPLITS))


@contextmanager
def open_setup(config: JobConfig) -> Iterator[WebSetup]:
    """The setup of a config's world, with what it needs open. UserError if the world cannot be opened."""
    if config.task.episodes is not None:
        if config.model.name_or_path is not None:
            raise UserError("model.name_or_path: episodes are played by models made from scratch in this version")
        if config.task.world != FOLDER.name:
            raise UserError(f"task.world: there is no world of episodes {config.task.world!r}; worlds: {FOLDER.name}")
        setup = HouseSetup(config)
        try:
            with _engine(setup):
                yield setup
        finally:
            setup.task.close()
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
