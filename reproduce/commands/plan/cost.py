"""Cost of the rows of a table: tokens and operations from settings, seconds from committed runs or a data sheet.

Committed runs (`data/results`) tell what a method samples against GRPO, and how fast a model is on a device.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from reproduce.algorithms import load
from reproduce.commands.plan.assumptions import ASSUMED, DEMONSTRATED, GPUS, Assumptions
from reproduce.commands.plan.overlap import search_rate
from reproduce.config.tables import JobConfig
from reproduce.runs import files, schema
from reproduce.runs.manifest import ROOT, WARM_START
from reproduce.training.flops import Model, model_of, vocabulary_of
from reproduce.training.memory import BYTES, passes_of_an_update
from reproduce.worlds.alfworld.stepper.game import KINDS
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES
from reproduce.worlds.episode_task import ALL
from reproduce.worlds.scienceworld.environment import EPO_KINDS, ScienceWorld
from reproduce.yaml_files import read_yaml

BASELINE, COMMITTED = "grpo", "committed results"
KL_ROWS = 32
"""Rows on which the KL to the warm start is measured, once a step (`training.trainer.KL_ROWS`)."""
OPTIMISER_BYTES = 8
"""Of AdamW's two averages in float32; a bfloat16 model has a float32 copy of its weights beside them."""
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


def demonstrated(job) -> Shape | None:
    """The shape of the warm start's demonstrations; None where there are none of ours."""
    names = [job.task.world] if job.task.episodes is not None else job.task.families
    if job.model.name_or_path is not None or not DEMONSTRATED.keys() >= set(names):
        return None
    tokens = np.mean([DEMONSTRATED[name] for name in names], axis=0).tolist()
    return Shape(*tokens, tokens[3] if job.task.episodes else 1.0, "120 demonstrations")


def shape_of(job, assume: Assumptions) -> Shape:
    """The shape of a trajectory, as demonstrated in a world of ours (an episode may fail, and last longer), else
    assumed."""
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


class Work(NamedTuple):
    """Totals of a stage of a run: RL steps, kept trajectories, tokens sampled and trained on, tool calls (turns of an
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


def work(job, model: Model, shape: Shape, *counts: float) -> Work:
    """The work behind `COUNTS`; of `shape` only the prompt and the rows of a trajectory are used. Nothing is trained
    where trained is 0."""
    t, c, algorithm = job.training, Work(*counts), load(job.method, **job.algorithm)
    kept, rows, prompts = c.trained or c.sampled, c.trajectories * shape.rows, c.trajectories * shape.prompt
    tokens = prompts + kept + c.results  # of one pass over the rows
    drawn = c.sampled / kept * (prompts + c.results) + c.sampled
    critic = int(algorithm.critic is not None)
    reference = int("ref_logps_BT" in {*algorithm.advantage_needs, *algorithm.loss_needs})
    # Forward and backward over forward: 3; frozen weights need no gradients of their own, and layers that are computed
    # again in the backward pass are forward operations once more.
    # An update of several passes (`training.micro_batches`) begins with a forward pass of all of them.
    passes = (2 if t.lora else 3) + bool(t.gradient_checkpointing)
    passes += c.steps > 0 and passes_of_an_update(job, tokens / (c.steps * t.minibatches)) > 1
    passes = t.epochs * passes * (1 + critic) + critic + reference + min(1.0, KL_ROWS * c.steps / rows)
    sampling = model.forward(drawn, c.sampled, tokens / rows)
    training = model.forward(tokens, c.trained, tokens / rows) * passes if c.trained else 0.0
    return c._replace(updates=float(c.steps * t.epochs * t.minibatches), sampling=sampling, training=training)


def rl(job, model: Model, shape: Shape, factors: tuple) -> Work:
    """The RL steps of a run; factors: of sampled tokens, trained tokens and calls (`factors_of`)."""
    t, (sampled, trained, calls, *_) = job.training, factors
    steps = math.ceil(t.steps / sampled) if t.trajectory_budget and sampled > 1 else t.steps
    n = float(steps * t.prompts_per_step * t.group_size)
    tokens = n * shape.answer * sampled, n * shape.answer * trained
    return work(job, model, shape, steps, n, *tokens, n * shape.calls * calls, n * shape.result * trained)


def evaluation(job, model: Model, shape: Shape) -> Work:
    """The evaluation of one checkpoint on the whole panel; in a world of episodes on both of its splits, and with the
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


HISTORY = "history"


