"""The last returns of a run and its entropy, from which PPO-BR's clip follows (arXiv 2505.17714)."""

import math
from collections.abc import Callable, Sequence

from reproduce.algorithms.parts.state import RolloutBatch, State


def relative_change(returns: Sequence[float], needed: int) -> float:
    """Compute (mean of the later half - mean of the earlier) / |mean of the earlier|.

    Args:
        returns: oldest first; the later half has the odd one (assumed).
        needed: below so many returns the change is 0.

    Returns:
        The change; infinite where the earlier mean is 0 and the later is not.
    """
    if len(returns) < needed:
        return 0.0
    middle = len(returns) // 2
    earlier, later = sum(returns[:middle]) / middle, sum(returns[middle:]) / (len(returns) - middle)
    if earlier == 0.0:
        return 0.0 if later == 0.0 else math.copysign(math.inf, later)
    return (later - earlier) / abs(earlier)


class ReturnsWindow(State):
    """Keeps the mean reward of the last RL steps, and gives a number that follows from them and the entropy.

    number: its name. vocabulary: entries of the policy's softmax. kept: how many returns. needed: how many a change
    needs. follows: (phi, psi) -> the number, and metrics.
    """

    reads = ("entropies_BT",)

    def __init__(
        self,
        number: str,
        vocabulary: int,
        kept: int,
        needed: int,
        follows: Callable[[float, float], tuple[float, dict[str, float]]],
    ):
        self.name = f"returns for {number}"
        self.returns: list[float] = []
        self._number, self._log_size, self._kept, self._needed = number, math.log(vocabulary), kept, needed
        self._follows, self._value = follows, math.nan

    def on_batch(self, batch: RolloutBatch) -> tuple[dict, dict[str, float]]:
        self.returns = [*self.returns, float(batch.rewards_J[~batch.outcomes.sides_J].double().mean())][-self._kept :]
        entropy = float(batch.tensors["entropies_BT"][batch.mask_BT].double().mean())
        phi = min(max(entropy / self._log_size, 0.0), 1.0)
        psi = 1.0 - math.tanh(abs(relative_change(self.returns, self._needed)))
        self._value, metrics = self._follows(phi, psi)
        return {}, metrics

    def numbers(self) -> dict[str, float]:
        return {self._number: self._value}

    def state_dict(self) -> dict:
        return {"returns": self.returns}

    def load_state_dict(self, state: dict) -> None:
        self.returns = list(state["returns"])
