"""RL steps: aepo against grpo, each repetition by new trainers from one warm start on the same questions."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from datasets import Dataset
from transformers import PrinterCallback

from reproduce.algorithms import load
from reproduce.commands.bench.rows import Measurement, Sizes, in_turn, paired
from reproduce.commands.bench.setting import Setting
from reproduce.rollouts.collector import Collector
from reproduce.training.trainer import AgenticTrainer
from reproduce.training.trl_config import grpo_config

STEPS = 2
"""RL steps of a repetition; the last one is measured, the others warm up."""


class Steps(list):
    """Stands in for the run directory, so that the training loop is the real one: metrics and seconds of each step,
    with the CPU seconds since the step before."""

    def __init__(self, checkpoints: Path):
        self.checkpoints, self.cpu = checkpoints, time.process_time()

    def write_step(self, step: int, metrics: dict, rollouts, seconds: dict) -> None:
        """Called by the trainer at the end of each RL step."""
        before, self.cpu = self.cpu, time.process_time()
        self.append(metrics | seconds | {"cpu": self.cpu - before})

    def progress(self, stage: str, step: int, total: int) -> None:
        """Called by the trainer; the benchmark has its own display."""


def step_side(setting: Setting, method: str, sizes: Sizes, folder: Path) -> Callable[[int], dict]:
    """A function that trains `STEPS` steps with the trainer of a run and gives the last one's metrics and seconds."""
    config, task, limits = setting.config, setting.task, setting.limits
    sized = {
        "prompts_per_step": sizes.prompts,
        "group_size": sizes.group,
        "steps": STEPS,
        "checkpoint_every": STEPS + 1,
    }
    training, algorithm = replace(config.training, **sized), load(method)
    algorithm = algorithm.with_overrides(rollout=algorithm.rollout.with_entropy_tokens(config.entropy_tokens))

    def run(repetition: int) -> dict:
        model, steps = setting.copy_of_model(), Steps(folder / method)
        questions = task.train_questions(STEPS * sizes.prompts, seed=repetition)
        trainer = AgenticTrainer(
            algorithm=algorithm,
            questions=questions,
            run=steps,
            entropy_tokens=config.entropy_tokens,
            model=model,
            collector=Collector(task, model, setting.grammar, limits, training.temperature, seed=repetition),
            processing_class=setting.grammar.tokenizer,
            train_dataset=Dataset.from_list([{"prompt": task.prompt(q), "index": i} for i, q in enumerate(questions)]),
            args=grpo_config(steps.checkpoints, training, limits.completion_tokens, seed=repetition),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return steps[-1]

    return run


def step_rows(sizes: Sizes, setting: Setting, folder: Path) -> list[Measurement]:
    """Seconds of an RL step of aepo over one of grpo."""
    sides = {method: step_side(setting, method, sizes, folder) for method in ("aepo", "grpo")}
    taken = in_turn("step: aepo against grpo", sides, sizes.steps)
    return [
        paired("step", measure, taken, measure.endswith("and training"), note, value)
        for measure, value, note in (
            ("seconds, rollout and training", lambda m: m["rollout"] + m["train"], ""),
            ("CPU seconds of the same", lambda m: m["cpu"], ""),
            ("seconds, rollout", lambda m: m["rollout"], "aepo: a pilot per question first, then the trees"),
            ("seconds, training", lambda m: m["train"], ""),
            ("sampled tokens", lambda m: m["sampled_tokens"], "aepo: pilots included, shared prefixes once"),
            ("trained tokens", lambda m: m["trained_tokens"], ""),
        )
    ]
