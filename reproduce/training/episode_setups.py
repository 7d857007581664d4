"""Setup of a run in a world of episodes: MiniHouse, ALFWorld or ScienceWorld, for a tiny model or one of the hub.

A model that is made from nothing reads short messages in whole words and learns from demonstrations first; a model of
the hub reads EPO's messages in its chat template and begins as it is.
"""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence

from reproduce.config.sections import ALFWORLD
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.rollouts.chat import ChatEpisodeCollector
from reproduce.rollouts.episodes import EpisodeCollector
from reproduce.rollouts.grammar import ACTIONS
from reproduce.seeding import child_seed, stream
from reproduce.training.setup import Setup
from reproduce.training.tiny_model import word_tokenizer
from reproduce.worlds.alfworld.player import demonstrate
from reproduce.worlds.alfworld.real import RealAlfworld
from reproduce.worlds.alfworld.source import CommittedGames, GeneratedGames, PublishedGames, Source
from reproduce.worlds.alfworld.stepper.environment import FastAlfworld, LoadedGames
from reproduce.worlds.episode_task import ALL, EpisodeTask, Form
from reproduce.worlds.forms import AlfworldForm, ScienceWorldForm
from reproduce.worlds.messages import Turn
from reproduce.worlds.minihouse.environment import FOLDER, PER_KIND, SEED, SIZE
from reproduce.worlds.minihouse.messages import MiniHouseForm, names_of, vocabulary
from reproduce.worlds.play import play, replay
from reproduce.worlds.scienceworld.environment import ScienceWorld
from reproduce.worlds.scienceworld.messages import ScienceWorldShortForm
from reproduce.worlds.scienceworld.messages import vocabulary as scienceworld_vocabulary
from reproduce.worlds.scienceworld.pool import SimulatorPool
from reproduce.worlds.text_environment import SPLITS, Step, Task, TextEnvironment

MINIHOUSE, SCIENCEWORLD = FOLDER.name, ScienceWorld.name
MINI_GAMES = f"generated-{SIZE}"
"""The games that MiniHouse has, with what the real engine needs beside."""


class EpisodeSetup(Setup):
    """Episodes of many turns, each turn a prompt of its own.

    A world of its own says which environments it opens, the form of its messages, its words, and what it demonstrates.
    """

    collector_type = EpisodeCollector
    threads = 1

    def __init__(self, config: JobConfig, open_environments: Callable[[int], list[TextEnvironment]], form: Form):
        t, e = config.task, config.task.episodes
        self.config = config
        self.tools = ACTIONS if config.model.name_or_path is None else ()  # one of the hub ends an answer by itself
        self.task = EpisodeTask(
            open_environments, form, t.families, e.success_reward, e.invalid_penalty, e.at_a_time, self.threads
        )

    def chat_collector_type(self, *arguments) -> ChatEpisodeCollector:
        """The collector of a model of the hub."""
        return ChatEpisodeCollector(*arguments, prompt_tokens=self.config.task.episodes.prompt_tokens)

    @abstractmethod
    def words(self) -> Sequence[str]:
        """The vocabulary of a model made from nothing."""

    def tokenizer(self):
        """The tokenizer of a model that is trained from nothing."""
        return word_tokenizer(self.words())

    @abstractmethod
    def demonstrated(self, environment: TextEnvironment, task: Task, number: int) -> list[tuple[Step, str]]:
        """One demonstration, the `number`-th: what was seen and what was done, per turn."""

    def demonstrations(self, collector: EpisodeCollector) -> Iterator[dict]:
        """A row for every turn of scripted episodes on the training tasks."""
        w, grammar, form = self.config.warm_start, collector.grammar, self.task.form
        questions = self.task.train_questions(w.demonstrations, child_seed(w.seed, "demonstrations"))
        environment = self.task.environments(1)[0]
        for number, question in enumerate(questions):
            past: list[Turn] = []
            for step, action in self.demonstrated(environment, question.task, number):
                prompt = collector.message_ids(form.prompt(step, past))
                answer = grammar.encode(form.response(action))
                yield {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}
                past.append(Turn(step.text, action))

    def close(self) -> None:
        """Closes all environments."""
        self.task.close()


