"""State that a method carries from one training step to the next, such as a critic or a history of entropies.

A part that needs memory, or rollouts other than the run's settings give, has a method `state(run)`. It returns a
`State`, or None if its settings need none. The trainer calls the hooks of every state and keeps them in checkpoints; it
knows no method.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from reproduce.errors import UserError


@dataclass(frozen=True)
class RunServices:
    """Services that a run offers to its states.

    max_turns: the most turns that a trajectory can have. seed: of the run. value_network: opens a critic's network,
    from the policy as it is at the start (`reproduce.training.critic`). policy: gives the causal LM that is trained;
    never write to it. policy_copy: gives a frozen copy of it, such as a moving average starts from; `copy.deepcopy`
    would give one that runs the policy's own forward. Both raise UserError where weights are divided among processes.
    logps: (tensors of a batch, model=None, temperature=None) -> log-probabilities (B, T) of its loss-mask tokens, in
    nats, without gradient, under the policy or a copy of it, at the step's temperature or another one.
    vocabulary: entries of the policy's softmax.
    """

    max_turns: int
    seed: int
    value_network: Callable[[], "State"]
    policy: Callable[[], Any]
    policy_copy: Callable[[], Any]
    logps: Callable[..., Tensor]
    vocabulary: int


@dataclass(frozen=True)
class SideRows:
    """Groups that a step samples in addition: its first questions once more, at another temperature or by a model with
    other weights.

    share: share of the step's questions, above 0 and at most 1 (else UserError). group_share: of the run's group size,
    the same, at least one row. model: a causal LM that reads the policy's tokens, such as a moving average of it; None:
    the policy. Old log-probabilities and entropies of side rows
    are the policy's at the step's own temperature. Only an advantage part that reads `sides_BT` gives them an
    advantage; a side row without one is in no mini-batch. Metrics and records are those of the step's own groups.
    """

    share: float
    temperature: float
    model: Any = None
    group_share: float = 1.0

    def __post_init__(self):
        for name in ("share", "group_share"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise UserError(f"side_rows.{name} must be above 0 and at most 1, not {getattr(self, name)!r}")


@dataclass(frozen=True)
class Sampling:
    """How the rollouts of a step are sampled.

    temperature: of the softmax that tokens are drawn from. Log-probabilities and entropies, at rollout and in the loss,
    are of the same softmax, so ratios are 1 until the first update at any temperature. side_rows: None: there are none.
    """

    temperature: float
    side_rows: SideRows | None = None


@dataclass(frozen=True)
class Outcomes:
    """How the J trajectories of a rollout batch ended, those of side rows too.

    rewards_J: the task's rewards, before any shaping. groups_J: group ids. questions_J: equal where the question is the
    same; a group of side rows has its question in common with one of the step's own. correct_J, sides_J: bool. calls_J:
    tool calls, or turns in an environment. answers: the final answer of each, normalised as the training reward does,
    None where there is none to read; None in their place: the task asks for no answer. step: the RL step, from 0.
    """

    rewards_J: Tensor
    groups_J: Tensor
    questions_J: Tensor
    correct_J: Tensor
    sides_J: Tensor
    calls_J: Tensor
    answers: list[str | None] | None
    step: int


@dataclass(frozen=True)
class FurtherUpdate:
    """An optimiser step beside a step's own.

    Minimised is the loss of the run's method with the overrides `changes` (`load`), times `weight`. rows: the batch, by
    the trainer's names (`prompt_ids`, `prompt_mask`, `completion_ids`, `completion_mask`, `tool_mask`,
    `old_per_token_logps`, `advantages`), padded. numbers: what else the loss reads by name. reported: metric of the
    step -> metric of the loss, or "loss".
    """

    changes: dict[str, Any]
    rows: dict[str, Tensor]
    numbers: dict[str, float]
    weight: float
    reported: dict[str, str]


@dataclass(frozen=True)
class RolloutBatch:
    """A rollout batch as a state sees it, before advantages exist.

    tensors: name -> tensor with a row each, all that the state `reads`. mask_BT: loss mask (B, T). rewards_J: shaped
    rewards of the J trajectories. fold: joins rows to trajectories and splits them again (`reproduce.rollouts.fold`).
    outcomes: of the trajectories, with the rewards that the states gave.
    """

    tensors: dict[str, Tensor]
    mask_BT: Tensor
    rewards_J: Tensor
    fold: Any
    outcomes: Outcomes


class State:
    """Hooks in the order in which a step calls them. This base class does nothing.

    name: its key in checkpoints. reads: names of rollout tensors (`reproduce.rollouts.tensors`) that `on_batch` reads.
    makes: names of tensors that it returns.
    """

    name: str
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()

    def sampling(self, planned: Sampling) -> Sampling:
        """Choose how the next rollouts are sampled. planned: the choice of the run's settings and of the states before
        this one.
        """
        return planned

    def rewards(self, outcomes: Outcomes) -> tuple[Tensor, dict[str, float]]:
        """Return (rewards_J that the method trains on, metrics of the step). Records keep the task's rewards."""
        return outcomes.rewards_J, {}

    def on_batch(self, batch: RolloutBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return (tensors that join the batch, metrics of the step), once the step's rollouts are there."""
        return {}, {}

    def on_advantages(self, advantages_BT: Tensor, mask_BT: Tensor) -> None:
        """See the batch's advantages, once they are there."""

    def numbers(self) -> dict[str, float | Tensor]:
        """Return numbers that parts read by name besides tensors of the batch, in advantages and in the loss."""
        return {}

    def on_minibatch(self, tensors: dict[str, Tensor], mask_BT: Tensor) -> dict[str, float]:
        """Return metrics of an update, before the policy's loss is computed."""
        return {}

    def on_loss(self, logps_BT: Tensor, mask_BT: Tensor) -> None:
        """Run once an update's loss is computed. logps_BT: log pi of its tokens (B, T), without gradient."""

    def further_updates(self) -> Iterable[FurtherUpdate]:
        """Return optimiser steps that follow the last update of a step."""
        return ()

    def on_step_end(self) -> None:
        """Run after the last update of a step."""

    def state_dict(self) -> dict:
        """Return the contents for a checkpoint, which is written when no step is open."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Restore the state that `state_dict` gave."""

    def save_parts(self, folder: Path) -> None:
        """Write to a checkpoint what is divided among the processes; every one of them calls it."""

    def load_parts(self, folder: Path) -> None:
        """Read back what `save_parts` wrote."""
