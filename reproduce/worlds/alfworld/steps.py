"""Tasks, gold paths and observations, as the real engine and the stepper share them."""

from collections.abc import Sequence

from reproduce.worlds.alfworld.source import Source
from reproduce.worlds.text_environment import Step, Task

SUCCESS_RULES = ("won",)
"""ALFWorld has one success rule: the goal holds (EPO, arXiv 2509.22576, released code; reward 1 here, 10 there)."""


class AlfworldSteps:
    """Base of both engines' environments. An episode ends when it is won; the caller counts the turns."""

    success_rules = SUCCESS_RULES

    def __init__(self, source: Source):
        self.source = source
        self._running = False

    def tasks(self, split: str) -> Sequence[Task]:
        """List all tasks of a split, in a fixed order."""
        return self.source.tasks(split)

    def gold_path(self, task: Task) -> tuple[str, ...] | None:
        """Return the expert's actions that come with the game; None if it has none."""
        return self.source.game(task)[1].plan or None

    def _first(self, text: str, admissible: tuple[str, ...], won: bool) -> Step:
        self._goal = text.rsplit("\n\n", 1)[-1]
        self._running = True
        return self._told(text, admissible, won, 0.0)

    def _next(self, text: str, admissible: tuple[str, ...], won: bool) -> Step:
        self._running = not won
        return self._told(text, admissible, won, float(won))

    def _check_running(self) -> None:
        if not self._running:
            raise ValueError("no episode is running: reset the environment first")

    def _told(self, text: str, admissible: tuple[str, ...], won: bool, reward: float) -> Step:
        info = {"won": won, "score": int(won), "goal": self._goal}
        return Step(text, admissible, reward, bool(reward), {"won": float(won)}, info)
