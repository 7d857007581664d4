"""Estimate the cost of a table's rows: tokens and operations, then seconds and bytes.

Tokens follow from the settings and a trajectory's mean length. Speeds, and what a method samples beside GRPO, come from
the committed runs (`data/results`); a device without such runs has its data sheet.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from reproduce.algorithms import load
from reproduce.commands.plan.assumptions import ASSUMED, DEMONSTRATED, GPUS, Assumptions
from reproduce.config.tables import JobConfig
from reproduce.runs import files, schema
from reproduce.runs.manifest import ROOT, WARM_START
from reproduce.training.flops import Model, model_of, vocabulary_of
from reproduce.training.memory import BYTES, passes_of_an_update
from reproduce.training.update_metrics import KL_ROWS
from reproduce.worlds.alfworld.stepper.game import KINDS
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES
from reproduce.worlds.episode_task import ALL
from reproduce.worlds.scienceworld.environment import EPO_KINDS, ScienceWorld
from reproduce.yaml_files import read_yaml

BASELINE, COMMITTED = "grpo", "committed results"
STAGES = ("sampling", "tools", "training", "other")


class Shape(NamedTuple):
    """Means of a trajectory: tokens of all prompts, sampled and of tool results; tool calls (turns); training rows."""

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


class Work(NamedTuple):
    """Totals of a stage of a run. RL steps, kept trajectories, tokens sampled and trained on, tool calls (turns of an
    episode), tokens of tool results in kept trajectories; optimiser steps; operations of sampling and of training."""

    steps: float
    trajectories: float
    sampled: float
    trained: float
    calls: float
    results: float
    updates: float = 0.0
    sampling: float = 0.0
    training: float = 0.0


COUNTS = Work._fields[:6]


def demonstrated(job) -> Shape | None:
    """The shape of the warm start's demonstrations; None where there are none of ours."""
    names = [job.task.world] if job.task.episodes is not None else job.task.families
    if job.model.name_or_path is not None or not DEMONSTRATED.keys() >= set(names):
        return None
    tokens = np.mean([DEMONSTRATED[name] for name in names], axis=0).tolist()
    return Shape(*tokens, tokens[3] if job.task.episodes else 1.0, "120 demonstrations")


def shape_of(job, assume: Assumptions) -> Shape:
    """The shape of a trajectory: as demonstrated (an episode may fail, and last longer), else assumed."""
    task, shown = job.task, demonstrated(job)
    if shown is not None and task.episodes is None:
        return shown
    if shown is not None:
        longer = 1 + assume("failing") * (task.max_tool_calls / shown.calls - 1)
        return Shape(*(longer * number for number in shown[:-1]), shown.source)
    if task.episodes is not None:
        turns = assume("turns") * task.max_tool_calls
        answer = min(assume("segment_tokens"), task.max_completion_tokens)
        return Shape(turns * assume("turn_prompt_tokens"), turns * answer, 0.0, turns, turns, ASSUMED)
    calls = assume("calls") * task.max_tool_calls
    answer, result = (calls + 1) * assume("segment_tokens"), calls * assume("result_tokens")
    kept = min(1.0, task.max_completion_tokens / (answer + result))  # the limit holds for both together
    return Shape(assume("prompt_tokens"), answer * kept, result * kept, calls, 1.0, ASSUMED)


def work(job, model: Model, shape: Shape, *counts: float) -> Work:
    """Add the operations to the `COUNTS` of a stage. It trains nothing where its trained tokens are 0.

    Args:
        shape: read for the prompt and the rows of a trajectory alone.
    """
    t, c, algorithm = job.training, Work(*counts), load(job.method, **job.algorithm)
    kept, rows, prompts = c.trained or c.sampled, c.trajectories * shape.rows, c.trajectories * shape.prompt
    tokens = prompts + kept + c.results  # of one pass over the rows
    drawn = c.sampled / kept * (prompts + c.results) + c.sampled
    sampling = model.forward(drawn, c.sampled, tokens / rows)
    if not c.trained:
        return c._replace(sampling=sampling)
    critic = int(algorithm.critic is not None)
    reference = int("ref_logps_BT" in {*algorithm.advantage_needs, *algorithm.loss_needs})
    # Forward and backward over forward: 3; frozen weights need no gradients of their own, and layers that are computed
    # again in the backward pass are forward operations once more.
    # An update of several passes (`training.micro_batches`) begins with a forward pass of all of them.
    passes = (2 if t.lora else 3) + bool(t.gradient_checkpointing)
    passes += passes_of_an_update(job, tokens / (c.steps * t.minibatches)) > 1
    passes = t.epochs * passes * (1 + critic) + critic + reference + min(1.0, KL_ROWS * c.steps / rows)
    training = model.forward(tokens, c.trained, tokens / rows) * passes
    return c._replace(updates=float(c.steps * t.epochs * t.minibatches), sampling=sampling, training=training)


