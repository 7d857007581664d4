"""Workload of a run: tokens and operations that follow from its config, its method and the shape of a trajectory."""

from dataclasses import dataclass, replace

import numpy as np

from reproduce.algorithms import load
from reproduce.commands.plan.assumptions import ASSUMED, DEMONSTRATED, Assumptions
from reproduce.training.flops import Model
from reproduce.worlds.alfworld.stepper.game import KINDS
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES
from reproduce.worlds.episode_task import ALL
from reproduce.worlds.scienceworld.environment import EPO_KINDS, ScienceWorld

KL_ROWS = 32
"""Rows on which the KL to the warm start is measured, once a step (`training.trainer.KL_ROWS`)."""


@dataclass(frozen=True)
class Shape:
    """Means over trajectories. prompt, answer, result: tokens of all prompts, of what is sampled, of tool results.

    rows: training rows, one per trajectory, or one per turn of an episode. calls: tool calls, or turns.
    """

    prompt: float
    answer: float
    result: float
    calls: float
    rows: float
    source: str

    @property
    def length(self) -> float:
        """Tokens of a row at its end."""
        return (self.prompt + self.answer + self.result) / self.rows


@dataclass(frozen=True)
class Work:
    """Totals of one stage of a run. read: tokens of prompts and tool results; sampled: tokens of answers.

    trained: loss-mask tokens; calls: tool calls; updates: optimiser steps; steps: RL steps; trajectories: kept ones;
    sampling: operations of reading and sampling; training: operations of all passes of training.
    """

    steps: int = 0
    trajectories: float = 0.0
    sampled: float = 0.0
    trained: float = 0.0
    calls: float = 0.0
    read: float = 0.0
    updates: float = 0.0
    sampling: float = 0.0
    training: float = 0.0


def shape_of(job, assume: Assumptions) -> Shape:
    """The shape of a trajectory before anything was measured: as demonstrated in a world of ours, else assumed."""
    task, shown = job.task, demonstrated(job)
    if shown is not None and task.episodes is None:
        return shown
    if shown is not None:
        longer = 1 + assume("failing") * (task.max_tool_calls / shown.calls - 1)
        tokens = {name: getattr(shown, name) * longer for name in ("prompt", "answer", "calls", "rows")}
        return replace(shown, **tokens)
    if task.episodes is not None:
        turns = assume("turns") * task.max_tool_calls
        answer = min(assume("segment_tokens"), task.max_completion_tokens)
        return Shape(turns * assume("turn_prompt_tokens"), turns * answer, 0.0, turns, turns, ASSUMED)
    calls = assume("calls") * task.max_tool_calls
    answer, result = (calls + 1) * assume("segment_tokens"), calls * assume("result_tokens")
    kept = min(1.0, task.max_completion_tokens / (answer + result))  # the limit holds for both together
    return Shape(assume("prompt_tokens"), answer * kept, result * kept, calls, 1.0, ASSUMED)


def demonstrated(job) -> Shape | None:
    """The shape of the warm start's demonstrations; None where there are none of ours."""
    names = [job.task.world] if job.task.episodes is not None else job.task.families
    if job.model.name_or_path is not None or not DEMONSTRATED.keys() >= set(names):
        return None
    prompt, answer, result, calls = np.mean([DEMONSTRATED[name] for name in names], axis=0).tolist()
    return Shape(prompt, answer, result, calls, calls if job.task.episodes else 1.0, "120 demonstrations")


def has_critic(job) -> bool:
    """Whether the method trains a second network."""
    return load(job.method, **job.algorithm).critic is not None


