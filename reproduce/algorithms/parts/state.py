"""State that a method carries from one training step to the next, such as a critic or a history of entropies.

A part that needs memory, or rollouts other than the run's settings give, has a method `state(run)` that returns a
`State`, or None where its settings need none. The trainer calls the hooks of every state that an algorithm has, and
keeps them in checkpoints; it knows no method.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from reproduce.errors import UserError


@dataclass(frozen=True)
class RunServices:
    """Services of a run for its states.

    max_turns: the most turns that a trajectory can have. value_network: opens the network of a critic, from the policy
    at its start (`reproduce.training.critic`).
    """

    max_turns: int
    value_network: Callable[[], "State"]


@dataclass(frozen=True)
class SideRows:
    """Groups that a step samples beside its own: its first questions once more, at another temperature.

    share: of the step's questions, above 0 and at most 1. Old log-probabilities and entropies of side rows are the
    policy's at the step's own temperature. Only an advantage part that reads `sides_BT` gives them an advantage; a side
    row without one is in no mini-batch. Metrics and records are of the step's own groups. UserError for a bad share.
    """

    share: float
    temperature: float

    def __post_init__(self):
        if not 0.0 < self.share <= 1.0:
            raise UserError(f"side_rows.share must be above 0 and at most 1, not {self.share!r}")


@dataclass(frozen=True)
class Sampling:
    """How the rollouts of a step are sampled.

    temperature: of the softmax that tokens are drawn from. Log-probabilities and entropies, at rollout and in the loss,
    are of the same softmax, so ratios are 1 until the first update at any temperature. side_rows: None: there are none.
    """

    temperature: float
    side_rows: SideRows | None = None


@dataclass(frozen=True)
class RolloutBatch:
    """A rollout batch as a state sees it, before advantages exist.

    tensors: by name, a row each, with what the state `reads`. mask_BT: loss mask. rewards_J: of trajectories, shaped.
    fold: joins rows to trajectories and splits them again (`reproduce.rollouts.fold`).
    """

    tensors: dict[str, Tensor]
    mask_BT: Tensor
    rewards_J: Tensor
    fold: Any


class State:
    """Hooks in the order in which a step calls them; this base does nothing.

    name: in checkpoints. reads: names of rollout tensors (`reproduce.rollouts.tensors`) that `on_batch` reads. makes:
    names of tensors that it returns.
    """

    name: str
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()

    def sampling(self, planned: Sampling) -> Sampling:
        """How the next rollouts are sampled. planned: what the run's settings and the states before this one say."""
        return planned

    def on_batch(self, batch: RolloutBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        """(tensors that join the batch, metrics of the step), once its rollouts are there."""
        return {}, {}

    def numbers(self) -> dict[str, float | Tensor]:
        """Numbers that parts read by name besides tensors of the batch."""
        return {}

    def on_minibatch(self, tensors: dict[str, Tensor], mask_BT: Tensor) -> dict[str, float]:
        """Metrics of an update, before the policy's loss is computed."""
        return {}

    def on_step_end(self) -> None:
        """After the last update of a step."""

    def state_dict(self) -> dict:
        """Contents for a checkpoint, which is written when no step is open."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """The state as `state_dict` gave it."""

    def save_parts(self, folder: Path) -> None:
        """Writes to a checkpoint what is divided among the processes, in every one of them."""

    def load_parts(self, folder: Path) -> None:
        """Reads back what `save_parts` wrote."""