def rl(job, model: Model, shape: Shape, factors: tuple) -> Work:
    """The RL steps of a run. factors: of sampled tokens, trained tokens and calls (`factors_of`)."""
    t, (sampled, trained, calls, *_) = job.training, factors
    steps = math.ceil(t.steps / sampled) if t.trajectory_budget and sampled > 1 else t.steps
    n = float(steps * t.prompts_per_step * t.group_size)
    tokens = n * shape.answer * sampled, n * shape.answer * trained
    return work(job, model, shape, steps, n, *tokens, n * shape.calls * calls, n * shape.result * trained)


def evaluation(job, model: Model, shape: Shape) -> Work:
    """The evaluation of one checkpoint on the whole panel: in a world of episodes on both of its splits, and with the
    small checks during training."""
    e, families = job.evaluation, job.task.families
    if families == [ALL]:
        families = [ALL] * (EPO_KINDS if job.task.world == ScienceWorld.name else len(KINDS))
    sizes = {name: file.rows for name, file in EVALUATION_FILES.items() if file.rows}
    splits = 2 if job.task.episodes is not None and e.split == "test" else 1
    n = float(sum(min(e.questions, sizes.get(family, e.questions)) for family in families) * e.samples * splits)
    if e.checks is not None:
        n += job.training.steps // e.checks.every * 2 * e.checks.questions
    return work(job, model, shape, 0, n, n * shape.answer, 0.0, n * shape.calls, n * shape.result)


def warm_start(job, model: Model, shape: Shape, assume: Assumptions) -> Work:
    """Supervised fine-tuning on demonstrations, which stops when it is good enough, or on all of an SFT set."""
    w, shown = job.warm_start, demonstrated(job) or shape
    length, answer, rows, n = shown.length, shown.answer, shown.rows, w.demonstrations * w.max_epochs
    if w.data is None:
        n *= assume("warm_start_share")
    else:
        n, rows = min(w.demonstrations, assume("sft_rows")) * w.max_epochs, 1.0
        length = answer = min(assume("sft_tokens"), w.data.max_tokens)
    passes = 3 + (w.data is not None and job.training.device != "cpu")  # layers are computed again there
    training = passes * model.forward(n * rows * length, n * answer, length)
    return Work(0, n, 0.0, n * answer, 0.0, 0.0, updates=n * rows / w.batch_size, training=training)


def committed(root: Path = ROOT / "data" / "results") -> pd.DataFrame:
    """A row per trained run below `<root>/<profile>/<experiment>`: job, model, `COUNTS`, seconds, machine. Regimes that
    were replaced (`history`) are left out."""
    found = []
    for folder in sorted(path.parent for path in Path(root).glob("*/*/manifests.json")):
        if folder.parent.name == "history":
            continue
        config = read_yaml(folder / "config.yaml")
        steps = files.read_table(folder / "steps.parquet", schema.labelled(schema.STEPS_SCHEMA)).to_pandas()
        steps["results"] = steps["completion_tokens_mean"] * steps["trajectories"] - steps["trained_tokens"]
        runs = steps.groupby(["method", "seed"])
        sums = runs[["trajectories", "sampled_tokens", "trained_tokens", "tool_calls", "results"]].sum()
        sums.insert(0, "steps", runs.size())
        model = None
        for made in json.loads((folder / "manifests.json").read_text()):
            if made["method"] == WARM_START:
                continue
            job, cost, machine = _published(config, made), made["cost"], made["machine"]
            model = model or model_of(job.model, vocabulary_of(job))  # one a table
            row = {"job": job, "table": job.experiment, "name": job.name, "model": model}
            row |= {name: cost[f"seconds_{name}"] for name in ("rollout", "train", "eval", "total")}
            row |= {"machine": machine.get("gpu") or f"{machine['cpu']}, {machine['cores']} cores"}
            found.append(row | dict(zip(COUNTS, sums.loc[(job.name, job.seed)], strict=True)))
    return pd.DataFrame(found, columns=None if found else ["job", "name"])


