"""The narrow subclass of TRL's `GRPOTrainer`, and the only file that touches its private names.

What it changes: rollouts come from `Collector`, advantages and loss from an `Algorithm`, logs go to a run directory.
What it leaves alone: sampler, data loader, splitting into mini-batches, optimiser, training loop, checkpoints.

    _generate_and_score_completions   rollouts enter here; (B, T) advantages and rollout entropies are added
    _get_per_token_logps_and_entropies   pi_old is the sampler's own log-probability, so no forward pass recomputes it
    _compute_loss                     the algorithm's loss in place of TRL's
    log, _save_checkpoint             one record per RL step; a marker makes a checkpoint complete

`tests/test_trainer.py` fails loudly when a signature that this relies on changes.
"""

import copy
import time
from pathlib import Path

import torch
from transformers import Trainer
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import pad

from reproduce.algorithms import Algorithm
from reproduce.errors import UserError
from reproduce.rollouts.collector import Batch, Collector, batch_metrics, rollout_records
from reproduce.runs.directory import RunDirectory
from reproduce.training.scoring import scored_head, token_logps

COMPLETE = "complete"
KL_ROWS = 32


def grpo_config(output_dir: Path, training, max_completion_tokens: int, seed: int) -> GRPOConfig:
    """TRL's config for one run: each of its updates is one mini-batch, and one RL step makes epochs x minibatches."""
    rows = training.prompts_per_step * training.group_size
    updates = training.epochs * training.minibatches
    return GRPOConfig(
        output_dir=str(output_dir), seed=seed, data_seed=seed, report_to="none", disable_tqdm=True,
        max_steps=training.steps * updates, save_steps=training.checkpoint_every * updates, save_total_limit=2,
        logging_steps=1, logging_first_step=False, save_strategy="steps",
        per_device_train_batch_size=rows // training.minibatches, gradient_accumulation_steps=1,
        steps_per_generation=training.minibatches, num_iterations=training.epochs,
        num_generations=training.group_size, shuffle_dataset=False, remove_unused_columns=False,
        max_completion_length=max_completion_tokens, temperature=training.temperature, top_p=1.0, top_k=0,
        learning_rate=training.learning_rate, lr_scheduler_type="constant", weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm, beta=0.0, use_vllm=False,
        use_cpu=training.device == "cpu", bf16=training.dtype == "bfloat16", fp16=False, gradient_checkpointing=False,
        dataloader_pin_memory=False,
    )  # fmt: skip


def recorded_reward(completions, reward, **kwargs) -> list[float]:
    """TRL's reward function: the rewards that the rollout already computed."""
    return list(reward)


