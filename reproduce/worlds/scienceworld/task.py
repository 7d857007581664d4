"""The real ScienceWorld's episodes for a run: a Java process for each episode that is played at the same time."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from reproduce.config.sections import TaskConfig
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.worlds.episode_task import ALL, EpisodeTask, episode_task
from reproduce.worlds.scienceworld.environment import ScienceWorld
from reproduce.worlds.scienceworld.java import java
from reproduce.worlds.scienceworld.messages import ScienceWorldForm, ScienceWorldShortForm, vocabulary
from reproduce.worlds.scienceworld.pool import SimulatorPool, classpath
from reproduce.worlds.task import World
from reproduce.worlds.text_environment import TextEnvironment


@contextmanager
def _open(config: JobConfig, grader=None) -> Iterator[EpisodeTask]:
    e, families = config.task.episodes, config.task.families
    if e.at_a_time is None:
        raise UserError("task.episodes.at_a_time is missing: each ScienceWorld episode has its own Java process")
    if config.model.name_or_path is None and config.warm_start.noise:
        raise UserError("warm_start.noise: ScienceWorld's demonstrations are the expert's paths; set it to 0")
    kinds = None if list(families) == [ALL] else families
    with SimulatorPool(e.at_a_time) as pool:

        def opened(count: int) -> list[TextEnvironment]:
            pool.warm_up(count)
            return [ScienceWorld(pool, rule=e.success_rule or "released", kinds=kinds) for _ in range(count)]

        threads = min(e.at_a_time, 2 * (os.cpu_count() or 1))
        made = episode_task(config, opened, ScienceWorldShortForm, ScienceWorldForm, threads=threads, repeatable=False)
        with closing(made) as task:
            yield task


def _words(task: TaskConfig) -> tuple[str, ...]:
    """The words of its shortest tasks."""
    return vocabulary()


def _check(config: JobConfig) -> None:
    classpath()
    java()


WORLD = World(_open, _words, settings=("success_rule",), check=_check)