class HouseSetup(EpisodeSetup):
    """ALFWorld's rules on the stepper: MiniHouse's committed games, or those of another source."""

    def __init__(self, config: JobConfig, games: LoadedGames | None = None):
        """games: those of another setup, to share; default: MiniHouse."""
        self.games = games or loaded_games()
        window = config.task.episodes.history
        if config.model.name_or_path is not None:
            form = AlfworldForm(window)
        else:
            committed = isinstance(self.games.source, CommittedGames)
            self.names = names_of(self.games.source if committed else CommittedGames(FOLDER))
            form = MiniHouseForm(*self.names, window)
        super().__init__(config, self.opened, form)

    def opened(self, count: int) -> list[TextEnvironment]:
        """`count` environments over the same games."""
        source, real = self.games.source, self.config.task.episodes.engine == "real"
        return [RealAlfworld(source, quick=True) if real else FastAlfworld(source, self.games) for _ in range(count)]

    def words(self) -> Sequence[str]:
        """MiniHouse's words, and the names in the games."""
        return vocabulary(*self.names)

    def demonstrated(self, environment: TextEnvironment, task: Task, number: int) -> list[tuple[Step, str]]:
        """An episode of a scripted player that errs on purpose."""
        w = self.config.warm_start
        rng = stream(w.seed, "demonstrations", number)
        return demonstrate(environment, task, rng, w.noise, self.config.task.max_tool_calls)[0]


class ScienceWorldSetup(EpisodeSetup):
    """The real ScienceWorld: a Java process for each of the episodes that are played at the same time."""

    repeatable = False

    def __init__(self, config: JobConfig):
        e = config.task.episodes
        if e.at_a_time is None:
            raise UserError("task.episodes.at_a_time is missing: each ScienceWorld episode has its own Java process")
        if config.model.name_or_path is None and config.warm_start.noise:
            raise UserError("warm_start.noise: ScienceWorld's demonstrations are the expert's paths; set it to 0")
        self.threads = min(e.at_a_time, 2 * (os.cpu_count() or 1))
        self.pool = SimulatorPool(e.at_a_time)
        hub = config.model.name_or_path is not None
        form = ScienceWorldForm(e.history) if hub else ScienceWorldShortForm(e.history)
        kinds = None if list(config.task.families) == [ALL] else config.task.families
        rule = e.success_rule or "released"

        def opened(count: int) -> list[TextEnvironment]:
            self.pool.warm_up(count)
            return [ScienceWorld(self.pool, rule=rule, kinds=kinds) for _ in range(count)]

        try:
            super().__init__(config, opened, form)
        except BaseException:
            self.pool.close()
            raise

    def words(self) -> Sequence[str]:
        """The words of its shortest tasks."""
        return scienceworld_vocabulary()

    def demonstrated(self, environment: TextEnvironment, task: Task, number: int) -> list[tuple[Step, str]]:
        """The expert's path."""
        path = environment.gold_path(task)
        episode = play(environment, task, replay(path), self.config.task.max_tool_calls)
        return list(zip(episode.steps, episode.actions, strict=False))  # the last step has no action

    def close(self) -> None:
        """Ends all Java processes."""
        super().close()
        self.pool.close()


def open_episodes(config: JobConfig) -> EpisodeSetup:
    """The setup of a world of episodes. UserError if there is no such world, or one of its settings is another's."""
    t, e = config.task, config.task.episodes
    worlds = {MINIHOUSE: (), ALFWORLD: ("games", "engine", "games_sha256"), SCIENCEWORLD: ("success_rule",)}
    if t.world not in worlds:
        raise UserError(f"task.world: there is no world of episodes {t.world!r}; worlds: {', '.join(worlds)}")
    for world, settings in worlds.items():
        for key in settings if world != t.world else ():
            if getattr(e, key) is not None:
                raise UserError(f"task.episodes.{key} belongs to the world {world}: leave it out for {t.world}")
    if t.world == SCIENCEWORLD:
        return ScienceWorldSetup(config)
    if t.world == ALFWORLD and config.model.name_or_path is None and e.games != MINI_GAMES:
        raise UserError(f"task.episodes.games: a model made from nothing knows the words of {MINI_GAMES} alone")
    if t.world == MINIHOUSE:
        return HouseSetup(config)
    source = alfworld_games(e.games)
    if e.games_sha256 is not None and source.sha256() != e.games_sha256:
        raise UserError(f"ALFWorld's games below {source.root} have changed since the runs were set up; restore them")
    return HouseSetup(config, LoadedGames(source))


def alfworld_games(games: str | None) -> Source:
    """ALFWorld's games by the name that the config has for them (`EpisodeConfig.games`)."""
    if games in (None, "published"):
        return PublishedGames()
    return GeneratedGames(SEED, games.removeprefix("generated-"), PER_KIND)


def loaded_games() -> LoadedGames:
    """MiniHouse's committed games, each kept once it is loaded."""
    source = CommittedGames(FOLDER)
    return LoadedGames(source, kept=sum(len(source.tasks(split)) for split in SPLITS))
