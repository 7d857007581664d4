"""The warm start: supervised fine-tuning on noisy demonstrations, by TRL's `SFTTrainer`, until RL has room both ways.

Demonstrations come from fresh worlds (other seeds, same words), so the model learns to search and read, not facts of
the committed world. Training stops at the first check at which the success on the validation panel reaches the middle
of the wanted range, and fails with a clear error if it never enters that range.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from safetensors import SafetensorError
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from reproduce.environment import set_precision
from reproduce.errors import UserError
from reproduce.rollouts.chat import ChatCollector
from reproduce.rollouts.collector import Collector
from reproduce.rollouts.episodes import EpisodeCollector
from reproduce.rollouts.grammar import Grammar
from reproduce.runs.files import DIGEST, check_content, content_hash, read_json, sealed, write_json
from reproduce.seeding import child_seed
from reproduce.training.own_forward import with_own_forward
from reproduce.worlds.messages import Turn

HASHES = "hashes.json"
"""SHA-256 of every other file of a warm start."""

CHECK_QUESTIONS, CHECK_SAMPLES = 60, 4
CHECK_TOGETHER = 16
"""Questions of a check that are sampled together by a model of the hub, whose keys and values take much memory."""
CHECK_EVERY = 200
WARM_UP = 20
"""Updates in which the learning rate rises from 0 to that of the config."""


def tokenised(collector: Collector, demonstration, max_tokens: int) -> dict | None:
    """A demonstration as a row of supervised fine-tuning.

    Args:
        collector: makes the prompt, and has the tokens.
        demonstration: pieces of text, some of which the policy is to sample.
        max_tokens: the most tokens behind the prompt.

    Returns:
        input_ids and labels (-100 on prompt and tool results); None if the completion is longer.
    """
    grammar = collector.grammar
    ids = collector.prompt_ids(demonstration.question)
    prompt = len(ids)
    labels = [-100] * prompt
    for text, sampled in demonstration.pieces:
        piece = grammar.encode(text)
        ids += piece
        labels += piece if sampled else [-100] * len(piece)
    ids.append(grammar.eos_id)
    labels.append(grammar.eos_id)
    return {"input_ids": ids, "labels": labels} if len(ids) - prompt <= max_tokens else None


def tool_rows(collector: Collector, config, max_calls: int) -> Iterator[dict]:
    """The demonstrations of a world of tools that fit into a trajectory, tokenised. config: `WarmStartConfig`."""
    shown = collector.task.demonstrations(config.demonstrations, config.noise, max_calls, config.seed)
    rows = (tokenised(collector, demonstration, collector.limits.completion_tokens) for demonstration in shown)
    return (row for row in rows if row is not None)


def turn_rows(collector: EpisodeCollector, config, max_turns: int) -> Iterator[dict]:
    """A row for every turn of a world's demonstrated episodes. config: `WarmStartConfig`."""
    grammar, form = collector.grammar, collector.task.form
    for episode in collector.task.demonstrations(config.demonstrations, config.noise, max_turns, config.seed):
        past: list[Turn] = []
        for step, action in episode:
            prompt = collector.message_ids(form.prompt(step, past))
            answer = grammar.encode(form.response(action))
            yield {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}
            past.append(Turn(step.text, action))


