"""Mean policy entropies of past RL steps, with which EPO's smoothing compares tokens (arXiv 2509.22576)."""

import math
from itertools import zip_longest

import torch
from torch import Tensor

from reproduce.algorithms.parts.state import RolloutBatch, State


class EntropyHistory(State):
    """Mean token entropy (nats, at rollout, loss-mask tokens) of every RL step, over all tokens and by turn index.

    `measure` opens a step once its rollouts are there; `append` closes it after its last update. So the references used
    in between are means over past steps only. Those called `..._with_current` include the open step.

    turns: the most turns that a trajectory can have; the released code's lists have this length.
    """

    name = "entropy_history"
    reads = ("entropies_BT", "turns_BT")

    def __init__(self, turns: int):
        self.turns = turns
        self.means: list[float] = []  # one per past step
        self.turn_means: list[list[float]] = []  # one list per past step; NaN for a turn without a token
        self._open: tuple[float, list[float]] | None = None

    def measure(self, entropies_BT: Tensor, turns_BT: Tensor, mask_BT: Tensor) -> None:
        """Open a step with the entropies of its rollout batch.

        Args:
            entropies_BT: token entropies (B, T), in nats.
            turns_BT: turn index of each token (B, T), int64.
            mask_BT: loss mask (B, T).
        """
        heights, turns = entropies_BT[mask_BT].double().cpu(), turns_BT[mask_BT].cpu()
        sums = torch.zeros(int(turns.max()) + 1, dtype=torch.float64).index_add(0, turns, heights)
        counts = torch.zeros_like(sums).index_add(0, turns, torch.ones_like(heights))
        self._open = float(heights.mean()), (sums / counts).tolist()

    def on_batch(self, batch: RolloutBatch) -> tuple[dict, dict]:
        self.measure(batch.tensors["entropies_BT"], batch.tensors["turns_BT"], batch.mask_BT)
        return {}, {}

    def on_step_end(self) -> None:
        self.append()

    def append(self) -> None:
        """Close the open step, which is a past one from then on.

        Raises:
            RuntimeError: no step is open.
        """
        if self._open is None:
            raise RuntimeError("entropy history: no step was measured")
        mean, turn_means = self._open
        self.means.append(mean)
        self.turn_means.append(turn_means)
        self._open = None

    def numbers(self) -> dict[str, float | Tensor]:
        """Numbers that regularisers read by name, in nats.

        entropy_reference: mean over past steps of the step's mean, NaN before there is one. turn_entropy_reference:
        (turns,), the same for each turn index, over the past steps that had the turn; NaN where none had. Suffix
        _with_current: the open step counts too. Suffix _left_padded, as in the released code: each step's list is
        filled up to `turns` with zeros in front, which shifts its turns, and averaged with them.
        """
        found: dict[str, float | Tensor] = {}
        current = [] if self._open is None else [self._open]
        for suffix, steps in (("", []), ("_with_current", current)):
            means = self.means + [mean for mean, _ in steps]
            lists = self.turn_means + [turn_means for _, turn_means in steps]
            found[f"entropy_reference{suffix}"] = _mean(means)
            found[f"turn_entropy_reference{suffix}"] = _by_turn(lists)
            padded = [[0.0] * (self.turns - len(one)) + one for one in lists]
            found[f"turn_entropy_reference{suffix}_left_padded"] = _by_turn(padded)
        return found

    def state_dict(self) -> dict:
        """The past steps, JSON-able except for NaN. A checkpoint is written when no step is open."""
        return {"turns": self.turns, "means": self.means, "turn_means": self.turn_means}

    def load_state_dict(self, state: dict) -> None:
        """Restore the history that `state_dict` gave.

        Raises:
            ValueError: it has another number of turns.
        """
        if state["turns"] != self.turns:
            raise ValueError(f"entropy history of {state['turns']} turns, but trajectories have up to {self.turns}")
        self.means, self.turn_means, self._open = list(state["means"]), [list(t) for t in state["turn_means"]], None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _by_turn(lists: list[list[float]]) -> Tensor:
    """Mean at each turn index over the lists that have a value there."""
    columns = zip_longest(*lists, fillvalue=math.nan)
    return torch.tensor([_mean([v for v in column if not math.isnan(v)]) for column in columns], dtype=torch.float64)
