"""MiniHouse's episodes for a run."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache

from reproduce.config.sections import TaskConfig
from reproduce.config.tables import JobConfig
from reproduce.worlds.alfworld.demonstrations import episode
from reproduce.worlds.alfworld.messages import AlfworldForm
from reproduce.worlds.alfworld.source import CommittedGames
from reproduce.worlds.alfworld.stepper.environment import FastAlfworld, LoadedGames
from reproduce.worlds.episode_task import EpisodeTask, episode_task
from reproduce.worlds.minihouse.environment import FOLDER, open_minihouse
from reproduce.worlds.minihouse.messages import MiniHouseForm, names_of, vocabulary
from reproduce.worlds.task import World
from reproduce.worlds.text_environment import SPLITS, TextEnvironment


@cache
def committed_games() -> LoadedGames:
    """Open the committed games; each is kept once it is loaded."""
    source = CommittedGames(FOLDER)
    return LoadedGames(source, kept=sum(len(source.tasks(split)) for split in SPLITS))


@cache
def names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (things, places) in the committed games: the names that a model trained from scratch knows."""
    return names_of(committed_games().source)


def short_form(window: int) -> MiniHouseForm:
    """Make the messages for a model that is trained from scratch."""
    return MiniHouseForm(*names(), window)


def stepper_task(config: JobConfig, games: LoadedGames) -> EpisodeTask:
    """Make the task of these games, with ALFWorld's rules on the stepper."""

    def opened(count: int) -> list[TextEnvironment]:
        return [FastAlfworld(games.source, games) for _ in range(count)]

    return episode_task(config, opened, short_form, AlfworldForm, episode)


@contextmanager
def _open(config: JobConfig, grader=None) -> Iterator[EpisodeTask]:
    with closing(stepper_task(config, committed_games())) as task:
        yield task


def words(task: TaskConfig) -> tuple[str, ...]:
    """List every word that a message or an answer can hold."""
    return vocabulary(*names())


def _panels(config: JobConfig) -> EpisodeTask:
    return EpisodeTask(open_minihouse, None, config.task.families)


WORLD = World(_open, words, panels=_panels)
