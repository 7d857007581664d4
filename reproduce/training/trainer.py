"""The narrow subclass of TRL's `GRPOTrainer`, and the only file that touches its private names.

What it changes: rollouts come from `Collector`, advantages and loss from an `Algorithm`, logs go to a run directory.
What it leaves alone: sampler, data loader, splitting into mini-batches, optimiser, training loop, checkpoints.

    _generate_and_score_completions   rollouts enter here; advantages and whatever the algorithm reads are added
    _get_per_token_logps_and_entropies   pi_old is the sampler's own log-probability, so no forward pass recomputes it
    _compute_loss                     the algorithm's loss in place of TRL's; a critic makes its own step before
    log                               one record per RL step
    _save_checkpoint, _load_from_checkpoint   with what else the run carries from step to step: the critic, the entropy
                                      history, the collector's memory; a marker makes a checkpoint complete

`tests/test_trainer.py` fails loudly when a signature that this relies on changes.
"""

import copy
import time
from pathlib import Path

import torch
from transformers import Trainer
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import pad

from reproduce.algorithms import Algorithm, for_run
from reproduce.errors import UserError
from reproduce.objectives.gae import explained_variance
from reproduce.rollouts.collector import Batch, Collector, batch_metrics, rollout_records
from reproduce.rollouts.tensors import rollout_tensors
from reproduce.runs.directory import RunDirectory
from reproduce.training.critic import Critic
from reproduce.training.entropy_history import EntropyHistory
from reproduce.training.scoring import scored_head, token_logps
from reproduce.training.update_metrics import recorded, update_metrics

COMPLETE = "complete"
CARRIED = "carried.pt"
KL_ROWS = 32
PASSED = {"logps_BT", "old_logps_BT", "advantages_BT", "entropies_BT"}
MADE_HERE = {"values_BT", "ref_logps_BT"}


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
        self.collector, self.questions, self.run, self.entropy_tokens = collector, questions, run, entropy_tokens
        self.updates_per_step = self.args.steps_per_generation * self.num_iterations
        longest = self.args.max_completion_length
        self.algorithm = for_run(algorithm, max_completion_tokens=longest, updates_per_rollout=self.updates_per_step)
        self.warm_start = warm_start.to(self.model.device).eval().requires_grad_(False)
        self.critic = self.history = None
        if self.algorithm.critic is not None:
            self.critic = Critic(self.warm_start, self.algorithm, self.args.learning_rate, self.args.weight_decay)
        if any("entropy_reference" in name for name in self.algorithm.loss_needs):
            self.history = EntropyHistory(collector.limits.tool_calls + 1)
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
        self._sampler_logps = sampler_logps = _padded([t.path.logps for t in rows], self.accelerator.device)
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
        self._step_metrics = batch_metrics(self.batch, self.entropy_tokens)
        output |= self._named_tensors(output, mask_BT, entropies_BT, shaped_B)
        extra = {name: output[name] for name in self.algorithm.advantage_needs if name in output}
        advantages_BT, metrics = self.algorithm.advantages_and_metrics(
            shaped_B, groups_B, mask_BT, entropies_BT=entropies_BT, **extra
        )
        output["advantages"] = advantages_BT
        output["old_per_token_logps"] = sampler_logps  # which TRL leaves out when there is one update per rollout
        output["rollout_entropies"] = entropies_BT
        self._step_metrics |= recorded(metrics)
        self._step_metrics["advantage_abs_mean"] = float(advantages_BT[mask_BT].abs().mean())
        self._high_entropy = float(torch.quantile(entropies_BT[mask_BT][:1_000_000], 0.8))
        self._seconds_rollout, self._train_started = time.perf_counter() - started, time.perf_counter()
        return output

    def _named_tensors(self, output, mask_BT, entropies_BT, rewards_B) -> dict[str, torch.Tensor]:
        """What the algorithm's parts read of a rollout batch by name, beyond log-probs, advantages and entropies."""
        needs = {*self.algorithm.advantage_needs, *self.algorithm.loss_needs} - set(self._numbers()) - PASSED
        if self.history is not None:
            needs.add("turns_BT")
        named = rollout_tensors(self.batch, tuple(sorted(needs - MADE_HERE)), mask_BT.shape[1], mask_BT.device)
        if self.history is not None:
            self.history.measure(entropies_BT, named["turns_BT"], mask_BT)
        if "ref_logps_BT" in needs:
            with torch.no_grad():
                named["ref_logps_BT"] = token_logps(
                    self.warm_start, scored_head(self.warm_start), output, mask_BT, self.temperature
                )[0]
        if self.critic is not None:
            values_BT = self.critic.values(output, mask_BT)
            returns_BT = self.algorithm.returns(rewards_B, mask_BT, values_BT)
            named |= {"values_BT": values_BT, "returns_BT": returns_BT}
            self._step_metrics["value_explained_variance"] = explained_variance(values_BT, returns_BT, mask_BT)
        return named

    def _numbers(self) -> dict:
        """What parts read by name besides tensors of the batch: the place in the training, entropies of past steps."""
        steps = {"rl_step": self.rl_step - 1, "rl_steps": self.state.max_steps // self.updates_per_step}
        return steps | (self.history.references() if self.history is not None else {})

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
        values = {}
        if self.critic is not None:
            values = self.critic.update(inputs, mask_BT, inputs["values_BT"], inputs["returns_BT"])
        needs = self.algorithm.loss_needs
        logps_BT, entropies_BT = self._logps(model, inputs, "entropies_BT" in needs)
        extra = {name: value for name, value in {**inputs, **self._numbers()}.items() if name in needs}
        tokens = self.accelerator.gather(mask_BT.sum()).sum() / self.accelerator.num_processes
        loss, metrics = self.algorithm.loss(
            logps_BT, inputs["old_per_token_logps"], inputs["advantages"], mask_BT,
            entropies_BT=entropies_BT, normalizer=tokens.clamp(min=1), rows=mask_BT.shape[0], **extra,
        )  # fmt: skip
        metrics |= values
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
        if self.history is not None:
            self.history.append()
        metrics = self._step_metrics | update_metrics(updates)
        seconds = {"rollout": self._seconds_rollout, "train": time.perf_counter() - self._train_started}
        self.run.write_step(step, metrics, rollout_records(self.batch), seconds)
        self.run.progress("train", step, self.state.max_steps // self.updates_per_step)
        Trainer.log(self, {name: metrics[name] for name in ("reward_mean", "entropy", "loss", "grad_norm")})

    def _save_checkpoint(self, model, trial):
        Trainer._save_checkpoint(self, model, trial)
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        torch.save({name: part.state_dict() for name, part in self._carried().items()}, folder / CARRIED)
        (folder / COMPLETE).touch()

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        path = Path(resume_from_checkpoint) / CARRIED
        if not path.is_file():
            raise UserError(f"{path} is missing: delete {path.parent.parent} and run again")
        state = torch.load(path, map_location=self.model.device, weights_only=True)
        for name, part in self._carried().items():
            part.load_state_dict(state[name])

    def _carried(self) -> dict:
        """name -> what later steps depend on besides policy, optimiser, seed and step."""
        found = {"collector": self.collector, "critic": self.critic, "entropy_history": self.history}
        return {name: part for name, part in found.items() if part is not None}


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint below `folder`, or None. A checkpoint cut short by a kill does not count."""
    found = [p.parent for p in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda p: int(p.name.rsplit("-", 1)[1]), default=None)


def _padded(rows: list[list[float]], device) -> torch.Tensor:
    return pad([torch.tensor(row) for row in rows], padding_value=0.0, padding_side="right").to(device)
