"""The rollouts of each RL step: sampled before it, or while the step before it trains (`training.ahead`)."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from reproduce.algorithms.base import SAMPLER
from reproduce.algorithms.parts.state import Sampling
from reproduce.errors import UserError
from reproduce.rollouts.collector import Batch, Collector
from reproduce.rollouts.token_path import TokenPath
from reproduce.training.ahead import FILE, SAMPLED_AFTER, Ahead, Plan, Rollouts
from reproduce.training.batch_tensors import path_tensors
from reproduce.training.micro_batches import take
from reproduce.training.passes import Passes, loss_mask
from reproduce.training.sampler_copy import Replica
from reproduce.training.sampler_gap import SamplerGap
from reproduce.training.step_batch import Method, sides_of


class StepRollouts:
    """Gets the rollouts of a step, with what the weights that sampled them say of their tokens.

    Args:
        collector: samples and scores groups. questions: the training questions in order.
        group_size: trajectories per question.
        temperature: of sampling, by the run's settings.
        method: what asks for rollouts, and reads them.
        passes: of the trainer; their temperature becomes that of the newest rollouts.
        policy: gives the model that is trained.
        replica: the copy that the collector samples from; None: it samples from the policy.
        stale: whether the rollouts of a step are sampled while the one before it trains; needs `replica`.
        rows: of a forward pass of all processes, where the sampler's gap is measured.
        pad_id: the tokenizer's.
        checkpoints: the run's, named in errors.

    Raises:
        UserError: the method reads entropies of the full softmax that the engine does not have.
    """

    def __init__(
        self,
        *,
        collector: Collector,
        questions: Sequence,
        group_size: int,
        temperature: float,
        method: Method,
        passes: Passes,
        policy: Callable[[], torch.nn.Module],
        replica: Replica | None,
        stale: bool,
        rows: int,
        pad_id: int,
        checkpoints: Path,
    ):
        self.collector, self.questions, self.group_size = collector, questions, group_size
        self.temperature, self.method, self.passes = temperature, method, passes
        self.policy, self.replica, self.rows, self.pad_id = policy, replica, rows, pad_id
        self.checkpoints, self.host, self.gap = checkpoints, collector.host, None
        self.ahead = Ahead(collector.model) if stale else None
        self.now: Rollouts | None = None
        self._planned: Plan | None = None
        algorithm = method.algorithm
        if self.host.own_weights:
            read = any("entropies_BT" in state.reads for state in method.states)
            self.gap = SamplerGap(self.host.config, algorithm, reads_entropies=read)
        if SAMPLER in algorithm.loss_needs and (self.gap is None or self.host.config.correction == "none"):
            print(
                f"warning: {algorithm.name} weights by the sampler's log-probabilities, which here count as the "
                "trainer's: its weight is the plain ratio (engine.name vllm, with a correction, has both)",
                flush=True,
            )

    @property
    def batch(self) -> Batch | None:
        """The groups of the RL step in progress."""
        return self.now and self.now.batch

    @property
    def sampler(self) -> torch.nn.Module:
        """The weights that sampled the newest rollouts, for the trainer's own passes."""
        return self.policy() if self.ahead is None else self.replica.model

    def refresh(self) -> None:
        """Gives what samples the weights of now. Every process must call it."""
        if self.replica is not None:
            self.replica.refresh(self.policy())
        self.host.refresh(self.collector.model)

    def rest(self) -> None:
        """Nothing is sampled until `refresh`, unless rollouts of the next step are."""
        if self.ahead is None:
            self.host.rest()

    def begin(self, indices: list[int], step: int, steps: int) -> Rollouts:
        """Return the rollouts of an RL step; with stale steps begin those of the next one.

        Args:
            indices: of the step's questions.
            step: from 1. steps: of the whole training.

        Raises:
            UserError: a checkpoint lacks rollouts that were sampled ahead, or side rows cannot be sampled ahead.
        """
        if self.ahead is None or step == 1:
            self.host.costs()  # of evaluations since the last step
            self.refresh()
            plan = self._plan(indices, step, step - 1)
            self.now = self._received(plan, self._sampled(plan))
        elif self.now is None or self.now.plan.step != step:
            raise UserError(f"{self.checkpoints}: the last checkpoint lacks {FILE}: delete it and run again")
        elif self.now.plan.indices != indices:
            raise RuntimeError("TRL asks for other questions than those that were sampled ahead")
        else:
            self.refresh()
        if self.ahead is not None and step < steps:
            self.host.costs()
            self._planned = self._plan([index + len(indices) for index in indices], step + 1, step - 1)
            side = self._planned.sampling.side_rows
            if side is not None and side.model is not None:
                raise UserError(
                    f"training.stale_steps: {self.method.algorithm.name} samples side rows from weights of its own, "
                    "which change while a step trains; set it to 0"
                )
            self.ahead.begin(partial(self._sampled, self._planned))
        return self.now

    def following(self) -> Rollouts | None:
        """Wait for the rollouts of the next step, which then are `now` to set; without any, those of this step."""
        if self.ahead is None or not self.ahead.begun:
            return self.now
        return self._received(self._planned, self.ahead.result())

    def stop(self) -> None:
        """Give up what is being sampled."""
        if self.ahead is not None:
            self.ahead.stop()

    def _plan(self, indices: list[int], step: int, sampled_after: int) -> Plan:
        sampling = Sampling(self.temperature)
        for state in self.method.states:
            sampling = state.sampling(sampling)
        return Plan(step, indices, sampled_after, sampling)

    def _sampled(self, plan: Plan):
        """The part of the rollouts that this process samples."""
        questions = [self.questions[index] for index in plan.indices]
        return self.collector.collect_own(questions, self.group_size, self.method.algorithm, plan.step, plan.sampling)

    def _received(self, plan: Plan, part) -> Rollouts:
        """The rollouts of all processes, with what the weights that sampled them say. Every process must call it."""
        batch = self.collector.put_together(part)
        self.rest()
        self.passes.temperature = plan.sampling.temperature
        rows = batch.training_rows()
        paths = [row.path for row in rows]
        output, metrics = path_tensors(paths, self.pad_id, self.passes.accelerator.device), {}
        mask_BT, side_B = loss_mask(output), sides_of(rows, output["completion_mask"].device)
        if side_B.any():
            self._score_side_rows(output, side_B, [row.path for row in rows if row.side])
        sampler_logps_BT, reads = output["old_per_token_logps"], self.method.reads()
        if self.gap is not None:
            score = partial(self.passes.score, self.sampler)
            tensors, metrics = self.gap.close(output, mask_BT, paths, self.rows, score)
            output |= tensors
        if SAMPLER in reads:
            output[SAMPLER] = sampler_logps_BT
        if "old_entropies_BT" in reads:
            with torch.no_grad():
                output["old_entropies_BT"] = self.passes.score(self.sampler, output, entropy=True)[1]
        if self.ahead is not None:
            metrics = metrics | {SAMPLED_AFTER: float(plan.sampled_after)}
        return Rollouts(plan, batch, output, metrics)

    @torch.no_grad()
    def _score_side_rows(self, output: dict, side_B: torch.Tensor, paths: list[TokenPath]) -> None:
        """Gives side rows log-probs and entropies of the policy at the step's own temperature."""
        side_rows = take(output, side_B.nonzero()[:, 0])
        logps_BT, entropies_BT = self.passes.score(self.sampler, side_rows, entropy=True)
        output["old_per_token_logps"][side_B] = logps_BT.to(output["old_per_token_logps"].dtype)
        for path, entropies in zip(paths, entropies_BT.tolist(), strict=True):
            path.entropies = entropies[: path.length]