class _StopInRange(TrainerCallback):
    """Measures validation success every `every` steps and stops training once it reaches `target`."""

    def __init__(
        self,
        collector: Collector,
        every: int,
        target: float,
        report,
        questions: int = CHECK_QUESTIONS,
        together: int | None = None,
    ):
        self.collector, self.every, self.target, self.report = collector, every, target, report
        self.questions, self.together = questions, together
        self.success, self.reported = 0.0, 0.0
        self.history: list[dict[str, float]] = []

    def measure(self, step: int) -> None:
        task = self.collector.task
        count = max(1, min(self.questions // len(task.families), task.panel_size("validation")))
        questions = task.panel("validation", count)
        together = self.together or len(questions)
        rewards = []
        for start in range(0, len(questions), together):
            purpose = ("warm-start-check", step, *([start] if start else []))
            groups, _ = self.collector.sample(questions[start : start + together], CHECK_SAMPLES, purpose)
            rewards += [reward for group in groups for reward in group.rewards]
        self.success = float(np.mean([reward.correct for reward in rewards]))
        format_ok = float(np.mean([reward.format_ok for reward in rewards]))
        self.history.append({"step": step, "success": self.success, "format_ok": format_ok})
        print(f"warm start: step {step}, validation success {self.success:.3f}, format {format_ok:.3f}", flush=True)

    def on_step_end(self, args, state, control, **kwargs):
        due = state.global_step % self.every == 0 or state.global_step == state.max_steps
        if due:
            self.measure(state.global_step)
        if due or time.monotonic() - self.reported >= 1.0:  # the display knows the rate from the first seconds on
            self.reported = time.monotonic()
            self.report("warm start", state.global_step, state.max_steps)
        if due:
            control.should_training_stop = control.should_training_stop or self.success >= self.target
        return control


def train_warm_start(model, collector: Collector, config, rows: Iterable[dict], folder: Path, report) -> list[dict]:
    """Fine-tunes `model` and saves it with its tokenizer to `folder` (replaced in one step).

    Args:
        model: the causal LM, which is changed.
        collector: samples the validation questions on which the success is measured.
        config: `WarmStartConfig`.
        rows: input_ids and labels, as `tokenised` makes them.
        folder: of the warm start.
        report: (stage, step, total) is called with the progress.

    Returns:
        The checks: step, success, format_ok.

    Raises:
        UserError: the success ends outside [success_low, success_high].
    """
    scratch = folder.with_name(folder.name + ".sft")
    set_precision("float32")
    args = SFTConfig(
        **common_settings(config, scratch, model),
        save_strategy="no",
        bf16=False,
        per_device_train_batch_size=config.rows_per_pass or config.batch_size,
        gradient_accumulation_steps=config.batch_size // (config.rows_per_pass or config.batch_size),
        dataloader_drop_last=True,
        weight_decay=0.01,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=WARM_UP,
        gradient_checkpointing=False,
        train_sampling_strategy="random" if config.rows_per_pass else "group_by_length",
    )
    middle = (config.success_low + config.success_high) / 2
    together = CHECK_TOGETHER if isinstance(collector, ChatCollector) else None
    stop = _StopInRange(
        collector,
        config.check_every or CHECK_EVERY,
        middle,
        report,
        config.check_questions or CHECK_QUESTIONS,
        together,
    )
    report("demonstrations", 0, 0)
    rows = list(rows)
    if not rows:
        raise UserError("warm start: no demonstration fits into task.max_completion_tokens; raise it")
    check_size(len(rows), config)
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=collector.grammar.tokenizer,
        callbacks=[stop],
    )
    trainer.train()
    with_own_forward(model)
    shutil.rmtree(scratch, ignore_errors=True)
    if not config.success_low <= stop.success <= config.success_high:
        raise UserError(
            f"warm start: validation success is {stop.success:.2f}, outside [{config.success_low}, "
            f"{config.success_high}]; change warm_start.demonstrations, max_epochs or noise"
        )
    save_warm_start(model, collector.grammar.tokenizer, folder, stop.history)
    return stop.history


def common_settings(config, folder: Path, model) -> dict:
    """Settings of `SFTConfig` that every warm start has. config: `WarmStartConfig`; folder: of checkpoints."""
    return dict(
        output_dir=str(folder),
        seed=child_seed(config.seed, "sft") % 2**31,
        report_to="none",
        disable_tqdm=True,
        num_train_epochs=config.max_epochs,
        learning_rate=config.learning_rate,
        max_grad_norm=1.0,
        logging_steps=50,
        use_cpu=next(model.parameters()).device.type != "cuda",
        fp16=False,
        max_length=None,
        packing=False,
        dataloader_pin_memory=False,
    )


def check_size(rows: int, config) -> None:
    """Prints a warning if there are too few updates for the learning rate to be reached.

    The last rows of an epoch that do not fill a batch are left out.

    Args:
        rows: of an epoch.
        config: `WarmStartConfig`.

    Raises:
        UserError: there is no update at all.
    """
    updates = rows // config.batch_size * config.max_epochs
    if updates == 0:
        raise UserError(
            f"warm start: {rows} demonstrations do not fill a batch of {config.batch_size}; raise "
            "warm_start.demonstrations or lower warm_start.batch_size"
        )
    if updates <= WARM_UP:
        reached = config.learning_rate * (updates - 1) / WARM_UP  # update i, from 0, has i / WARM_UP of the rate
        print(
            f"warning: the warm start has {updates} updates and its learning rate rises over {WARM_UP}: it reaches "
            f"{reached:.2g} of {config.learning_rate:.2g}; raise warm_start.demonstrations or max_epochs, or lower "
            "batch_size",
            flush=True,
        )


def save_warm_start(model, tokenizer, folder: Path, checks: list[dict]) -> None:
    """Writes model, tokenizer and checks to `folder`, which appears in one step."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    (temporary / "checks.json").write_text(json.dumps(checks, indent=1) + "\n")
    hashes = {path.name: content_hash(path) for path in sorted(temporary.iterdir()) if path.is_file()}
    write_json(temporary / HASHES, sealed(hashes))
    temporary.replace(folder)


def load_warm_start(folder: Path, device: str, dtype: str, grammar: Callable[..., Grammar] = Grammar):
    """Load (model, grammar) of a saved warm start. One flipped bit would train another model in silence.

    Args:
        folder: that `save_warm_start` wrote.
        device, dtype: of the weights, by torch's names.
        grammar: makes the grammar from the tokenizer (`Setup.grammar`).

    Raises:
        UserError: it is missing, half-written or damaged.
    """
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    if (folder / HASHES).is_file():  # older code wrote none
        check_content(folder, {k: v for k, v in read_json(folder / HASHES).items() if k != DIGEST})
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), attn_implementation="sdpa")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot load the warm start ({error}); delete the folder and run again") from None
    return model.to(device), grammar(tokenizer)
