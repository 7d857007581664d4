"""A table's plan: tokens, seconds, searches and bytes of its rows, and everything that they rest on."""

from dataclasses import dataclass, field

import numpy as np

from reproduce.commands.plan import work
from reproduce.commands.plan.assumptions import Assumptions
from reproduce.commands.plan.measured import Observed, factors, shape_for
from reproduce.commands.plan.speed import Measured, Sheet, speed_for
from reproduce.commands.plan.work import Shape, Work
from reproduce.config.tables import JobConfig
from reproduce.runs.manifest import WARM_START
from reproduce.training.flops import Model, model_of, vocabulary_of
from reproduce.training.memory import BYTES

LOG_BYTES = 0.3
"""Bytes a token of a logged trajectory in the worlds made here, where a word is a token: 0.31 and 0.45 in the
rollouts.parquet of the runs of tables 2 and 1, profile mini."""
OPTIMISER_BYTES = 8
"""Of AdamW's two averages in float32; a bfloat16 model has a float32 copy of its weights beside them."""
STAGES = ("sampling", "tools", "training", "other")


@dataclass
class Plan:
    """Cost of a table. rows: columns of the CSV file by name, sums over a row's seeds, the warm start first if it is
    trained; seconds are wall seconds. factors: row -> `work.factors_of`."""

    job: JobConfig
    model: Model
    shape: Shape
    speed: Measured | Sheet
    assume: Assumptions
    rows: list[dict] = field(default_factory=list)
    factors: dict[str, tuple] = field(default_factory=dict)

    @property
    def table(self) -> str:
        return self.job.experiment.removeprefix("table").partition(".")[0]

    @property
    def hosted(self) -> bool:
        """Whether searches cost money."""
        return self.job.search is not None and self.job.search.service != "local"

    @property
    def total(self) -> dict:
        """Sums over rows; the disk holds the model's download, too."""
        found = {name: sum(r[name] for r in self.rows) for name, v in self.rows[0].items() if not isinstance(v, str)}
        found["disk_bytes"] += 2.0 * self.model.parameters if self.job.model.name_or_path else 0.0
        return found | {"row": "total", "devices": self.speed.devices}

    @property
    def notes(self) -> list[str]:
        """Costs that the numbers leave out."""
        notes, sheet, engine = [], isinstance(self.speed, Sheet), self.job.engine
        if sheet and self.speed.cpu:
            notes.append("this model was not measured on a CPU: hours are from the assumed speed of one core")
        elif sheet and (engine is None or not engine.name.startswith("vllm")):
            notes.append("sampling is taken to be as fast as vLLM's; the engine of this config is slower")
        if self.job.judge is not None:
            notes.append("not counted: the judge's model, and pages that are fetched")
        return notes


def plan(jobs: list[JobConfig], observed: list[Observed], assume: Assumptions) -> Plan:
    """The plan of a table's jobs (`TableConfig.jobs`); observed: what may be learned from. Starts nothing.

    UserError for a model of unknown shape.
    """
    job, measured = jobs[0], factors(observed)
    model, shape = model_of(job.model, vocabulary_of(job)), shape_for(job, observed, assume)
    made = Plan(job, model, shape, speed_for(job, observed, assume), assume)
    if job.warm_start.demonstrations:  # trained once a table, and evaluated as every run is
        disk = float(model.parameters * BYTES[job.training.dtype])
        _add(made, WARM_START, job, 1, work.warm_start(job, model, shape, assume), disk, "demonstrations")
    for name in dict.fromkeys(job.name for job in jobs):
        of_row = [job for job in jobs if job.name == name]
        found = made.factors[name] = work.factors_of(of_row[0], assume, measured)
        _add(made, name, of_row[0], len(of_row), work.rl(of_row[0], model, shape, found), None, found[-1])
    return made


def _add(plan: Plan, name: str, job: JobConfig, runs: int, w: Work, disk: float | None, effort: str) -> None:
    """Adds a row of `runs` runs of work `w`. disk: bytes of a run, None for logs and checkpoints of RL."""
    speed, shape, a = plan.speed, plan.shape, plan.assume
    tested = work.evaluation(job, plan.model, shape)
    seconds = speed.seconds(w, plan.model, shape)
    seconds[3] += speed.seconds(tested, plan.model, shape).sum() + speed.run_seconds
    searches = (w.calls + tested.calls) * a("search_share") if plan.hosted else 0.0
    dollars = searches / 1000 * a("search_price") if plan.hosted else 0.0
    if disk is None:
        each = LOG_BYTES if job.model.name_or_path is None else a("text_bytes")
        logged = each * (shape.answer + shape.result) * (w.trajectories + tested.trajectories)
        disk = logged + a("kept_checkpoints") * _checkpoint(job, plan.model)
    counts = np.array([w.trajectories, w.sampled, w.trained, w.calls])
    names = ("trajectories", "sampled_tokens", "trained_tokens", "tool_calls", *(f"seconds_{s}" for s in STAGES))
    plan.rows.append(
        {"table": plan.table, "profile": job.profile, "row": name, "runs": runs, "steps": w.steps}
        | {name: float(runs * value) for name, value in zip(names, [*counts, *seconds], strict=True)}
        | {"devices": speed.devices, "device": speed.device}
        | {"device_hours": float(runs * seconds.sum() * speed.devices / 3600), "searches": runs * searches}
        | {"dollars": runs * dollars, "disk_bytes": runs * disk, "shape": shape.source, "effort": effort}
        | {"speed": speed.source}
    )


def _checkpoint(job: JobConfig, model: Model) -> float:
    """Bytes of a checkpoint: what is trained with the optimiser's state, and the critic."""
    t = job.training
    trained = model.adapters(t.lora.rank) if t.lora else model.parameters
    policy = trained * (BYTES[t.dtype] + (4 if t.dtype == "bfloat16" else 0) + OPTIMISER_BYTES)
    return policy + (model.parameters * (4 + OPTIMISER_BYTES) if work.has_critic(job) else 0.0)
