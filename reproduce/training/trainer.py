"""The narrow subclass of TRL's `GRPOTrainer`, and the only file that touches its private names.

What it changes: rollouts come from `Collector`, advantages and loss from an `Algorithm`, logs go to a run directory.
What it leaves alone: sampler, data loader, splitting into mini-batches, optimiser, training loop, checkpoints.

    _generate_and_score_completions   the rollout batch, of which TRL shuffles and splits the rows (`collect_batch`)
    _compute_loss                     the algorithm's loss in place of TRL's (`loss_on`)
    log                               one record per RL step
    _save_checkpoint, _load_from_checkpoint   with what else the run carries from step to step: the states of the
                                      algorithm, the collector's memory; a marker makes a checkpoint complete

Where every turn is a row, advantages are computed on whole trajectories (`rollouts.fold`), and rows that count nowhere
fill a batch up to a size that TRL can split (`training.padding_rows`).

`tests/training/test_trainer.py` fails loudly when a signature that this relies on changes.
"""

import copy
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer
from trl import GRPOTrainer

from reproduce.algorithms import Algorithm, for_run
from reproduce.algorithms.base import SAMPLER
from reproduce.algorithms.parts.state import FurtherUpdate, Outcomes, RolloutBatch, RunServices, Sampling
from reproduce.errors import UserError
from reproduce.evaluation.checks import Checks
from reproduce.rollouts.collector import Batch, Collector, batch_metrics, rollout_records
from reproduce.rollouts.tensors import SINGLE_TURNS, companions, rollout_tensors
from reproduce.rollouts.token_path import TokenPath
from reproduce.runs.directory import RunDirectory
from reproduce.runs.schema import ENGINE_TIMINGS
from reproduce.training.ahead import FILE, SAMPLED_AFTER, Ahead, Plan, Rollouts
from reproduce.training.batch_tensors import counted, fold_of, longest_completions, outcomes_of, padded, path_tensors
from reproduce.training.checkpoints import complete, load_carried
from reproduce.training.critic import Critic
from reproduce.training.evaluated import Validation
from reproduce.training.exchange import ExchangedOnce
from reproduce.training.fully_sharded import divide_trained, on_cpus
from reproduce.training.layout import Layout
from reproduce.training.master_weights import in_float32
from reproduce.training.micro_batches import own_parts, take, values_of, whole_loss
from reproduce.training.own_forward import with_own_forward
from reproduce.training.padding_rows import with_filler, without_filler
from reproduce.training.parallel import gathered, processes, share_random_state, wait_for_all
from reproduce.training.reference import Reference
from reproduce.training.sampler_copy import Replica, divided, load_whole, save_whole
from reproduce.training.sampler_gap import SamplerGap
from reproduce.training.shards import portable
from reproduce.training.token_log import TokenLog
from reproduce.training.token_logps import scored_head, token_logps
from reproduce.training.tree_attention import attention_for, check_model
from reproduce.training.trl_config import NO_QUESTION
from reproduce.training.update_metrics import KL_ROWS, clip_metrics, kl_warm_start, update_metrics

PASSED = {"logps_BT", "old_logps_BT", "advantages_BT", "entropies_BT"}


def computed_already(*arguments, **options):
    """In the place of TRL's reward function, which is never called: `collect_batch` has the rewards."""
    raise RuntimeError("TRL asked for rewards, which its rollout path alone does")


