"""Workload of a run: counts that follow from its config, its method and the shape of a trajectory."""

from dataclasses import dataclass

from reproduce.algorithms import load
from reproduce.commands.plan.assumptions import Assumptions
from reproduce.commands.plan.shapes import Shape
from reproduce.training.flops import Model
from reproduce.worlds.alfworld.stepper.game import KINDS
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES
from reproduce.worlds.episode_task import ALL
from reproduce.worlds.scienceworld.environment import EPO_KINDS, ScienceWorld

KL_ROWS = 32
"""Rows on which the KL to the warm start is measured, once a step (`training.trainer.KL_ROWS`)."""


@dataclass(frozen=True)
class Effort:
    """Cost factors of a method, against independent trajectories without a critic.

    sampled, trained, calls: multiples of tokens sampled, of tokens trained on and of tool calls. critic: a second
    network is trained. reference: tokens pass a frozen model once more.
    """

    sampled: float
    trained: float
    calls: float
    critic: bool
    reference: bool
    source: str


@dataclass(frozen=True)
class Work:
    """Totals of one stage of a run. read: tokens of prompts and tool results; sampled: tokens of answers.

    sampling: operations of reading and sampling; training: operations of all passes of training; updates: optimiser
    steps; steps: RL steps; trained: loss-mask tokens; calls: tool calls; trajectories: kept ones.
    """

    steps: int = 0
    trajectories: float = 0.0
    sampled: float = 0.0
    read: float = 0.0
    trained: float = 0.0
    calls: float = 0.0
    updates: float = 0.0
    sampling: float = 0.0
    training: float = 0.0


def effort_of(job, assume: Assumptions, measured: dict[str, Effort] | None = None) -> Effort:
    """The method's effort: measured where runs have shown it (`measured.efforts`), else from its parts."""
    critic, reference, pilot, branches, resamples = parts_of(job)
    if not (pilot or branches or resamples):
        return Effort(1.0, 1.0, 1.0, critic, reference, "independent trajectories")
    if measured and job.name in measured:
        return measured[job.name]
    factor = (assume("shared_prefix") if branches else 1.0) * (assume("resampling") if resamples else 1.0)
    if pilot:  # one more trajectory per question, which is thrown away
        factor += 1.0 / job.training.group_size
    return Effort(factor, 1.0, factor, critic, reference, "parts of the method")


def parts_of(job) -> tuple[bool, bool, bool, bool, bool]:
    """Whether the method has a critic, passes a reference, needs pilots, branches, samples dynamically."""
    algorithm = load(job.method, **job.algorithm)
    needs = {*algorithm.advantage_needs, *algorithm.loss_needs}
    policy = algorithm.rollout
    return (
        algorithm.critic is not None, "ref_logps_BT" in needs, policy.needs_pilot, policy.branches,
        algorithm.dynamic_sampling,
    )  # fmt: skip


def rl(job, model: Model, shape: Shape, effort: Effort, steps: int | None = None) -> Work:
    """The RL steps of a run (all of its config's, or `steps`)."""
    t = job.training
    steps = t.steps if steps is None else steps
    kept = float(steps * t.prompts_per_step * t.group_size)
    counts = Counts(
        steps, kept, kept * shape.answer * effort.sampled, kept * shape.answer * effort.trained,
        kept * shape.calls * effort.calls, kept * shape.result * effort.trained,
    )  # fmt: skip
    return measured_rl(job, model, shape, effort, counts)


@dataclass(frozen=True)
class Counts:
    """Totals over RL steps: trajectories, tokens sampled and trained on, tool calls, tool-result tokens in rows."""

    steps: int
    trajectories: float
    sampled: float
    trained: float
    calls: float
    results: float


def measured_rl(job, model: Model, shape: Shape, effort: Effort, counts: Counts) -> Work:
    """The work behind counts. Of `shape` only the prompt and the rows of a trajectory are used."""
    t, c = job.training, counts
    drawn = c.sampled / c.trained if c.trained else 1.0  # what is sampled for what is kept
    read = c.trajectories * shape.prompt * drawn + c.results * drawn
    rows = c.trajectories * shape.rows
    tokens = c.trajectories * shape.prompt + c.trained + c.results  # of one pass over the rows
    length = tokens / rows
    sampling = model.forward(read + c.sampled, c.sampled, length)
    forward = model.forward(tokens, c.trained, length)
    passes = t.epochs * _multiple(t) * (2 if effort.critic else 1) + (1 if effort.critic else 0)
    extra = (1.0 if effort.reference else 0.0) + min(1.0, KL_ROWS * c.steps / rows)
    return Work(
        c.steps, c.trajectories, c.sampled, read, c.trained, c.calls, float(c.steps * t.epochs * t.minibatches),
        sampling, forward * (passes + extra),
    )  # fmt: skip


def _multiple(training) -> float:
    """Operations of forward and backward over those of forward: 3; frozen weights need no gradients of their own, and
    layers that are computed again in the backward pass are forward operations once more."""
    return (2.0 if training.lora else 3.0) + (1.0 if training.gradient_checkpointing else 0.0)


def evaluation(job, model: Model, shape: Shape) -> Work:
    """The evaluation of one checkpoint on the whole panel; in a world of episodes on both of its splits, and with the
    small checks during training."""
    e, sizes = job.evaluation, {name: file.rows for name, file in EVALUATION_FILES.items() if file.rows}
    splits = 2 if job.task.episodes is not None and e.split == "test" else 1
    families = job.task.families
    if families == [ALL]:
        families = [ALL] * (EPO_KINDS if job.task.world == ScienceWorld.name else len(KINDS))
    count = float(sum(min(e.questions, sizes.get(f, e.questions)) for f in families) * e.samples * splits)
    if e.checks is not None:
        count += job.training.steps // e.checks.every * 2 * e.checks.questions
    return _sampled(model, shape, count)


def _sampled(model: Model, shape: Shape, count: float) -> Work:
    sampled, read = count * shape.answer, count * (shape.prompt + shape.result)
    operations = model.forward(sampled + read, sampled, shape.length)
    return Work(0, count, sampled, read, 0.0, count * shape.calls, 0.0, operations)


def warm_start(job, model: Model, shape: Shape, assume: Assumptions) -> Work:
    """Supervised fine-tuning on demonstrations, which stops when it is good enough, or on all of an SFT set."""
    w = job.warm_start
    if w.data is not None:
        shown = min(w.demonstrations, assume("sft_rows")) * w.max_epochs
        tokens = answer = length = min(assume("sft_tokens"), w.data.max_tokens)
        rows = 1.0
    else:
        shown = w.demonstrations * w.max_epochs * assume("warm_start_share")
        tokens, answer, length, rows = shape.tokens, shape.answer, shape.length, shape.rows
    training = 3 * model.forward(shown * tokens, shown * answer, length)
    return Work(0, shown, 0.0, 0.0, shown * answer, 0.0, shown * rows / w.batch_size, 0.0, training)