def committed(root: Path = ROOT / "data" / "results") -> pd.DataFrame:
    """A row per trained run below `<root>/<profile>/<experiment>`: job, model, `COUNTS`, seconds, machine. Regimes that
    were replaced (`history`) are left out."""
    found = []
    for folder in sorted(path.parent for path in Path(root).glob("*/*/manifests.json")):
        if folder.parent.name == HISTORY:
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
    """Tokens sampled and trained on, and calls, as multiples of independent trajectories; where that is from: against
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
    if policy.needs_pilot:  # one more trajectory per question, which is thrown away
        factor += 1.0 / job.training.group_size
    factor += sides
    return factor, 1.0, factor, "parts of the method"


@dataclass(frozen=True)
class Speed:
    """Seconds that a run takes for a unit of work, with all its devices.

    sampling, training: for an operation; sampled: for a sampled token beside its operations; batch: for an RL step's
    sampling whatever its size, and for each further one where `at_once` trajectories fill the memory; step, update,
    run: for an RL step, an optimiser step and a run beside those. call, search: for a trajectory's tool call, during
    which it waits, and for a search at the rate of the service.
    """

    source: str
    device: str
    devices: int
    measured: bool
    sampling: float
    batch: float
    training: float
    update: float = 0.0
    run: float = 0.0
    sampled: float = 0.0
    at_once: float = math.inf
    step: float = 0.0
    call: float = 0.0
    search: float = 0.0

    def seconds(self, w: Work, shape: Shape) -> np.ndarray:
        """Of `STAGES`, for one stage of a run; one without RL steps is one batch."""
        training, other = w.training * self.training + w.updates * self.update, w.steps * self.step
        if not w.sampled:
            return np.array([0.0, 0.0, training, other])
        batches = max(w.steps, 1)
        waves = batches * math.ceil(w.sampled / shape.answer / batches / self.at_once)  # dropped trajectories, too
        sampling = w.sampling * self.sampling + w.sampled * self.sampled
        sampling += self.batch * (w.steps if self.measured else waves)
        return np.array([sampling, max(batches * shape.calls * self.call, w.calls * self.search), training, other])


def speed_for(job, runs: pd.DataFrame, assume: Assumptions, model: Model, shape: Shape) -> Speed:
    """Speeds of the job's model on its device, fitted to the committed runs that have both, else of the data sheet."""
    asked = job.model, job.training.device, job.training.dtype, job.training.lora
    same = [(j.model, j.training.device, j.training.dtype, j.training.lora) == asked for j in runs["job"]]
    return measured(runs[same], assume) if any(same) else on_paper(job, assume, model, shape)


def measured(runs: pd.DataFrame, assume: Assumptions) -> Speed:
    """Fitted to runs: least squares of relative errors, no cost below 0; tools are part of sampling."""
    shapes = {name: shape_of(runs.loc[i, "job"], assume) for name, i in zip(runs["table"], runs.index, strict=True)}
    done = [work(r.job, r.model, shapes[r.table], *(getattr(r, name) for name in COUNTS)) for r in runs.itertuples()]
    sampling = np.array([(w.sampling, w.steps) for w in done])
    training = np.array([(w.training, w.updates) for w in done])
    costs = [
        nnls(sizes / runs[name].to_numpy()[:, None], np.ones(len(runs)))[0].tolist()
        for sizes, name in ((sampling, "rollout"), (training, "train"))
    ]
    beside = float((runs["total"] - runs["rollout"] - runs["train"] - runs["eval"]).median())
    machine, cpu = runs["machine"].iloc[0], runs["job"].iloc[0].training.device == "cpu"
    source = f"{COMMITTED}: {len(runs)} runs of {', '.join(sorted(set(runs['table'])))} ({machine})"
    return Speed(source, "CPU" if cpu else machine, 1, True, *costs[0], *costs[1], run=beside)


def on_paper(job, assume: Assumptions, model: Model, shape: Shape) -> Speed:
    """Of a GPU, or a CPU core, that nothing was measured on: its data sheet, and the shares of it that are assumed to
    be reached.

    Operations over peak; every decoding step also reads the weights, once for the trajectories at work, and half of
    the key-value cache of each; a step of RL ends with its longest trajectory.
    """
    a, cpu = assume, job.training.device == "cpu"
    sheet = (a("cpu_flops"), a("cpu_bandwidth"), a("cpu_memory")) if cpu else GPUS[a("gpu")]
    device, devices = ("CPU", 1) if cpu else (a("gpu"), int(a("gpus")))
    flops, bandwidth, memory = sheet[0] * devices, sheet[1] * a("decode_use"), sheet[2] * a("rollout_memory")
    size = BYTES[job.training.dtype] if cpu else 2  # bytes of a value while sampling
    weights, cache = size * model.parameters, model.cache_bytes(size) * shape.length
    limit = search_rate(a("searches_per_second"), _calls_at_once(job, devices), a("tool_seconds")) if job.search else 0
    return Speed(
        source=f"data sheet of {device}",
        device=device,
        devices=devices,
        measured=False,
        sampling=1 / (flops * a("read_use")),
        batch=shape.answer * a("longest") * weights / bandwidth,
        training=1 / (flops * a("train_use")),
        run=a("run_seconds"),
        sampled=a("longest") * cache / 2 / bandwidth / devices,
        at_once=devices * max(1.0, (memory - weights) / cache),
        step=a("step_seconds"),
        call=a("tool_seconds"),
        search=a("search_share") / limit if limit else 0.0,
    )


