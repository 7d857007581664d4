"""Random draws inside a loss: a seed for every update, whatever the passes or processes that compute it."""

from reproduce.algorithms.parts.state import State
from reproduce.seeding import child_seed

DRAW_SEED = "draw_seed"
"""The number under which a part reads the seed of the update in progress."""


class Draws(State):
    """Counts updates; the seed of each follows from the run's seed, a name and the count.

    seed: of the run. name: of the draw, so that two of a method differ.
    """

    def __init__(self, seed: int, name: str):
        self.name, self._seed, self._updates = f"draws of {name}", seed, 0

    def on_minibatch(self, tensors, mask_BT) -> dict[str, float]:
        self._updates += 1
        return {}

    def numbers(self) -> dict[str, float]:
        return {DRAW_SEED: child_seed(self._seed, self.name, self._updates)}

    def state_dict(self) -> dict:
        return {"updates": self._updates}

    def load_state_dict(self, state: dict) -> None:
        self._updates = state["updates"]
