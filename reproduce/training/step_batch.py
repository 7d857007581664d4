"""Make the tensors that a step's updates read from its rollouts: rewards, what the method asks for, advantages."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reproduce.algorithms import Algorithm
from reproduce.algorithms.parts.state import Outcomes, RolloutBatch, State
from reproduce.rollouts.grammar import Grammar
from reproduce.rollouts.records import batch_metrics
from reproduce.rollouts.tensors import companions, rollout_tensors
from reproduce.training.ahead import Rollouts
from reproduce.training.batch_tensors import counted, fold_of, longest_completions, outcomes_of, padded
from reproduce.training.passes import Passes, loss_mask
from reproduce.training.reference import Reference

PASSED = {"logps_BT", "old_logps_BT", "advantages_BT", "entropies_BT"}
"""Tensors that parts read by name, and that the trainer passes to them by itself."""
QUANTILE_TOKENS = 1_000_000
"""Tokens, the first of a batch, of which the quantile of entropies is taken; torch's takes no more than 16 million."""


class StepBatch(NamedTuple):
    """tensors: name -> tensor, a row for each training row. metrics: of the RL step. high_entropy: nats at rollout,
    from which on a token is among the top 20 %."""

    tensors: dict[str, Tensor]
    metrics: dict[str, float]
    high_entropy: float


class Method(NamedTuple):
    """A method in a run: the algorithm, its states, and the place in the training.

    step: gives the RL step in progress, from 0. steps: gives the number of all.
    """

    algorithm: Algorithm
    states: list[State]
    step: Callable[[], int]
    steps: Callable[[], int]

    def reads(self) -> set[str]:
        """Names of the tensors and numbers that parts and states read."""
        of_states = {name for state in self.states for name in state.reads}
        return {*self.algorithm.advantage_needs, *self.algorithm.loss_needs, *of_states}

    def numbers(self) -> dict[str, Any]:
        """Numbers that parts read by name: the place in the training, and what states know."""
        found = {"rl_step": self.step(), "rl_steps": self.steps()}
        for state in self.states:
            found |= state.numbers()
        return found


def step_batch(
    rollouts: Rollouts,
    method: Method,
    passes: Passes,
    reference: Reference | None,
    grammar: Grammar,
    *,
    longest: int,
    entropy_tokens: int,
) -> StepBatch:
    """The batch of an RL step, before rows that only fill it (`training.padding_rows`).

    Args:
        rollouts: of all processes; their tensors are left as they are.
        passes, reference: score rows under the policy before training, where the method reads that.
        grammar: marks tags in the rows.
        longest: the most tokens of a completion, for the overlong penalty.
        entropy_tokens: for the metrics (`batch_metrics`).
    """
    batch, output, algorithm = rollouts.batch, dict(rollouts.tensors), method.algorithm
    mask_BT, rows = loss_mask(output), batch.training_rows()
    device = mask_BT.device
    fold = fold_of(batch, mask_BT)
    entropies_BT = padded([row.path.entropies for row in rows], device)
    metrics = dict.fromkeys(algorithm.metrics, float("nan")) | batch_metrics(batch, entropy_tokens)
    outcomes, reported = _outcomes(rollouts, method, device)
    metrics |= reported
    penalty_J = algorithm.overlong_penalty(longest_completions(batch, device), longest)
    shaped_J = outcomes.rewards_J if penalty_J is None else outcomes.rewards_J + penalty_J

    needs = method.reads() - method.numbers().keys() - PASSED
    needs.update(companions(algorithm.loss_needs, batch.single_turns))
    made_here = {"ref_logps_BT", *output}.union(*(state.makes for state in method.states))
    named = rollout_tensors(batch, tuple(sorted(needs - made_here)), mask_BT.shape[1], device, grammar)
    if "ref_logps_BT" in needs:
        with torch.no_grad(), reference.policy() as start:
            named["ref_logps_BT"] = passes.score(start, output)[0]
    output |= named
    for state in method.states:
        seen = RolloutBatch({**output, "entropies_BT": entropies_BT}, mask_BT, shaped_J, fold, outcomes)
        made, reported = state.on_batch(seen)
        output |= made
        metrics |= reported

    extra = {name: fold.join(output[name]) for name in algorithm.advantage_needs if name in output}
    extra |= {name: value for name, value in method.numbers().items() if name in algorithm.advantage_needs}
    given = shaped_J, outcomes.groups_J, fold.mask_JL
    advantages_JL, reported = algorithm.advantages_and_metrics(*given, entropies_BT=fold.join(entropies_BT), **extra)
    counts_J = counted(batch, device, sides="sides_BT" in algorithm.advantage_needs)
    advantages_BT = fold.split(torch.where(counts_J[:, None], advantages_JL, 0.0))
    side_B = sides_of(rows, device)
    if side_B.any():
        kept_BT = algorithm.trained_rows(*given, **extra)[:, None] & fold.mask_JL
        kept_B = fold.split(kept_BT).any(1) & (~side_B | (advantages_BT != 0).any(1))
        output["tool_mask"] = output["tool_mask"] * kept_B[:, None]
        mask_BT = loss_mask(output)
    for state in method.states:
        state.on_advantages(advantages_BT, mask_BT)
    output |= {"advantages": advantages_BT, "rollout_entropies": entropies_BT}
    metrics |= reported | rollouts.metrics
    metrics["advantage_abs_mean"] = float(advantages_BT[mask_BT].abs().mean())
    high_entropy = float(torch.quantile(entropies_BT[mask_BT][:QUANTILE_TOKENS], 0.8))
    return StepBatch(output, metrics, high_entropy)


def _outcomes(rollouts: Rollouts, method: Method, device) -> tuple[Outcomes, dict[str, float]]:
    """How the batch's trajectories ended, with the rewards that the states make of the task's; metrics of the step."""
    outcomes, metrics = outcomes_of(rollouts.batch, method.step(), device), {}
    for state in method.states:
        rewards_J, reported = state.rewards(outcomes)
        outcomes = replace(outcomes, rewards_J=rewards_J)
        metrics |= reported
    return outcomes, metrics


def sides_of(rows: Sequence, device) -> Tensor:
    """side_B: True for side rows (`SideRows`). rows: `Batch.training_rows`."""
    return torch.tensor([row.side for row in rows], device=device)
