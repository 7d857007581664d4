"""Opens what a run needs of the world that its config names."""

from collections.abc import Iterator
from contextlib import contextmanager

from reproduce.config.sections import WEB
from reproduce.config.tables import JobConfig
from reproduce.tools.sandbox import PythonSandbox
from reproduce.training.engine_host import EngineHost
from reproduce.training.episode_setups import open_episodes
from reproduce.training.setup import Setup
from reproduce.training.tool_setups import MiniWebSetup, QuestionSetup


@contextmanager
def open_setup(config: JobConfig) -> Iterator[Setup]:
    """The setup of a config's world, with what it needs open. UserError if the world cannot be opened."""
    if config.task.episodes is not None:
        setup = open_episodes(config)
        try:
            with _engine(setup):
                yield setup
        finally:
            setup.close()
        return
    with PythonSandbox(preload=False) as sandbox:
        if config.task.world != WEB:
            with _engine(MiniWebSetup(config, sandbox)) as setup:
                yield setup
            return
        setup = QuestionSetup(config, sandbox)
        try:
            with _engine(setup):
                yield setup
        finally:
            setup.task.environment.close()


@contextmanager
def _engine(setup: Setup) -> Iterator[Setup]:
    """The setup with what its config's `engine` asks for, open."""
    if setup.config.engine is None:
        yield setup
        return
    setup.host = EngineHost(setup.config.engine)
    try:
        yield setup
    finally:
        setup.host.close()