class AgenticTrainer(GRPOTrainer):
    """GRPOTrainer that rolls out agents and trains with one of our algorithms.

    Args:
        algorithm: `reproduce.algorithms.Algorithm`.
        collector: samples and scores groups. questions: the training questions in order; the dataset's `index` column
            points into them.
        run: where each RL step is recorded. entropy_tokens: for the metrics (`batch_metrics`).
        args, model, train_dataset, processing_class: as TRL's. `args.gradient_accumulation_steps` must be 1.
    """

    def __init__(self, *, algorithm: Algorithm, collector: Collector, questions: list, run: RunDirectory,
                 entropy_tokens: int, model, **kwargs):  # fmt: skip
        warm_start = copy.deepcopy(model)  # before TRL binds a forward of its own to the model
        super().__init__(model=model, reward_funcs=recorded_reward, rollout_func=self._rollout, **kwargs)
        if self.args.gradient_accumulation_steps != 1:
            raise UserError(
                "gradient_accumulation_steps must be 1: lower the mini-batch with training.minibatches instead"
            )
        self.algorithm, self.collector, self.questions, self.run = algorithm, collector, questions, run
        self.entropy_tokens = entropy_tokens
        self.updates_per_step = self.args.steps_per_generation * self.num_iterations
        if self.updates_per_step < 2:
            raise UserError(
                "training: epochs x minibatches must be at least 2, else every ratio is 1 and clipping is inert"
            )
        self.warm_start = warm_start.to(self.model.device).eval().requires_grad_(False)
        self.batch: Batch | None = None
        self._sampler_logps: torch.Tensor | None = None
        self._updates: list[dict[str, float]] = []
        self._step_metrics: dict[str, float] = {}

    @property
    def rl_step(self) -> int:
        """The RL step in progress, counted from 1."""
        return self.state.global_step // self.updates_per_step + 1

    # -- rollouts -------------------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs):
        started = time.perf_counter()
        k = self.num_generations
        questions = [self.questions[row["index"]] for row in inputs[::k]]
        self.batch = self.collector.collect(questions, k, self.algorithm, self.rl_step)
        rows = [group.trajectories[i] for _, group, i in self.batch.rows()]
        self._sampler_logps = _padded([t.path.logps for t in rows], self.accelerator.device)
        try:
            output = super()._generate_and_score_completions(inputs)
        finally:
            self._sampler_logps = None
        mask_BT = self._loss_mask(output)
        entropies_BT = _padded([t.path.entropies for t in rows], mask_BT.device)
        rewards_B, groups_B = self._rewards(mask_BT.device)
        lengths_B = torch.tensor([t.path.length for t in rows], device=mask_BT.device)
        penalty_B = self.algorithm.overlong_penalty(lengths_B, self.args.max_completion_length)
        shaped_B = rewards_B if penalty_B is None else rewards_B + penalty_B
        advantages_BT = self.algorithm.advantages(shaped_B, groups_B, mask_BT, entropies_BT=entropies_BT)
        output["advantages"] = advantages_BT
        output["rollout_entropies"] = entropies_BT
        self._step_metrics = batch_metrics(self.batch, self.entropy_tokens)
        self._step_metrics["advantage_abs_mean"] = float(advantages_BT[mask_BT].abs().mean())
        self._high_entropy = float(torch.quantile(entropies_BT[mask_BT][:1_000_000], 0.8))
        self._seconds_rollout, self._train_started = time.perf_counter() - started, time.perf_counter()
        return output

    def _rollout(self, prompts, trainer) -> dict:
        """TRL's `rollout_func`: the collected batch, token for token as it was sampled."""
        rows = [(group, group.trajectories[i], i) for _, group, i in self.batch.rows()]
        return {
            "prompt_ids": [list(t.path.prompt) for _, t, _ in rows],
            "completion_ids": [t.path.completion for _, t, _ in rows],
            "logprobs": [t.path.logps for _, t, _ in rows],
            "env_mask": [[int(s) for s in t.path.sampled] for _, t, _ in rows],
            "reward": [group.rewards[i].reward for group, _, i in rows],
        }

    def _rewards(self, device) -> tuple[torch.Tensor, torch.Tensor]:
        rows = self.batch.rows()
        rewards = torch.tensor([group.rewards[i].reward for _, group, i in rows], device=device)
        return rewards, torch.tensor([g for g, _, _ in rows], device=device)

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        if self._sampler_logps is None or self._sampler_logps.shape != (input_ids.shape[0], logits_to_keep):
            raise RuntimeError("the sampler's log-probs do not match TRL's completion tensor")
        return self._sampler_logps, None, None

    # -- updates --------------------------------------------------------------------------------------------------

    @staticmethod
    def _loss_mask(inputs) -> torch.Tensor:
        return (inputs["completion_mask"] * inputs["tool_mask"]).bool()

    def _logps(self, model, inputs, entropy: bool = False):
        """(logps_BT, entropies_BT or None) at the sampling temperature, of loss-mask tokens."""
        head = scored_head(self.accelerator.unwrap_model(model))
        return token_logps(model, head, inputs, self._loss_mask(inputs), self.temperature, entropy)

    def _compute_loss(self, model, inputs):
        mask_BT = self._loss_mask(inputs)
        wants_entropy = "entropies_BT" in self.algorithm.loss_needs
        logps_BT, entropies_BT = self._logps(model, inputs, wants_entropy)
        tokens = self.accelerator.gather(mask_BT.sum()).sum() / self.accelerator.num_processes
        loss, metrics = self.algorithm.loss(
            logps_BT, inputs["old_per_token_logps"], inputs["advantages"], mask_BT,
            entropies_BT=entropies_BT, normalizer=tokens.clamp(min=1), rows=mask_BT.shape[0],
        )  # fmt: skip
        with torch.no_grad():
            metrics |= self._clip_metrics(logps_BT, inputs, mask_BT)
            if len(self._updates) == 0:
                metrics["kl_warm_start"] = self._kl_warm_start(logps_BT, inputs, mask_BT)
        self._updates.append(metrics | {"loss": float(loss.detach())})
        return loss

    def _clip_metrics(self, logps_BT, inputs, mask_BT) -> dict[str, float]:
        """Rollout entropy of the tokens outside and inside the clip range, as sums for averaging over updates."""
        ratio = torch.exp(logps_BT - inputs["old_per_token_logps"])[mask_BT]
        entropy = inputs["rollout_entropies"][mask_BT]
        low, high = self.algorithm.clip_range
        outside = (ratio < low) | (ratio > high)
        return {
            "outside": float(outside.sum()), "inside": float((~outside).sum()),
            "entropy_outside_sum": float(entropy[outside].sum()), "entropy_inside_sum": float(entropy[~outside].sum()),
            "outside_top20": float((entropy[outside] >= self._high_entropy).sum()),
        }  # fmt: skip

    def _kl_warm_start(self, logps_BT, inputs, mask_BT) -> float:
        """Mean k3 estimate of KL(policy || warm start) per sampled token, on the first rows of the first mini-batch."""
        part = {name: value[:KL_ROWS] for name, value in inputs.items() if torch.is_tensor(value) and value.dim() == 2}
        reference_BT, _ = self._logps(self.warm_start, part)
        gap = (reference_BT - logps_BT[:KL_ROWS])[mask_BT[:KL_ROWS]]
        return float((gap.exp() - gap - 1).mean())

    # -- records --------------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Called after every update; the last one of an RL step writes its record."""
        self._metrics["train"].clear()
        if "grad_norm" in logs and self._updates:
            self._updates[-1]["grad_norm"] = float(logs["grad_norm"])
        if "train_runtime" in logs or self.state.global_step % self.updates_per_step or not self._updates:
            return
        step, updates, self._updates = self.rl_step - 1, self._updates, []
        metrics = self._step_metrics | _update_metrics(updates)
        seconds = {"rollout": self._seconds_rollout, "train": time.perf_counter() - self._train_started}
        self.run.write_step(step, metrics, rollout_records(self.batch), seconds)
        self.run.progress("train", step, self.state.max_steps // self.updates_per_step)
        Trainer.log(self, {name: metrics[name] for name in ("reward_mean", "entropy", "loss", "grad_norm")})

    def _save_checkpoint(self, model, trial):
        Trainer._save_checkpoint(self, model, trial)
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        (folder / COMPLETE).touch()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint below `folder`, or None. A checkpoint cut short by a kill does not count."""
    found = [p.parent for p in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda p: int(p.name.rsplit("-", 1)[1]), default=None)


def _update_metrics(updates: list[dict[str, float]]) -> dict[str, float]:
    """Averages over the updates of one RL step, token-weighted where the metric is a share of tokens."""
    tokens = sum(u["tokens"] for u in updates)
    outside, inside = sum(u["outside"] for u in updates), sum(u["inside"] for u in updates)
    nan = float("nan")
    shares = ("outside_clip_fraction", "clip_fraction_low", "clip_fraction_high")
    return {
        **{name: sum(u[name] * u["tokens"] for u in updates) / tokens for name in shares},
        "entropy_outside": sum(u["entropy_outside_sum"] for u in updates) / outside if outside else nan,
        "entropy_inside": sum(u["entropy_inside_sum"] for u in updates) / inside if inside else nan,
        "outside_top20_share": sum(u["outside_top20"] for u in updates) / outside if outside else nan,
        "kl_warm_start": updates[0]["kl_warm_start"],
        "grad_norm": sum(u["grad_norm"] for u in updates) / len(updates),
        "loss": sum(u["loss"] for u in updates) / len(updates),
    }


def _padded(rows: list[list[float]], device) -> torch.Tensor:
    return pad([torch.tensor(row) for row in rows], padding_value=0.0, padding_side="right").to(device)