def _published(config: dict, made: dict) -> JobConfig:
    """The job of a published run, from its table's config.yaml and its manifest."""
    row, variant = config["rows"][made.get("variant") or made["method"]], made.get("variant")
    data = {key: value for key, value in config.items() if key != "rows"}
    data |= {"method": row["method"], "seed": made["seed"], "algorithm": row["algorithm"], "variant": variant}
    data |= {"training": config["training"] | row["training"], "training_changes": row["training"] if variant else {}}
    return JobConfig.from_dict(data, COMMITTED)


def factors_of(job, runs: pd.DataFrame, assume: Assumptions) -> tuple[float, float, float, str]:
    """Tokens sampled and trained on, and calls, as multiples of independent trajectories, and their source: against
    GRPO in the same committed table (mean of tables), else the parts of the method."""
    algorithm = load(job.method, **job.algorithm)
    policy, resampled = algorithm.rollout, algorithm.dynamic_sampling
    sides = algorithm.settings.get("side_share", 0.0)  # of the questions, sampled once more; they replace own rows
    if not (policy.needs_pilot or policy.branches or resampled or sides):
        return 1.0, 1.0, 1.0, "independent trajectories"
    name = job.method if job.training.trajectory_budget else job.name  # a step of the one costs as one of the other
    if {name, BASELINE} <= set(runs["name"]):
        sums = runs.groupby(["name", "table"])[list(COUNTS)].sum()
        means = sums[["sampled", "trained", "calls"]].div(sums["trajectories"], axis=0)
        against = (means.loc[name] / means.loc[BASELINE]).dropna()
        if len(against):
            return *against.mean(), f"{COMMITTED} against {BASELINE}"
    factor = (assume("shared_prefix") if policy.branches else 1.0) * (assume("resampling") if resampled else 1.0)
    factor += sides + policy.needs_pilot / job.training.group_size  # a pilot per question is thrown away
    return factor, 1.0, factor, "parts of the method"


class Speed(NamedTuple):
    """How fast a model is on its devices.

    run: seconds of a run beside its stages. seconds: wall seconds of `STAGES` for the work of one stage of a run; one
    without RL steps is one batch. fitted: seconds of an operation of sampling, of a batch, of an operation of training
    and of an optimiser step; None: from a data sheet.
    """

    source: str
    device: str
    devices: int
    run: float
    seconds: Callable[[Work, Shape], np.ndarray]
    fitted: tuple[float, float, float, float] | None = None


def speed_for(job, runs: pd.DataFrame, assume: Assumptions, model: Model, shape: Shape) -> Speed:
    """Speeds of the job's model on its device, fitted to the committed runs that have both, else of the data sheet."""
    asked = job.model, job.training.device, job.training.dtype, job.training.lora
    same = [(j.model, j.training.device, j.training.dtype, j.training.lora) == asked for j in runs["job"]]
    return measured(runs[same], assume) if any(same) else on_paper(job, assume, model, shape)


