"""Real peaks on a CPU: RL steps and a warm start on models with random weights, each in a process of its own.

The kernel's own record of the largest resident memory (VmHWM) is read and begun anew between sampling and training.
What the process holds before the model is made (libraries) is taken off. The second RL step, or update, counts:
optimiser states are there. Words beside MiniWeb's fill the vocabulary up to the model's size.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from reproduce.config.sections import LoraConfig
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.training.flops import Model

SMOL = Model("SmolLM2-135M (Llama)", 576, 30, 9, 3, 64, 1536, 49152, tied=True)
HALF = Model("Qwen2.5-0.5B", 896, 24, 14, 2, 64, 4864, 151936, tied=True)
LARGE = Model("Qwen2.5-1.5B", 1536, 28, 12, 2, 128, 8960, 151936, tied=True)
"""Shapes as their config.json has them."""
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}
"""glibc gives memory back at once, so that what is freed is not counted."""


@dataclass(frozen=True)
class Setting:
    """A row: method, completion tokens, rows of a mini-batch, and what `training` says besides. sft: a warm start on an
    SFT set, on rows of so many tokens."""

    name: str
    model: Model
    tokens: int
    rows: int
    method: str = "grpo"
    dtype: str = "float32"
    lora: bool = False
    checkpointing: bool = False
    rows_per_pass: int | None = None
    sft: bool = False

    @property
    def job(self) -> JobConfig:
        """The config of the run. It makes two updates a step, as training must."""
        if self.sft:
            job = TableConfig.load(2).jobs("paper", [self.method], [0])[0]
            warm_start = replace(job.warm_start, demonstrations=6, max_epochs=1, batch_size=2)
            return replace(job, warm_start=warm_start, training=replace(job.training, device="cpu", dtype=self.dtype))
        job = TableConfig.load(2).jobs("mini", [self.method], [0])[0]
        changes = dict(
            steps=2, prompts_per_step=1, group_size=2 * self.rows, epochs=1, minibatches=2, checkpoint_every=9
        )
        changes |= dict(dtype=self.dtype, gradient_checkpointing=self.checkpointing)
        if self.lora:
            changes["lora"] = LoraConfig()
        task = replace(job.task, max_completion_tokens=self.tokens)
        job = replace(job, task=task, training=replace(job.training, **changes))
        if self.rows_per_pass is None:
            return job
        from reproduce.training.memory import width_of

        limit = self.rows_per_pass * width_of(job)
        return replace(job, training=replace(job.training, tokens_per_pass=limit))


SETTINGS = (
    Setting("135M, checkpointing", SMOL, 16, 1, checkpointing=True),
    Setting("135M", SMOL, 48, 1),
    Setting("135M, micro-batches", SMOL, 48, 2, rows_per_pass=1),
    Setting("135M, critic, checkpointing", SMOL, 32, 1, method="ppo", checkpointing=True),
    Setting("135M, bfloat16, checkpointing", SMOL, 24, 1, dtype="bfloat16", checkpointing=True),
    Setting("0.5B, bfloat16, checkpointing", HALF, 16, 1, dtype="bfloat16", checkpointing=True),
    Setting("0.5B, bfloat16, LoRA", HALF, 16, 1, dtype="bfloat16", lora=True),
    Setting("1.5B, bfloat16, LoRA, checkpointing", LARGE, 16, 1, dtype="bfloat16", lora=True, checkpointing=True),
    Setting("135M, warm start", SMOL, 256, 1, sft=True),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


def measured(setting: Setting) -> dict[str, float]:
    """Bytes above the libraries: the most while sampling and while training. UserError if the process fails."""
    command = [sys.executable, "-m", "reproduce.commands.memory_check.peak", setting.name]
    found = subprocess.run(command, env={**os.environ, **MALLOC}, capture_output=True, text=True)
    if found.returncode:
        last = (found.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{setting.name}: the measured process ended with {found.returncode}: {last}")
    return json.loads(found.stdout.strip().splitlines()[-1])


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def _begin() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM becomes VmRSS (proc(5))


class _Over(Exception):
    """Everything is measured."""


def _sft_child(setting: Setting) -> dict[str, float]:
    import torch

    from reproduce.commands.memory_check.fake import architecture
    from reproduce.training.sft_warm_start import train_on_sft_set
    from reproduce.training.tiny_model import word_tokenizer

    found: dict[str, float] = {}

    def report(stage: str, step: int, total: int) -> None:
        if step == 2:
            found["training"] = _status("VmHWM")
            raise _Over
        _begin()

    tokenizer, row = word_tokenizer([f"word{i}" for i in range(64)]), list(range(8, 8 + setting.tokens))
    libraries = _status("VmRSS")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        rows, config = [{"input_ids": row, "labels": row}] * 6, setting.job.warm_start
        try:
            train_on_sft_set(architecture(setting.model), tokenizer, config, rows, Path(folder) / "made", report)
        except _Over:
            return {"training": found["training"] - libraries, "width": setting.tokens, "libraries": libraries}
    raise RuntimeError("the warm start made fewer than two updates")


def _child(setting: Setting) -> dict[str, float]:
    import torch
    from datasets import Dataset

    from reproduce.algorithms import load
    from reproduce.commands.memory_check.fake import architecture
    from reproduce.rollouts.agent import Limits
    from reproduce.rollouts.collector import Collector
    from reproduce.rollouts.grammar import Grammar
    from reproduce.training.adapters import with_adapters
    from reproduce.training.tiny_model import SPECIAL, word_tokenizer
    from reproduce.training.trainer import AgenticTrainer
    from reproduce.training.trl_config import grpo_config, question_indices
    from reproduce.worlds.registry import world_of
    from reproduce.worlds.rewards import Reward

    found: dict[str, float] = {}

    class Run:
        """In the place of a run directory."""

        def __init__(self, checkpoints: Path):
            self.checkpoints = checkpoints

        def write_step(self, *arguments) -> None:
            found["training"] = _status("VmHWM")

        def progress(self, *arguments) -> None:
            """Nothing is shown."""

        note = progress

    class Watched(AgenticTrainer):
        def collect_batch(self, indices):
            _begin()
            output = super().collect_batch(indices)
            found["sampling"] = _status("VmHWM")
            _begin()
            return output

    job = setting.job
    t, m = job.training, setting.model
    torch.manual_seed(0)
    words = [*world_of(job.task).words(job.task)]
    tokenizer = word_tokenizer([*words, *(f"word{i}" for i in range(m.vocabulary - len({*SPECIAL, *words})))])
    with world_of(job.task).open(job, lambda question, answer: False) as task, tempfile.TemporaryDirectory() as folder:
        task.score = lambda question, text: Reward(len(text) % 5 / 4, 0.0, True, None, len(text) % 5 == 4)
        libraries = _status("VmRSS")
        torch.set_default_dtype(getattr(torch, setting.dtype))
        model = architecture(m)
        torch.set_default_dtype(torch.float32)
        model.config.pad_token_id, model.config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
        sampled, model = model, model if t.lora is None else with_adapters(model, t.lora, 0)
        limits = Limits(job.task.max_tool_calls, job.task.max_completion_tokens)
        questions = task.train_questions(t.steps * t.prompts_per_step, 1)
        trainer = Watched(
            algorithm=load(job.method),
            collector=Collector(task, sampled, Grammar(tokenizer), limits, 1.0, 0),
            questions=questions,
            run=Run(Path(folder)),
            entropy_tokens=job.entropy_tokens,
            model=model,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(
                [{"prompt": task.prompt(questions[max(0, i)]), "index": i} for i in question_indices(t)]
            ),
            args=grpo_config(Path(folder), t, job.task.max_completion_tokens, 0),
            group_size=t.group_size,
            tokens_per_pass=t.tokens_per_pass,
        )
        trainer.train()
        widths = [len(row.path.tokens) for row in trainer.batch.training_rows()] if trainer.batch else [0]
    return {name: value - libraries for name, value in found.items()} | {"width": max(widths), "libraries": libraries}


if __name__ == "__main__":
    asked = BY_NAME[sys.argv[1]]
    print(json.dumps(_sft_child(asked) if asked.sft else _child(asked)))
