"""The stepper as a `TextEnvironment`."""

from functools import lru_cache

from reproduce.worlds.alfworld.source import Source
from reproduce.worlds.alfworld.stepper.load import LoadedGame
from reproduce.worlds.alfworld.stepper.stepper import Stepper, load_game
from reproduce.worlds.alfworld.steps import AlfworldSteps
from reproduce.worlds.text_environment import Step, Task

KEPT_GAMES = 64


class LoadedGames:
    """The last loaded games of a source; share one among all environments that play the same tasks."""

    def __init__(self, source: Source, kept: int = KEPT_GAMES):
        self.source = source
        self.load = lru_cache(maxsize=kept)(lambda task: load_game(*source.game(task)))

    def __getitem__(self, task: Task) -> LoadedGame:
        """Return the loaded game of a task.

        Raises:
            UserError: equality with the real engine is not proven for it.
        """
        return self.load(task)


class FastAlfworld(AlfworldSteps):
    """ALFWorld on the stepper: the same texts, admissible actions, score and success as the real engine.

    games: loaded games to share with other environments of the same source.
    """

    name = "alfworld (stepper)"

    def __init__(self, source: Source, games: LoadedGames | None = None):
        super().__init__(source)
        self._games = games or LoadedGames(source)

    def reset(self, task: Task) -> Step:
        """Start an episode of `task`.

        Raises:
            UserError: the stepper is not proven for the game.
        """
        self.episode = Stepper(self._games[task])
        return self._first(self.episode.intro(), self.episode.admissible(), self.episode.won)

    def step(self, action: str) -> Step:
        """Play one action, admissible or not. Raises ValueError before the first reset or after the end."""
        self._check_running()
        text = self.episode.step(action)
        return self._next(text, self.episode.admissible(), self.episode.won)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""
