"""ALFWorld's episodes for a run: published games, or generated ones, on the stepper or on the real engine."""

import dataclasses
from collections.abc import Iterator
from contextlib import closing, contextmanager

from reproduce.config.sections import TaskConfig
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.worlds.alfworld.demonstrations import episode
from reproduce.worlds.alfworld.messages import AlfworldForm
from reproduce.worlds.alfworld.real import RealAlfworld
from reproduce.worlds.alfworld.source import GeneratedGames, PublishedGames, Source
from reproduce.worlds.alfworld.stepper.environment import LoadedGames
from reproduce.worlds.alfworld.wheel import check_versions
from reproduce.worlds.episode_task import EpisodeTask, episode_task
from reproduce.worlds.minihouse.environment import PER_KIND, SEED, SIZE
from reproduce.worlds.minihouse.task import short_form, stepper_task, words
from reproduce.worlds.task import World
from reproduce.worlds.text_environment import TextEnvironment

MINI_GAMES = f"generated-{SIZE}"
"""MiniHouse's games, with the files that the real engine needs."""
PUBLISHED = (None, "published")


def games_of(task: TaskConfig) -> Source:
    """Open the games that `task.episodes.games` names.

    Raises:
        UserError: they are not those that the config was made with.
    """
    name, expected = task.episodes.games, task.episodes.games_sha256
    source = PublishedGames() if name in PUBLISHED else GeneratedGames(SEED, name.removeprefix("generated-"), PER_KIND)
    if expected is not None and source.sha256() != expected:
        raise UserError(f"ALFWorld's games below {source.root} have changed since the runs were set up; restore them")
    return source


@contextmanager
def _open(config: JobConfig, grader=None) -> Iterator[EpisodeTask]:
    episodes = config.task.episodes
    if config.model.name_or_path is None and episodes.games != MINI_GAMES:
        raise UserError(f"task.episodes.games: a model trained from scratch knows the words of {MINI_GAMES} alone")
    source = games_of(config.task)

    def real(count: int) -> list[TextEnvironment]:
        return [RealAlfworld(source, quick=True) for _ in range(count)]

    if episodes.engine == "real":
        made = episode_task(config, real, short_form, AlfworldForm, episode)
    else:
        made = stepper_task(config, LoadedGames(source))
    with closing(made) as task:
        yield task


def _check(config: JobConfig) -> None:
    episodes = config.task.episodes
    if episodes.engine == "real" or episodes.games not in PUBLISHED:
        check_versions()


def _freeze(config: JobConfig) -> TaskConfig:
    """Fill in the hash of the published games, if these are played. Raises UserError if they are missing."""
    episodes = config.task.episodes
    if episodes.games not in PUBLISHED:
        return config.task
    return dataclasses.replace(
        config.task, episodes=dataclasses.replace(episodes, games_sha256=PublishedGames().sha256())
    )


WORLD = World(_open, words, settings=("games", "engine", "games_sha256"), check=_check, freeze=_freeze)
