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
from reproduce.errors import UserError
from reproduce.evaluation.checks import Checks
from reproduce.rollouts.collector import Batch, Collector
from reproduce.rollouts.records import rollout_records
from reproduce.rollouts.tensors import SINGLE_TURNS
from reproduce.runs.directory import RunDirectory
from reproduce.runs.schema import ENGINE_TIMINGS
from reproduce.training.ahead import Rollouts
from reproduce.training.checkpoints import complete, load_carried
from reproduce.training.evaluated import Validation
from reproduce.training.exchange import ExchangedOnce
from reproduce.training.fully_sharded import divide_trained, on_cpus
from reproduce.training.further_updates import further_updates
from reproduce.training.layout import Layout
from reproduce.training.master_weights import in_float32
from reproduce.training.padding_rows import with_filler, without_filler
from reproduce.training.parallel import gathered, processes, share_random_state, wait_for_all
from reproduce.training.passes import Passes, loss_mask
from reproduce.training.reference import Reference
from reproduce.training.sampler_copy import Replica, divided, load_whole, save_whole
from reproduce.training.services import services_of
from reproduce.training.shards import portable
from reproduce.training.step_batch import Method, step_batch
from reproduce.training.step_rollouts import StepRollouts
from reproduce.training.token_log import TokenLog
from reproduce.training.trajectory_budget import TrajectoryBudget
from reproduce.training.tree_attention import check_model
from reproduce.training.trl_config import NO_QUESTION
from reproduce.training.update_metrics import KL_ROWS, clip_metrics, kl_warm_start, update_metrics


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
        budget: ends training before `args.max_steps` once enough trajectories are sampled; None: nothing does.
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
        budget: TrajectoryBudget | None = None,
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
        self.checks, self.validation, self.token_log, self.budget = checks, validation, token_log, budget
        self.rate_factor, self.measure_kl = rate_factor, measure_kl
        if layout is Layout.SHARED:
            check_model(self.accelerator.unwrap_model(self.model))
        self.passes = Passes(self.accelerator, layout, tokens_per_pass, self.temperature)
        self._attention = ExitStack()
        self.offload_optimizer = offload_optimizer and self.args.device.type != "cpu"
        self.num_generations = group_size or self.num_generations
        self.updates_per_step = self.args.steps_per_generation * self.num_iterations
        self.algorithm = for_run(
            algorithm,
            max_completion_tokens=self.args.max_completion_length,
            updates_per_rollout=self.updates_per_step,
            group_size=self.num_generations,
            stale_steps=stale_steps,
        )
        trained, turns = lambda: self.model, collector.max_turns
        services = services_of(trained, self.algorithm, self.passes, self.args, turns, self.offload_optimizer)
        self.states = self.algorithm.states(services)
        self.method = Method(self.algorithm, self.states, lambda: self.rl_step - 1, lambda: self.rl_steps)
        reads_reference = measure_kl or "ref_logps_BT" in self.method.reads()
        self.reference = Reference(self.model) if reads_reference else None
        divide_trained(self.accelerator, self.model)
        self.rollouts = StepRollouts(
            collector=collector,
            questions=questions,
            group_size=self.num_generations,
            temperature=self.temperature,
            method=self.method,
            passes=self.passes,
            policy=trained,
            replica=replica,
            stale=bool(stale_steps),
            rows=self.args.per_device_train_batch_size * processes(),
            pad_id=self.processing_class.pad_token_id,
            checkpoints=run.checkpoints,
        )
        self.host, self.refresh_sampler = collector.host, self.rollouts.refresh
        self.updates: list[dict[str, float]] = []
        self._step_metrics: dict[str, float] = {}
        self._seconds_waited = 0.0

    @property
    def batch(self) -> Batch | None:
        """The groups of the RL step in progress."""
        return self.rollouts.batch

    @property
    def rl_step(self) -> int:
        """The RL step in progress, counted from 1."""
        return self.state.global_step // self.updates_per_step + 1

    @property
    def ending(self) -> bool:
        """Whether the budget ends training with the RL step in progress, or ended it."""
        return self.budget is not None and self.budget.reached

    @property
    def rl_steps(self) -> int:
        """RL steps of the whole training."""
        return self.state.max_steps // self.updates_per_step

    def train(self, *arguments, **options):
        """Trains. If that fails, what is being sampled is given up."""
        try:
            return super().train(*arguments, **options)
        except BaseException:
            self.rollouts.stop()
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

    # -- rollouts -------------------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs):
        return self.collect_batch([row["index"] for row in inputs[:: self.num_generations]])

    def collect_batch(self, indices: list[int]) -> dict[str, torch.Tensor]:
        """Sample and score a rollout batch: everything that the updates on it read, by name.

        Args:
            indices: of this process's questions; the batch is that of all processes.

        Returns:
            name -> tensor, a row for each training row of the whole batch, the same in every process.
        """
        started = time.perf_counter()
        asked = [index for own in gathered(indices) for index in own if index != NO_QUESTION]
        found = step_batch(
            self.rollouts.begin(asked, self.rl_step, self.rl_steps),
            self.method,
            self.passes,
            self.reference,
            self.collector.grammar,
            longest=self.args.max_completion_length,
            entropy_tokens=self.entropy_tokens,
        )
        output, self._step_metrics, self.high_entropy = found
        if self.budget is not None:
            self.budget.add(self._step_metrics["groups_sampled"])
        self._seconds_rollout = time.perf_counter() - started + self._seconds_waited
        self._train_started, self._seconds_waited = time.perf_counter(), 0.0
        if self.token_log is not None and self.token_log.due(self.rl_step, self.ending):
            with torch.no_grad():
                output |= self.token_log.begin(self.batch, output, partial(self.passes.score, self.model, entropy=True))
        share_random_state()
        return with_filler(output, self.args.steps_per_generation)

    # -- updates --------------------------------------------------------------------------------------------------

    loss_mask = staticmethod(loss_mask)

    def training_step(self, model, inputs, num_items_in_batch=None):
        with self._attention:
            return super().training_step(model, inputs, num_items_in_batch)

    def _compute_loss(self, model, inputs):
        self._attention.enter_context(self.passes.attending(model))  # TRL has sampled; open to the end of the backward
        return self.loss_on(model, inputs)

    def loss_on(self, model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The algorithm's loss of a mini-batch, after what its states do with the mini-batch.

        Args:
            model: the policy. Outside of a training step, open `passes.attending(model)` until the backward pass ends.
            inputs: rows of what `collect_batch` returns.
        """
        inputs = without_filler(inputs, loss_mask(inputs))
        mask_BT, needs = loss_mask(inputs), self.algorithm.loss_needs
        reported: dict[str, float] = {}
        for state in self.states:
            reported |= state.on_minibatch(inputs, mask_BT)
        given = {**inputs, **self.method.numbers()}
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
            return self.of_process(loss)

        return self.passes.loss(model, inputs, loss, entropy="entropies_BT" in needs)

    def of_process(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss as a process has it: DeepSpeed averages what processes have, all others add it up."""
        return loss * processes() if self.is_deepspeed_enabled else loss

    def _kl_warm_start(self, logps_BT, inputs, mask_BT) -> float:
        """KL(policy || warm start), on the first rows of the first mini-batch."""
        if not self.measure_kl:
            return float("nan")
        part = {name: value[:KL_ROWS] for name, value in inputs.items() if torch.is_tensor(value) and value.dim() == 2}
        with self.reference.policy() as start:
            reference_BT, _ = self.passes.score(start, part)
        return kl_warm_start(logps_BT[:KL_ROWS], reference_BT, mask_BT[:KL_ROWS])

    # -- records --------------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Called after every update; the last one of an RL step writes its record."""
        if self.rollouts.ahead is None:
            self.host.weights_changed()
        self._metrics["train"].clear()
        if "grad_norm" in logs and self.updates:
            self.updates[-1]["grad_norm"] = float(logs["grad_norm"])
        if "train_runtime" in logs or self.state.global_step % self.updates_per_step or not self.updates:
            return
        step, updates, self.updates = self.rl_step - 1, self.updates, []
        self._step_metrics |= further_updates(self)
        for state in self.states:
            state.on_step_end()
        metrics = self._step_metrics | update_metrics(updates, self.algorithm.metrics)
        seconds = {"rollout": self._seconds_rollout, "train": time.perf_counter() - self._train_started}
        seconds |= {name: metrics.pop(name) for name in ENGINE_TIMINGS if name in metrics}
        started = time.perf_counter()
        following = self.rollouts.following()
        self._seconds_waited = time.perf_counter() - started
        if self.checks is not None and self.checks.due(step):
            self.refresh_sampler()
            metrics |= self.host.led(partial(self.checks, step)) or {}
            self.rollouts.rest()
        if self.validation is not None and self.validation.due(step, self.ending):
            self.refresh_sampler()
            self.run.write_validation(step, self.validation(step))
            self.rollouts.rest()
        if self.token_log is not None and self.token_log.due(step, self.ending):
            self.run.write_tokens(self.token_log.record(step))
        self.run.write_step(step, metrics, rollout_records(self.batch), seconds)
        self.rollouts.now = following
        self.run.progress(
            "train", step, self.rl_steps if self.budget is None else self.budget.expected(step, self.rl_steps)
        )
        Trainer.log(self, {name: metrics[name] for name in ("reward_mean", "entropy", "loss", "grad_norm")})
        if self.ending:
            self.control.should_training_stop = self.control.should_save = True

    def _save_checkpoint(self, model, trial):
        Trainer._save_checkpoint(self, model, trial)
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        carried = {name: part.state_dict() for name, part in self._carried().items()}
        now = self.rollouts.now
        if self.rollouts.ahead is not None and now.plan.step == self.rl_step and self.args.should_save:
            replace(now, batch=portable(now.batch)).save(folder)
        for state in self.states:
            state.save_parts(folder)
        if divided() and (self.ending or self.state.global_step >= self.state.max_steps):  # for the evaluation
            save_whole(self.accelerator.unwrap_model(self.model), folder, self.args.should_save)
        wait_for_all()  # each process saves random states of its own
        if self.args.should_save:
            complete(folder, carried)
        wait_for_all()

    def ended_at(self, folder: Path) -> bool:
        """Whether the budget ended training at a run's checkpoint."""
        if self.budget is not None:
            self.budget.load_state_dict(load_carried(folder, self.model.device)[self.budget.NAME])
        return self.ending

    def load_checkpoint(self, folder: Path) -> None:
        """The weights of a run's last checkpoint, to be evaluated. Every process must call it."""
        if divided():
            load_whole(self.accelerator.unwrap_model(self.model), folder)
        else:
            self._load_from_checkpoint(str(folder))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint)
        state = load_carried(folder, self.model.device)
        for name, part in self._carried().items():
            part.load_state_dict(state[name])
        for one in self.states:
            one.load_parts(folder)
        if self.rollouts.ahead is not None:
            self.rollouts.now = Rollouts.load(folder, self.accelerator.device)

    def _carried(self) -> dict:
        """name -> what later steps depend on besides policy, optimiser, seed and step."""
        carried = {"collector": self.collector} | {state.name: state for state in self.states}
        return carried if self.budget is None else carried | {self.budget.NAME: self.budget}
