"""RL steps: aepo against grpo, two trainers that take turns."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PrinterCallback

from reproduce.algorithms import load
from reproduce.commands.bench.rows import Measurement, Sizes, paired
from reproduce.commands.bench.setting import Setting
from reproduce.rollouts.collector import Collector
from reproduce.training.trainer import AgenticTrainer
from reproduce.training.trl_config import grpo_config


class Turns:
    """A trainer that runs in its own thread and holds after every RL step until it is told to go on.

    It stands in for the run directory (`checkpoints`, `write_step`, `progress`), so the training loop is the real one.
    make(run): builds the trainer.
    """

    def __init__(self, make: Callable, checkpoints: Path):
        self.checkpoints = checkpoints
        self._go, self._done = queue.Queue(), queue.Queue()
        self.thread = threading.Thread(target=self._train, args=(make(self),), daemon=True)
        self.thread.start()

    def _train(self, trainer) -> None:
        torch.set_num_threads(1)
        try:
            self._wait()
            trainer.train()
        except SystemExit:  # told to end
            return
        except Exception as error:  # goes on in `step`, in the thread that asked
            self._done.put(error)

    def _wait(self) -> None:
        if not self._go.get():
            raise SystemExit

    def write_step(self, step: int, metrics: dict, rollouts, seconds: dict) -> None:
        """Called by the trainer at the end of each RL step."""
        self._done.put((seconds, metrics))
        self._wait()

    def progress(self, stage: str, step: int, total: int) -> None:
        """Called by the trainer; the benchmark has its own display."""

    def step(self) -> tuple[dict, dict]:
        """One RL step: seconds {"rollout", "train"} and the step's metrics."""
        self._go.put(True)
        result = self._done.get()
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """Ends the thread."""
        self._go.put(False)
        self.thread.join(timeout=60)


def make_trainer(setting: Setting, method: str, sizes: Sizes, run: Turns):
    """The trainer of `run_job` for `method`, on the questions that every method gets."""
    config, task, model = setting.config, setting.task, setting.copy_of_model()
    more = sizes.steps + 2
    sized = {"prompts_per_step": sizes.prompts, "group_size": sizes.group, "steps": more, "checkpoint_every": more}
    training, algorithm = replace(config.training, **sized), load(method)
    algorithm = algorithm.with_overrides(rollout=algorithm.rollout.with_entropy_tokens(config.entropy_tokens))
    questions = task.train_questions(training.steps * training.prompts_per_step, seed=0)
    rows = [{"prompt": task.prompt(question), "index": i} for i, question in enumerate(questions)]
    trainer = AgenticTrainer(
        algorithm=algorithm,
        questions=questions,
        run=run,
        entropy_tokens=config.entropy_tokens,
        model=model,
        collector=Collector(task, model, setting.grammar, setting.limits, training.temperature, seed=0),
        processing_class=setting.grammar.tokenizer,
        train_dataset=Dataset.from_list(rows),
        args=grpo_config(run.checkpoints, training, setting.limits.completion_tokens, seed=0),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def step_rows(setting: Setting, sizes: Sizes, folder: Path, report: Callable) -> list[Measurement]:
    """Seconds of an RL step of aepo over one of grpo. The first step of each warms up and is not counted."""
    methods = ("aepo", "grpo")
    seconds: dict[str, list[dict]] = {method: [] for method in methods}
    metrics: dict[str, list[dict]] = {method: [] for method in methods}
    with contextlib.ExitStack() as stack:
        turns = {}
        for method in methods:
            turns[method] = Turns(lambda run, m=method: make_trainer(setting, m, sizes, run), folder / method)
            stack.callback(turns[method].close)
        for step in range(sizes.steps + 1):
            for method in methods if step % 2 else reversed(methods):
                cpu = time.process_time()
                took, measured = turns[method].step()
                if step:
                    seconds[method].append({**took, "cpu": time.process_time() - cpu})
                    metrics[method].append(measured)
            report("step: aepo against grpo", step + 1, sizes.steps + 1)

    def row(measure: str, value: Callable[[dict, dict], float], headline: bool = False, note: str = "") -> Measurement:
        left, right = ((m, [value(s, x) for s, x in zip(seconds[m], metrics[m], strict=True)]) for m in methods)
        return paired("step", measure, left, right, headline, note)

    return [
        row("seconds, rollout and training", lambda s, m: s["rollout"] + s["train"], True),
        row("CPU seconds of the same", lambda s, m: s["cpu"]),
        row("seconds, rollout", lambda s, m: s["rollout"], note="aepo: a pilot per question first, then the trees"),
        row("seconds, training", lambda s, m: s["train"]),
        row("sampled tokens", lambda s, m: m["sampled_tokens"], note="aepo: pilots included, shared prefixes once"),
        row("trained tokens", lambda s, m: m["trained_tokens"]),
    ]