class AgenticTrainer(ExchangedOnce, GRPOTrainer):
    """GRPOTrainer that rolls out agents and trains with one of our algorithms.

    Args:
        algorithm: `reproduce.algorithms.Algorithm`.
        collector: samples and scores groups. questions: the training questions in order; the dataset's `index` column
            points into them.
        run: where each RL step is recorded. entropy_tokens: for the metrics (`batch_metrics`).
        checks: called with the RL step after its last update, if one is due; what it returns joins the step's metrics.
        validation: evaluates the validation panel after the RL steps in which it is due; its rows go to the run.
        token_log: records groups token by token, in the RL steps in which it is due.
        replica: the copy that the collector samples from, where training divides the weights of the policy or samples
            a step ahead.
        stale_steps: 1: the rollouts of a step are sampled while the one before it trains (`ahead`); needs `replica`.
        rate_factor: RL step (from 0) -> factor on the policy's learning rate; None: constant.
        group_size: trajectories per question; None: TRL's num_generations, which cannot be 1.
        measure_kl: whether the metric kl_warm_start is measured, for which the policy before training is kept even if
            the method has no use for it; without it the metric is NaN.
        offload_optimizer: states of AdamW and copies of the weights lie on the CPU; without cards it changes nothing.
        layout: how rows stand in a pass.
        tokens_per_pass: the most tokens, padding included, that one pass of the network holds (`micro_batches`); None:
            a process passes all its rows of a mini-batch at once. It changes no number but by rounding.
        args, model, train_dataset, processing_class: as TRL's. `args.gradient_accumulation_steps` must be 1.
    """

    def __init__(
        self,
        *,
        algorithm: Algorithm,
        collector: Collector,
        questions: list,
        run: RunDirectory,
        entropy_tokens: int,
        model,
        checks: Checks | None = None,
        validation: Validation | None = None,
        token_log: TokenLog | None = None,
        replica: Replica | None = None,
        rate_factor: Callable[[int], float] | None = None,
        group_size: int | None = None,
        measure_kl: bool = True,
        offload_optimizer: bool = False,
        layout: Layout = Layout.PADDED,
        tokens_per_pass: int | None = None,
        stale_steps: int = 0,
        **kwargs,
    ):
        on_cpus()
        super().__init__(model=model, reward_funcs=computed_already, **kwargs)
        if self.args.gradient_accumulation_steps != 1:
            raise UserError(
                "gradient_accumulation_steps must be 1: training.tokens_per_pass splits an update into micro-batches"
            )
        self.collector, self.questions, self.run, self.entropy_tokens = collector, questions, run, entropy_tokens
        self.checks, self.replica, self.rate_factor = checks, replica, rate_factor
        self.validation, self.token_log = validation, token_log
        self.measure_kl, self.layout, self.tokens_per_pass = measure_kl, layout, tokens_per_pass
        if layout is Layout.SHARED:
            check_model(self.accelerator.unwrap_model(self.model))
        self._passes = ExitStack()
        self.offload_optimizer = offload_optimizer and self.args.device.type != "cpu"
        self.num_generations = group_size or self.num_generations
        self.updates_per_step = self.args.steps_per_generation * self.num_iterations
        longest = self.args.max_completion_length
        self.algorithm = for_run(
            algorithm,
            max_completion_tokens=longest,
            updates_per_rollout=self.updates_per_step,
            group_size=self.num_generations,
            stale_steps=stale_steps,
        )
        self.ahead = Ahead(collector.model) if stale_steps else None
        self.rollouts: Rollouts | None = None
        self._planned: Plan | None = None
        self._seconds_waited = 0.0
        self.states = self.algorithm.states(
            RunServices(
                collector.max_turns,
                self.args.seed,
                self._critic,
                self._policy,
                self._policy_copy,
                self._logps,
                scored_head(self.model).weight.shape[0],
            )
        )
        self.reference = Reference(self.model) if measure_kl or "ref_logps_BT" in self._read() else None
        divide_trained(self.accelerator, self.model)
        self.host, self.gap = collector.host, None
        if self.host.own_weights:
            self.gap = SamplerGap(self.host.config, self.algorithm, reads_entropies=self._states_read("entropies_BT"))
        if SAMPLER in self.algorithm.loss_needs and (self.gap is None or self.host.config.correction == "none"):
            print(
                f"warning: {self.algorithm.name} weights by the sampler's log-probabilities, which here count as the "
                "trainer's: its weight is the plain ratio (engine.name vllm, with a correction, has both)",
                flush=True,
            )
        self.sampling = Sampling(self.temperature)
        self.updates: list[dict[str, float]] = []
        self._step_metrics: dict[str, float] = {}

    @property
    def batch(self) -> Batch | None:
        """The groups of the RL step in progress."""
        return self.rollouts and self.rollouts.batch

    @property
    def sampler(self) -> torch.nn.Module:
        """The weights that sampled the newest rollouts, for the trainer's own passes."""
        return self.model if self.ahead is None else self.replica.model

    @property
    def rl_step(self) -> int:
        """The RL step in progress, counted from 1."""
        return self.state.global_step // self.updates_per_step + 1

    def train(self, *arguments, **options):
        """Trains. If that fails, what is being sampled is given up."""
        try:
            return super().train(*arguments, **options)
        except BaseException:
            if self.ahead is not None:
                self.ahead.stop()
            raise

    def get_optimizer_cls_and_kwargs(self, args, model=None):
        """The optimiser that TRL's config names (AdamW); over float32 copies where bfloat16 weights are trained."""
        cls, options = GRPOTrainer.get_optimizer_cls_and_kwargs(args, model)
        return in_float32(cls, model, self.offload_optimizer), options

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """A learning rate that moves once an RL step, by `rate_factor`; TRL's, which is constant, without one."""
        if self.rate_factor is None:
            return super().create_scheduler(num_training_steps, optimizer)
        self.lr_scheduler = LambdaLR(
            self.optimizer if optimizer is None else optimizer,
            lambda update: self.rate_factor(update // self.updates_per_step),
        )
        return self.lr_scheduler

    def refresh_sampler(self) -> None:
        """Gives what samples the weights of now. Every process must call it."""
        if self.replica is not None:
            self.replica.refresh(self.model)
        self.host.refresh(self.collector.model)

    def _rest(self) -> None:
        """Nothing is sampled until `refresh_sampler`, unless rollouts of the next step are."""
        if self.ahead is None:
            self.host.rest()

    # -- rollouts -------------------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs):
        return self.collect_batch([row["index"] for row in inputs[:: self.num_generations]])

    def collect_batch(self, indices: list[int]) -> dict[str, torch.Tensor]:
        """Sample and score a rollout batch: everything that the updates on it read, by name.

        indices: of this process's questions; the batch is that of all processes, and every process returns all of it.
        """
        started = time.perf_counter()
        asked = [index for own in gathered(indices) for index in own if index != NO_QUESTION]
        self._begin_step(asked)
        output = dict(self.rollouts.tensors)
        mask_BT = self.loss_mask(output)
        training_rows = self.batch.training_rows()
        fold = fold_of(self.batch, mask_BT)
        entropies_BT = padded([row.path.entropies for row in training_rows], mask_BT.device)
        self._step_metrics = dict.fromkeys(self.algorithm.metrics, float("nan"))
        self._step_metrics |= batch_metrics(self.batch, self.entropy_tokens)
        outcomes = self._outcomes(mask_BT.device)
        groups_J = outcomes.groups_J
        lengths_J = longest_completions(self.batch, mask_BT.device)
        penalty_J = self.algorithm.overlong_penalty(lengths_J, self.args.max_completion_length)
        shaped_J = outcomes.rewards_J if penalty_J is None else outcomes.rewards_J + penalty_J
        output |= self._named_tensors(output, mask_BT, entropies_BT, shaped_J, fold, outcomes)
        extra = {name: fold.join(output[name]) for name in self.algorithm.advantage_needs if name in output}
        extra |= {name: value for name, value in self._numbers().items() if name in self.algorithm.advantage_needs}
        given = (shaped_J, groups_J, fold.mask_JL)
        advantages_JL, metrics = self.algorithm.advantages_and_metrics(
            *given, entropies_BT=fold.join(entropies_BT), **extra
        )
        counts_J = counted(self.batch, mask_BT.device, sides="sides_BT" in self.algorithm.advantage_needs)
        advantages_JL = torch.where(counts_J[:, None], advantages_JL, 0.0)
        output["advantages"] = advantages_BT = fold.split(advantages_JL)
        side_B = torch.tensor([row.side for row in training_rows], device=mask_BT.device)
        if side_B.any():
            kept_BT = self.algorithm.trained_rows(*given, **extra)[:, None] & fold.mask_JL
            kept_B = fold.split(kept_BT).any(1) & (~side_B | (advantages_BT != 0).any(1))
            output["tool_mask"] = output["tool_mask"] * kept_B[:, None]
            mask_BT = self.loss_mask(output)
        for state in self.states:
            state.on_advantages(advantages_BT, mask_BT)
        output["rollout_entropies"] = entropies_BT
        self._step_metrics |= metrics | self.rollouts.metrics
        if self.ahead is not None:
            self._step_metrics[SAMPLED_AFTER] = float(self.rollouts.plan.sampled_after)
        self._step_metrics["advantage_abs_mean"] = float(advantages_BT[mask_BT].abs().mean())
        self.high_entropy = float(torch.quantile(entropies_BT[mask_BT][:1_000_000], 0.8))
        self._seconds_rollout = time.perf_counter() - started + self._seconds_waited
        self._train_started, self._seconds_waited = time.perf_counter(), 0.0
        if self.token_log is not None and self.token_log.due(self.rl_step):
            output |= self.token_log.begin(self.batch, output, self._score_of_now)
        share_random_state()
        return with_filler(output, self.args.steps_per_generation)

    def _begin_step(self, indices: list[int]) -> None:
        """Gets the rollouts of the RL step in progress; with stale steps begins those of the next one."""
        step, found = self.rl_step, self.rollouts
        if self.ahead is None or step == 1:
            self.host.costs()  # of evaluations since the last step
            self.refresh_sampler()
            plan = self._plan(indices, step, step - 1)
            self.rollouts = self._received(plan, self._sampled(plan))
        elif found is None or found.plan.step != step:
            raise UserError(f"{self.run.checkpoints}: the last checkpoint lacks {FILE}: delete it and run again")
        elif found.plan.indices != indices:
            raise RuntimeError("TRL asks for other questions than those that were sampled ahead")
        else:
            self.refresh_sampler()
        if self.ahead is not None and step < self.state.max_steps // self.updates_per_step:
            self.host.costs()
            self._planned = self._plan([index + len(indices) for index in indices], step + 1, step - 1)
            side = self._planned.sampling.side_rows
            if side is not None and side.model is not None:
                raise UserError(
                    f"training.stale_steps: {self.algorithm.name} samples side rows from weights of its own, which "
                    "change while a step trains; set it to 0"
                )
            self.ahead.begin(partial(self._sampled, self._planned))

    def _plan(self, indices: list[int], step: int, sampled_after: int) -> Plan:
        sampling = Sampling(self.temperature)
        for state in self.states:
            sampling = state.sampling(sampling)
        return Plan(step, indices, sampled_after, sampling)

    def _sampled(self, plan: Plan):
        """The part of the rollouts that this process samples."""
        questions = [self.questions[index] for index in plan.indices]
        return self.collector.collect_own(questions, self.num_generations, self.algorithm, plan.step, plan.sampling)

    def _received(self, plan: Plan, part) -> Rollouts:
        """The rollouts of all processes, with what the weights that sampled them say. Every process must call it."""
        batch = self.collector.put_together(part)
        self._rest()
        self.sampling = plan.sampling
        rows = batch.training_rows()
        paths = [row.path for row in rows]
        output, metrics = path_tensors(paths, self.processing_class.pad_token_id, self.accelerator.device), {}
        mask_BT = self.loss_mask(output)
        side_B = torch.tensor([row.side for row in rows], device=mask_BT.device)
        if side_B.any():
            self._score_side_rows(output, side_B, [row.path for row in rows if row.side])
        sampler_logps_BT, read = output["old_per_token_logps"], self._read()
        if self.gap is not None:
            size = self.args.per_device_train_batch_size * processes()
            tensors, metrics = self.gap.close(output, mask_BT, paths, size, partial(self.score, self.sampler))
            output |= tensors
        if SAMPLER in read:
            output[SAMPLER] = sampler_logps_BT
        if "old_entropies_BT" in read:
            with torch.no_grad():
                output["old_entropies_BT"] = self.score(self.sampler, output, entropy=True)[1]
        return Rollouts(plan, batch, output, metrics)

    @torch.no_grad()
    def _score_of_now(self, inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """(logps_BT, entropies_BT) of some rows under the weights of now."""
        return self.score(self.model, inputs, entropy=True)

    @torch.no_grad()
    def _score_side_rows(self, output, side_B: torch.Tensor, paths: list[TokenPath]) -> None:
        """Gives side rows log-probs and entropies of the policy at the step's own temperature."""
        logps_BT, entropies_BT = self.score(self.sampler, take(output, side_B.nonzero()[:, 0]), entropy=True)
        output["old_per_token_logps"][side_B] = logps_BT.to(output["old_per_token_logps"].dtype)
        for path, entropies in zip(paths, entropies_BT.tolist(), strict=True):
            path.entropies = entropies[: path.length]

    def _outcomes(self, device) -> Outcomes:
        """How the batch's trajectories ended, with the rewards that the states make of the task's."""
        outcomes = outcomes_of(self.batch, self.rl_step - 1, device)
        for state in self.states:
            rewards_J, metrics = state.rewards(outcomes)
            outcomes = replace(outcomes, rewards_J=rewards_J)
            self._step_metrics |= metrics
        return outcomes

    def _named_tensors(self, output, mask_BT, entropies_BT, rewards_J, fold, outcomes) -> dict[str, torch.Tensor]:
        """Tensors that the algorithm's parts read by name, beyond log-probs, advantages and entropies."""
        needs = self._read() - self._numbers().keys() - PASSED
        needs.update(companions(self.algorithm.loss_needs, self.batch.single_turns))
        made_here = {"ref_logps_BT", *output}.union(*(state.makes for state in self.states))
        asked = tuple(sorted(needs - made_here))
        named = rollout_tensors(self.batch, asked, mask_BT.shape[1], mask_BT.device, self.collector.grammar)
        if "ref_logps_BT" in needs:
            with torch.no_grad(), self.reference.policy() as start:
                named["ref_logps_BT"] = self.score(start, output)[0]
        for state in self.states:
            tensors = {**output, **named, "entropies_BT": entropies_BT}
            made, metrics = state.on_batch(RolloutBatch(tensors, mask_BT, rewards_J, fold, outcomes))
            named |= made
            self._step_metrics |= metrics
        return named

    def _numbers(self) -> dict:
        """Numbers that parts read by name: the place in the training, and what states know."""
        found = {"rl_step": self.rl_step - 1, "rl_steps": self.state.max_steps // self.updates_per_step}
        for state in self.states:
            found |= state.numbers()
        return found

    def _critic(self) -> Critic:
        return Critic(
            self.model,
            self.algorithm,
            self.args.learning_rate,
            self.args.weight_decay,
            layout=self.layout,
            tokens_per_pass=self.tokens_per_pass,
            offload=self.offload_optimizer,
            checkpointing=self.args.gradient_checkpointing_kwargs if self.args.gradient_checkpointing else None,
        )

    def _read(self) -> set[str]:
        """Names of the tensors and numbers that the algorithm's parts and states read."""
        read = {name for state in self.states for name in state.reads}
        return {*self.algorithm.advantage_needs, *self.algorithm.loss_needs, *read}

    def _policy(self):
        if divided():
            raise UserError("a part asks for the policy's weights, which the launcher divides: take one_gpu or ddp")
        return self.accelerator.unwrap_model(self.model)

    def _policy_copy(self):
        return with_own_forward(copy.deepcopy(self._policy())).eval().requires_grad_(False)

    @torch.no_grad()
    def _logps(self, tensors: dict, model=None, temperature: float | None = None) -> torch.Tensor:
        return self.score(self.model if model is None else model, tensors, temperature=temperature)[0]

    def _states_read(self, name: str) -> bool:
        return any(name in state.reads for state in self.states)

    # -- updates --------------------------------------------------------------------------------------------------

    @staticmethod
    def loss_mask(inputs) -> torch.Tensor:
        return (inputs["completion_mask"] * inputs["tool_mask"]).bool()

    def score(self, model, inputs, entropy: bool = False, temperature: float | None = None):
        """(logps_BT, entropies_BT or None) of loss-mask tokens at `temperature`; None: of the step's sampling.

        Of the whole batch in every process; gradient flows into the rows that this process passed.
        """
        mask_BT = self.loss_mask(inputs)
        parts = own_parts(inputs, mask_BT, self.tokens_per_pass, self.layout)
        with attention_for(self.accelerator.unwrap_model(model), self.layout):
            return values_of(parts, inputs, mask_BT, self._scorer(model, entropy, temperature))

    def _scorer(self, model, entropy: bool, temperature: float | None = None):
        head = scored_head(self.accelerator.unwrap_model(model))
        t, layout = self.sampling.temperature if temperature is None else temperature, self.layout
        return lambda inputs, mask_BT: token_logps(model, head, inputs, mask_BT, t, entropy, layout)

    def training_step(self, model, inputs, num_items_in_batch=None):
        with self._passes:  # to the end of the backward pass, which may compute layers again
            return super().training_step(model, inputs, num_items_in_batch)

    def _compute_loss(self, model, inputs):
        self._passes.enter_context(attention_for(self.accelerator.unwrap_model(model), self.layout))  # not in sampling
        return self.loss_on(model, inputs)

    def loss_on(self, model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The algorithm's loss of a mini-batch of `collect_batch`, after what its states do with the mini-batch."""
        inputs = without_filler(inputs, self.loss_mask(inputs))
        mask_BT = self.loss_mask(inputs)
        reported: dict[str, float] = {}
        for state in self.states:
            reported |= state.on_minibatch(inputs, mask_BT)
        needs = self.algorithm.loss_needs
        given = {**inputs, **self._numbers()}
        extra = {name: value for name, value in given.items() if name in needs or name in SINGLE_TURNS}

        def loss(logps_BT, entropies_BT):
            loss, metrics = self.algorithm.loss(
                logps_BT,
                inputs["old_per_token_logps"],
                inputs["advantages"],
                mask_BT,
                entropies_BT=entropies_BT,
                sampler_weights_BT=inputs.get("sampler_weights_BT"),
                normalizer=mask_BT.sum().float().clamp(min=1),
                rows=mask_BT.shape[0],
                **extra,
            )
            metrics |= reported
            if self.token_log is not None:
                self.token_log.update(inputs, logps_BT)
            for state in self.states:
                state.on_loss(logps_BT.detach(), mask_BT)
            with torch.no_grad():
                ratio_BT = torch.exp(logps_BT - inputs["old_per_token_logps"])
                entropies = inputs["rollout_entropies"][mask_BT]
                metrics |= clip_metrics(ratio_BT[mask_BT], entropies, self.algorithm.clip_range, self.high_entropy)
                if len(self.updates) == 0:
                    metrics["kl_warm_start"] = self._kl_warm_start(logps_BT, inputs, mask_BT)
            self.updates.append(metrics | {"loss": float(loss.detach())})
            return loss * processes() if self.is_deepspeed_enabled else loss  # which averages what processes have

        parts = own_parts(inputs, mask_BT, self.tokens_per_pass, self.layout)
        score = self._scorer(model, "entropies_BT" in needs)
        with attention_for(self.accelerator.unwrap_model(model), self.layout):
            return whole_loss(parts, inputs, mask_BT, score, loss, partial(self._accumulate, model))

    def _accumulate(self, model, loss: torch.Tensor) -> None:
        """The backward pass of a micro-batch that is not the last of its update."""
        self.accelerator.sync_gradients = False  # of DeepSpeed: no step yet
        self.accelerator.backward(loss)
        self.accelerator.sync_gradients = True

    def _kl_warm_start(self, logps_BT, inputs, mask_BT) -> float:
        """Mean k3 estimate of KL(policy || warm start) per sampled token, on the first rows of the first mini-batch."""
        if not self.measure_kl:
            return float("nan")
        part = {name: value[:KL_ROWS] for name, value in inputs.items() if torch.is_tensor(value) and value.dim() == 2}
        with self.reference.policy() as start:
            reference_BT, _ = self.score(start, part)
        return kl_warm_start(logps_BT[:KL_ROWS], reference_BT, mask_BT[:KL_ROWS])

    def _further_updates(self) -> dict[str, float]:
        """The optimiser steps that states ask for beside the step's own. Returns the metrics that they report."""
        found: dict[str, list[float]] = {}
        for update in (update for state in self.states for update in state.further_updates()):
            metrics = self._further_update(update)
            for name, of_loss in update.reported.items():
                found.setdefault(name, []).append(metrics[of_loss])
        if found:
            self.host.weights_changed()
        return {name: sum(values) / len(values) for name, values in found.items()}

    def _further_update(self, update: FurtherUpdate) -> dict[str, float]:
        inputs = {name: value.to(self.args.device) for name, value in update.rows.items()}
        mask_BT, metrics, model = self.loss_mask(inputs), {}, self.model_wrapped
        algorithm = self.algorithm.with_overrides(**update.changes)

        def loss(logps_BT, entropies_BT):
            old_BT, advantages_BT = inputs["old_per_token_logps"], inputs["advantages"]
            sizes = {"normalizer": mask_BT.sum().float().clamp(min=1), "rows": len(mask_BT)}
            loss, found = algorithm.loss(logps_BT, old_BT, advantages_BT, mask_BT, **sizes, **update.numbers)
            metrics.update(found, loss=float(loss.detach()))
            return update.weight * (loss * processes() if self.is_deepspeed_enabled else loss)

        def backward() -> None:
            parts = own_parts(inputs, mask_BT, self.tokens_per_pass, self.layout)
            with attention_for(self.accelerator.unwrap_model(model), self.layout):  # in the backward pass too
                with self.compute_loss_context_manager():
                    score = self._scorer(model, entropy=False)
                    whole = whole_loss(parts, inputs, mask_BT, score, loss, partial(self._accumulate, model))
                self.accelerator.sync_gradients = True
                self.accelerator.backward(whole)

        model.train()
        self.exchanged(model, backward)
        if self.args.max_grad_norm:
            self.accelerator.clip_grad_norm_(model.parameters(), self.args.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return metrics

    # -- records --------------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Called after every update; the last one of an RL step writes its record."""
        if self.ahead is None:
            self.host.weights_changed()
        self._metrics["train"].clear()
        if "grad_norm" in logs and self.updates:
            self.updates[-1]["grad_norm"] = float(logs["grad_norm"])
        if "train_runtime" in logs or self.state.global_step % self.updates_per_step or not self.updates:
            return
        step, updates, self.updates = self.rl_step - 1, self.updates, []
        self._step_metrics |= self._further_updates()
        for state in self.states:
            state.on_step_end()
        metrics = self._step_metrics | update_metrics(updates, self.algorithm.metrics)
        seconds = {"rollout": self._seconds_rollout, "train": time.perf_counter() - self._train_started}
        seconds |= {name: metrics.pop(name) for name in ENGINE_TIMINGS if name in metrics}
        following, started = self.rollouts, time.perf_counter()
        if self.ahead is not None and self.ahead.begun:
            following = self._received(self._planned, self.ahead.result())
            self._seconds_waited = time.perf_counter() - started
        if self.checks is not None and self.checks.due(step):
            self.refresh_sampler()
            metrics |= self.host.led(partial(self.checks, step)) or {}
            self._rest()
        if self.validation is not None and self.validation.due(step):
            self.refresh_sampler()
            self.run.write_validation(step, self.validation(step))
            self._rest()
        if self.token_log is not None and self.token_log.due(step):
            self.run.write_tokens(self.token_log.record(step))
        self.run.write_step(step, metrics, rollout_records(self.batch), seconds)
        self.rollouts = following
        self.run.progress("train", step, self.state.max_steps // self.updates_per_step)
        Trainer.log(self, {name: metrics[name] for name in ("reward_mean", "entropy", "loss", "grad_norm")})

    def _save_checkpoint(self, model, trial):
        Trainer._save_checkpoint(self, model, trial)
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        carried = {name: part.state_dict() for name, part in self._carried().items()}
        if self.ahead is not None and self.rollouts.plan.step == self.rl_step and self.args.should_save:
            replace(self.rollouts, batch=portable(self.batch)).save(folder)
        for state in self.states:
            state.save_parts(folder)
        if divided() and self.state.global_step >= self.state.max_steps:  # for the evaluation
            save_whole(self.accelerator.unwrap_model(self.model), folder, self.args.should_save)
        wait_for_all()  # each process saves random states of its own
        if self.args.should_save:
            complete(folder, carried)
        wait_for_all()

    def load_checkpoint(self, folder: Path) -> None:
        """The weights of a run's last checkpoint, to be evaluated. Every process must call it."""
        if divided():
            load_whole(self.accelerator.unwrap_model(self.model), folder)
        else:
            self._load_from_checkpoint(str(folder))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        state = load_carried(Path(resume_from_checkpoint), self.model.device)
        for name, part in self._carried().items():
            part.load_state_dict(state[name])
        for one in self.states:
            one.load_parts(Path(resume_from_checkpoint))
        if self.ahead is not None:
            self.rollouts = Rollouts.load(Path(resume_from_checkpoint), self.accelerator.device)

    def _carried(self) -> dict:
        """name -> what later steps depend on besides policy, optimiser, seed and step."""
        return {"collector": self.collector} | {state.name: state for state in self.states}