def work(job, model: Model, shape: Shape, counts: dict[str, float]) -> Work:
    """The work behind counts: steps, trajectories, sampled, trained, calls, results (tool-result tokens in rows).

    Of `shape` only the prompt and the rows of a trajectory are used. Nothing is trained where trained is 0.
    """
    t, c, algorithm = job.training, counts, load(job.method, **job.algorithm)
    kept = c["trained"] or c["sampled"]
    drawn = c["sampled"] / kept  # what is sampled for what is kept
    rows = c["trajectories"] * shape.rows
    prompts = c["trajectories"] * shape.prompt
    read, tokens = drawn * (prompts + c["results"]), prompts + kept + c["results"]  # tokens: of one pass over the rows
    sampling = model.forward(read + c["sampled"], c["sampled"], tokens / rows)
    critic = int(algorithm.critic is not None)
    reference = int("ref_logps_BT" in {*algorithm.advantage_needs, *algorithm.loss_needs})
    # Forward and backward over forward: 3; frozen weights need no gradients of their own, and layers that are computed
    # again in the backward pass are forward operations once more.
    passes = (2 if t.lora else 3) + bool(t.gradient_checkpointing)
    passes = t.epochs * passes * (1 + critic) + critic + reference + min(1.0, KL_ROWS * c["steps"] / rows)
    training = model.forward(tokens, c["trained"], tokens / rows) * passes if c["trained"] else 0.0
    made = (c[name] for name in ("steps", "trajectories", "sampled", "trained", "calls"))
    return Work(*made, read, float(c["steps"] * t.epochs * t.minibatches), sampling, training)


def factors_of(job, assume: Assumptions, measured: dict[str, tuple]) -> tuple[float, float, float, str]:
    """Tokens sampled and trained on, and calls, as multiples of independent trajectories; where that is from."""
    algorithm = load(job.method, **job.algorithm)
    policy, resampled = algorithm.rollout, algorithm.dynamic_sampling
    if not (policy.needs_pilot or policy.branches or resampled):
        return 1.0, 1.0, 1.0, "independent trajectories"
    if job.name in measured:
        return measured[job.name]
    factor = (assume("shared_prefix") if policy.branches else 1.0) * (assume("resampling") if resampled else 1.0)
    if policy.needs_pilot:  # one more trajectory per question, which is thrown away
        factor += 1.0 / job.training.group_size
    return factor, 1.0, factor, "parts of the method"


def rl(job, model: Model, shape: Shape, factors: tuple) -> Work:
    """The RL steps of a run; factors: of sampled tokens, trained tokens and calls (`factors_of`)."""
    t, (sampled, trained, calls, *_) = job.training, factors
    n = float(t.steps * t.prompts_per_step * t.group_size)
    tokens = {"sampled": n * shape.answer * sampled, "trained": n * shape.answer * trained}
    rest = {"calls": n * shape.calls * calls, "results": n * shape.result * trained}
    return work(job, model, shape, {"steps": t.steps, "trajectories": n, **tokens, **rest})


def evaluation(job, model: Model, shape: Shape) -> Work:
    """The evaluation of one checkpoint on the whole panel; in a world of episodes on both of its splits, and with the
    small checks during training."""
    e, sizes = job.evaluation, {name: file.rows for name, file in EVALUATION_FILES.items() if file.rows}
    families = job.task.families
    if families == [ALL]:
        families = [ALL] * (EPO_KINDS if job.task.world == ScienceWorld.name else len(KINDS))
    splits = 2 if job.task.episodes is not None and e.split == "test" else 1
    n = float(sum(min(e.questions, sizes.get(family, e.questions)) for family in families) * e.samples * splits)
    if e.checks is not None:
        n += job.training.steps // e.checks.every * 2 * e.checks.questions
    tokens = {"sampled": n * shape.answer, "trained": 0.0, "results": n * shape.result}
    return work(job, model, shape, {"steps": 0, "trajectories": n, "calls": n * shape.calls, **tokens})


def warm_start(job, model: Model, shape: Shape, assume: Assumptions) -> Work:
    """Supervised fine-tuning on demonstrations, which stops when it is good enough, or on all of an SFT set."""
    w = job.warm_start
    if w.data is not None:
        shown, rows = min(w.demonstrations, assume("sft_rows")) * w.max_epochs, 1.0
        length = answer = min(assume("sft_tokens"), w.data.max_tokens)
    else:
        shown = w.demonstrations * w.max_epochs * assume("warm_start_share")
        shape = demonstrated(job) or shape
        length, answer, rows = shape.length, shape.answer, shape.rows
    training = 3 * model.forward(shown * rows * length, shown * answer, length)
    return Work(trajectories=shown, trained=shown * answer, updates=shown * rows / w.batch_size, training=training)