def measured(runs: pd.DataFrame, assume: Assumptions) -> Speed:
    """Fitted to runs: least squares of relative errors, no cost below 0; tools are part of sampling."""
    shapes = {name: shape_of(runs.loc[i, "job"], assume) for name, i in zip(runs["table"], runs.index, strict=True)}
    done = [work(r.job, r.model, shapes[r.table], *(getattr(r, name) for name in COUNTS)) for r in runs.itertuples()]

    def costs(sizes: list[tuple[float, float]], stage: str) -> list[float]:
        return nnls(np.array(sizes) / runs[stage].to_numpy()[:, None], np.ones(len(runs)))[0].tolist()

    sampling, batch = costs([(w.sampling, w.steps) for w in done], "rollout")
    training, update = costs([(w.training, w.updates) for w in done], "train")

    def seconds(w: Work, shape: Shape) -> np.ndarray:
        return np.array([w.sampling * sampling + w.steps * batch, 0.0, w.training * training + w.updates * update, 0.0])

    beside = float((runs["total"] - runs["rollout"] - runs["train"] - runs["eval"]).median())
    machine, cpu = runs["machine"].iloc[0], runs["job"].iloc[0].training.device == "cpu"
    source = f"{COMMITTED}: {len(runs)} runs of {', '.join(sorted(set(runs['table'])))} ({machine})"
    return Speed(source, "CPU" if cpu else machine, 1, beside, seconds, (sampling, batch, training, update))


def on_paper(job, assume: Assumptions, model: Model, shape: Shape) -> Speed:
    """Of a GPU, or a CPU core, without committed runs: its data sheet, and the assumed shares of it that are reached.

    Operations over peak; every decoding step also reads the weights, once for the trajectories at work, and half of
    the key-value cache of each; a step of RL ends with its longest trajectory.
    """
    a, cpu = assume, job.training.device == "cpu"
    sheet = (a("cpu_flops"), a("cpu_bandwidth"), a("cpu_memory")) if cpu else GPUS[a("gpu")]
    device, devices = ("CPU", 1) if cpu else (a("gpu"), int(a("gpus")))
    flops, bandwidth, memory = sheet[0] * devices, sheet[1] * a("decode_use"), sheet[2] * a("rollout_memory")
    size = BYTES[job.training.dtype] if cpu else 2  # bytes of a value while sampling
    weights, cache = size * model.parameters, model.cache_bytes(size) * shape.length
    at_once = devices * max(1.0, (memory - weights) / cache)  # trajectories that fill the memory
    rate = 0.0
    if job.search is not None:  # threads of every process wait for searches; 0: batches, as many as the search takes
        threads = (job.engine.tool_workers if job.engine is not None else 0) or job.search.concurrency
        waiting = devices * min(job.search.concurrency, threads)
        rate = search_rate(a("searches_per_second"), waiting, a("tool_seconds"))

    def seconds(w: Work, shape: Shape) -> np.ndarray:
        training, other = w.training / (flops * a("train_use")), w.steps * a("step_seconds")
        if not w.sampled:
            return np.array([0.0, 0.0, training, other])
        batches = max(w.steps, 1)
        waves = batches * math.ceil(w.sampled / shape.answer / batches / at_once)  # dropped trajectories, too
        reading = waves * shape.answer * weights + w.sampled * cache / 2 / devices
        sampling = w.sampling / (flops * a("read_use")) + a("longest") * reading / bandwidth
        searching = w.calls * a("search_share") / rate if rate else 0.0
        return np.array([sampling, max(batches * shape.calls * a("tool_seconds"), searching), training, other])

    return Speed(f"data sheet of {device}", device, devices, a("run_seconds"), seconds)


def search_rate(limit: float, at_once: float, latency: float) -> float:
    """Searches a second: the least of what the service allows (`limit`, 0: all) and what `at_once` waiting calls of
    `latency` seconds ask. 0: no bound."""
    asked = at_once / latency if latency else 0.0
    return min((bound for bound in (limit, asked) if bound), default=0.0)


def seconds_one_stale(
    sampling: float, tools: float, training: float, other: float, steps: float, apart: bool = False
) -> float:
    """Seconds of a run whose steps are sampled while the one before trains (`training.stale_steps: 1`).

    The first step has nothing beside it; each further one takes as long as its sampling and its tools, or as what the
    cards compute, whichever is longer; `other` stays outside.

    Args:
        sampling, tools, training, other: seconds of each stage over all steps.
        steps: RL steps, alike in length.
        apart: sampling has cards of its own, and the others train alone.
    """
    if steps < 1:
        return sampling + tools + training + other
    first, cards = (sampling + tools + training) / steps, (training if apart else sampling + training) / steps
    return first + (steps - 1) * max((sampling + tools) / steps, cards) + other


