"""The stepper as a `TextEnvironment`."""

from collections import OrderedDict

from reproduce.worlds.alfworld.source import Source
from reproduce.worlds.alfworld.stepper.load import LoadedGame
from reproduce.worlds.alfworld.stepper.stepper import Stepper, load_game
from reproduce.worlds.alfworld.steps import AlfworldSteps
from reproduce.worlds.text_environment import Step, Task

KEPT_GAMES = 64


class LoadedGames:
    """The last loaded games of a source; share one among all environments that play the same tasks."""

    def __init__(self, source: Source, kept: int = KEPT_GAMES):
        self.source, self.kept = source, kept
        self._games: OrderedDict[Task, LoadedGame] = OrderedDict()

    def __getitem__(self, task: Task) -> LoadedGame:
        """The loaded game of a task. UserError if equality with the real engine is not proven for it."""
        if task not in self._games:
            self._games[task] = load_game(*self.source.game(task))
            if len(self._games) > self.kept:
                self._games.popitem(last=False)
        self._games.move_to_end(task)
        return self._games[task]


class FastAlfworld(AlfworldSteps):
    """ALFWorld on the stepper: the same texts, admissible actions, score and success as the real engine."""

    name = "alfworld (stepper)"

    def __init__(self, source: Source, games: LoadedGames | None = None):
        """games: loaded games to share with other environments of the same source."""
        super().__init__(source)
        self._games = games or LoadedGames(source)

    def reset(self, task: Task) -> Step:
        """Starts an episode of `task`. UserError if the stepper does not vouch for the game."""
        self._episode = Stepper(self._games[task])
        return self._first(self._episode.intro(), self._episode.admissible(), self._episode.won)

    def step(self, action: str) -> Step:
        """Plays one action, admissible or not. ValueError before the first reset or after the end."""
        self._check_running()
        text = self._episode.step(action)
        return self._next(text, self._episode.admissible(), self._episode.won)

    def close(self) -> None:
        """Nothing to free."""
