"""What a job needs of the world that its config names: the task, the words of a model made for it, demonstrations."""

from collections.abc import Iterator
from contextlib import contextmanager

from reproduce.errors import UserError
from reproduce.experiments.config import JobConfig
from reproduce.rollouts.agent import Limits
from reproduce.rollouts.collector import Collector
from reproduce.rollouts.episodes import EpisodeCollector
from reproduce.rollouts.grammar import ACTIONS, WEB_TOOLS, Grammar
from reproduce.seeding import child_seed, stream
from reproduce.tasks.envs.alfworld_fast.environment import FastAlfworld, LoadedGames
from reproduce.tasks.envs.alfworld_player import demonstrate
from reproduce.tasks.envs.alfworld_source import CommittedGames
from reproduce.tasks.envs.interface import SPLITS
from reproduce.tasks.envs.minihouse import FOLDER
from reproduce.tasks.episode_task import EpisodeTask
from reproduce.tasks.minihouse_text import MiniHouseForm, names_of, vocabulary
from reproduce.tasks.sandbox import PythonSandbox
from reproduce.tasks.suite import open_task
from reproduce.training.tiny_model import build_tokenizer, word_tokenizer
from reproduce.training.warm_start import web_rows


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

    def collector(self, model, grammar: Grammar, seed: int, temperature: float | None = None) -> Collector:
        """A collector; temperature: None is that of training."""
        t = self.config.task
        limits = Limits(t.max_tool_calls, t.max_completion_tokens)
        temperature = temperature or self.config.training.temperature
        return self.collector_type(self.task, model, grammar, limits, temperature, seed)

    def demonstrations(self, collector: Collector) -> Iterator[dict]:
        """Rows for the warm start: input_ids and labels (-100 where nothing is learned)."""
        return web_rows(collector, self.config.warm_start, self.config.task.max_tool_calls)


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
        if config.task.world != FOLDER.name:
            raise UserError(f"task.world: there is no world of episodes {config.task.world!r}; worlds: {FOLDER.name}")
        setup = HouseSetup(config)
        try:
            yield setup
        finally:
            setup.task.close()
        return
    with PythonSandbox(preload=False) as sandbox:
        yield WebSetup(config, sandbox)