class Plan(NamedTuple):
    """Cost of a table.

    rows: columns of the CSV file by name, sums over a row's seeds (seconds are wall seconds), the warm start first if
    it is trained; total: of all; factors: row -> `factors_of`.
    """

    job: JobConfig
    model: Model
    shape: Shape
    speed: Speed
    assume: Assumptions
    factors: dict[str, tuple]
    rows: list[dict]
    total: dict


def plan(jobs: list[JobConfig], runs: pd.DataFrame, assume: Assumptions) -> Plan:
    """Plan a table's jobs (`TableConfig.jobs`) from the `committed` runs. Starts nothing.

    Raises:
        UserError: a model of unknown shape.
    """
    job, rows, factors = jobs[0], [], {}
    model, shape = model_of(job.model, vocabulary_of(job)), shape_of(job, assume)
    basis = model, shape, speed_for(job, runs, assume, model, shape), assume
    if job.warm_start.demonstrations:  # trained once a table, and evaluated as every run is
        rows.append(_row(WARM_START, [job], warm_start(job, model, shape, assume), "demonstrations", *basis))
    for name in dict.fromkeys(job.name for job in jobs):
        of_row = [job for job in jobs if job.name == name]
        factors[name] = factors_of(of_row[0], runs, assume)
        rows.append(_row(name, of_row, rl(of_row[0], model, shape, factors[name]), factors[name][-1], *basis))
    total = pd.DataFrame(rows).sum(numeric_only=True).to_dict() | {"row": "total", "devices": basis[2].devices}
    total["disk_bytes"] += 2.0 * model.parameters if job.model.name_or_path else 0.0  # its download
    return Plan(job, *basis, factors, rows, total)


def _row(name: str, jobs: list[JobConfig], w: Work, effort: str, model: Model, shape: Shape, speed: Speed, a) -> dict:
    """The row of `jobs`, one a seed, each of work `w` and evaluated."""
    job, tested = jobs[0], evaluation(jobs[0], model, shape)
    seconds = speed.seconds(w, shape)
    seconds[3] += speed.seconds(tested, shape).sum() + speed.run
    hosted = job.search is not None and job.search.service != "local"
    searches = (w.calls + tested.calls) * a("search_share") if hosted else 0.0
    logged = a("text_bytes") * (shape.answer + shape.result) * (w.trajectories + tested.trajectories)
    kept = a("kept_checkpoints") * checkpoint_bytes(job, model)
    disk = model.parameters * BYTES[job.training.dtype] if name == WARM_START else logged + kept
    totals = {f"seconds_{stage}": value for stage, value in zip(STAGES, seconds, strict=True)}
    totals |= {"device_hours": seconds.sum() * speed.devices / 3600, "searches": searches}
    totals |= {"dollars": searches / 1000 * a("search_price") if hosted else 0.0, "disk_bytes": disk}
    counts = {"trajectories": w.trajectories, "sampled_tokens": w.sampled, "trained_tokens": w.trained}
    totals = counts | {"tool_calls": w.calls} | totals
    table = job.experiment.removeprefix("table").partition(".")[0]
    named = {"table": table, "profile": job.profile, "row": name, "runs": len(jobs), "steps": w.steps}
    named |= {"devices": speed.devices, "device": speed.device}
    named |= {name: float(len(jobs) * value) for name, value in totals.items()}
    return named | {"shape": shape.source, "effort": effort, "speed": speed.source}


def checkpoint_bytes(job: JobConfig, model: Model) -> float:
    """Bytes of a checkpoint: the trained weights, AdamW's two float32 averages and float32 copy, and the critic's."""
    t = job.training
    trained = model.adapters(t.lora.rank) if t.lora else model.parameters
    policy = trained * (BYTES[t.dtype] + (4 if t.dtype == "bfloat16" else 0) + 8)
    critic = load(job.method, **job.algorithm).critic is not None
    return policy + (model.parameters * (4 + 8) if critic else 0.0)