def _calls_at_once(job, devices: int) -> float:
    """Searches that wait together: the threads of every process, and no more than a process's search may have."""
    threads = job.engine.tool_workers if job.engine is not None else 0  # 0: batches, as many as the search takes
    return devices * min(job.search.concurrency, threads or job.search.concurrency)


class Plan(NamedTuple):
    """Cost of a table. rows: columns of the CSV file by name, sums over a row's seeds, the warm start first if it is
    trained, seconds are wall seconds; total: of all; factors: row -> `factors_of`."""

    job: JobConfig
    model: Model
    shape: Shape
    speed: Speed
    assume: Assumptions
    factors: dict[str, tuple]
    rows: list[dict]
    total: dict


def plan(jobs: list[JobConfig], runs: pd.DataFrame, assume: Assumptions) -> Plan:
    """The plan of a table's jobs (`TableConfig.jobs`); runs: `committed`. Starts nothing.

    UserError for a model of unknown shape.
    """
    job, rows, factors = jobs[0], [], {}
    model, shape = model_of(job.model, vocabulary_of(job)), shape_of(job, assume)
    speed = speed_for(job, runs, assume, model, shape)
    if job.warm_start.demonstrations:  # trained once a table, and evaluated as every run is
        done = warm_start(job, model, shape, assume)
        rows.append(_row(WARM_START, [job], done, (model, shape, speed), assume, "demonstrations"))
    for name in dict.fromkeys(job.name for job in jobs):
        of_row = [job for job in jobs if job.name == name]
        found = factors[name] = factors_of(of_row[0], runs, assume)
        done = rl(of_row[0], model, shape, found)
        rows.append(_row(name, of_row, done, (model, shape, speed), assume, found[-1]))
    total = pd.DataFrame(rows).sum(numeric_only=True).to_dict() | {"row": "total", "devices": speed.devices}
    total["disk_bytes"] += 2.0 * model.parameters if job.model.name_or_path else 0.0  # its download
    return Plan(job, model, shape, speed, assume, factors, rows, total)


def _row(name: str, jobs: list[JobConfig], w: Work, basis: tuple, a: Assumptions, effort: str) -> dict:
    """The row of `jobs`, one a seed, each of work `w` and evaluated."""
    (model, shape, speed), job = basis, jobs[0]
    tested = evaluation(job, model, shape)
    seconds = speed.seconds(w, shape)
    seconds[3] += speed.seconds(tested, shape).sum() + speed.run
    hosted = job.search is not None and job.search.service != "local"
    searches = (w.calls + tested.calls) * a("search_share") if hosted else 0.0
    logged = a("text_bytes") * (shape.answer + shape.result) * (w.trajectories + tested.trajectories)
    kept = a("kept_checkpoints") * _bytes(job, model)
    disk = model.parameters * BYTES[job.training.dtype] if name == WARM_START else logged + kept
    totals = {
        "trajectories": w.trajectories,
        "sampled_tokens": w.sampled,
        "trained_tokens": w.trained,
        "tool_calls": w.calls,
        **{f"seconds_{stage}": value for stage, value in zip(STAGES, seconds, strict=True)},
        "device_hours": seconds.sum() * speed.devices / 3600,
        "searches": searches,
        "dollars": searches / 1000 * a("search_price") if hosted else 0.0,
        "disk_bytes": disk,
    }
    table = job.experiment.removeprefix("table").partition(".")[0]
    named = {"table": table, "profile": job.profile, "row": name, "runs": len(jobs), "steps": w.steps}
    named |= {"devices": speed.devices, "device": speed.device}
    sources = {"shape": shape.source, "effort": effort, "speed": speed.source}
    return named | {name: float(len(jobs) * value) for name, value in totals.items()} | sources


def _bytes(job: JobConfig, model: Model) -> float:
    """Of a checkpoint: what is trained with the optimiser's state, and the critic."""
    t = job.training
    trained = model.adapters(t.lora.rank) if t.lora else model.parameters
    policy = trained * (BYTES[t.dtype] + (4 if t.dtype == "bfloat16" else 0) + OPTIMISER_BYTES)
    critic = load(job.method, **job.algorithm).critic is not None
    return policy + (model.parameters * (4 + OPTIMISER_BYTES) if critic else 0.0)
