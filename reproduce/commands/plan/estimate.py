"""A table's plan: rows, totals, and everything that they rest on."""

from dataclasses import dataclass, field

from reproduce.commands.plan import workload
from reproduce.commands.plan.assumptions import Assumptions
from reproduce.commands.plan.measured import Observed, efforts, shape_for, speed_for
from reproduce.commands.plan.shapes import Shape, demonstrated
from reproduce.commands.plan.speed import Measured, Seconds, Sheet
from reproduce.commands.plan.workload import Effort, Work
from reproduce.config.tables import JobConfig
from reproduce.runs.manifest import WARM_START
from reproduce.training.flops import Model, model_of, vocabulary_of

LOG_BYTES = 0.3
"""Bytes a token of a logged trajectory in the worlds made here, where a word is a token: 0.31 and 0.45 in the
rollouts.parquet of the runs of tables 2 and 1, profile mini."""
VALUE_BYTES = {"bfloat16": 2, "float32": 4, "float64": 8}
OPTIMISER_BYTES = 8
"""Of AdamW's two averages in float32; a bfloat16 model has a float32 copy of its weights beside them."""


@dataclass(frozen=True)
class PlanRow:
    """One row of the table. work, evaluation, seconds: of one run; runs: its seeds. searches: of all runs, training and
    evaluation. dollars: their price; disk: bytes of all runs."""

    name: str
    runs: int
    work: Work
    evaluation: Work
    seconds: Seconds
    effort: Effort
    searches: float
    dollars: float
    disk: float

    @property
    def hours(self) -> float:
        """Wall hours of all runs, one after the other."""
        return self.runs * self.seconds.total / 3600


@dataclass(frozen=True)
class Plan:
    """Cost of a table. rows: the warm start first, if it is trained. hosted: searches cost money."""

    table: str
    job: JobConfig
    model: Model
    shape: Shape
    speed: Measured | Sheet
    rows: list[PlanRow]
    download: float
    hosted: bool
    assume: Assumptions
    notes: list[str] = field(default_factory=list)

    @property
    def profile(self) -> str:
        """The profile that was planned."""
        return self.job.profile

    @property
    def device_hours(self) -> float:
        """GPU-hours, or hours of one CPU core, of everything."""
        return sum(row.hours for row in self.rows) * self.speed.devices

    @property
    def disk(self) -> float:
        """Bytes of everything."""
        return sum(row.disk for row in self.rows) + self.download


def plan(jobs: list[JobConfig], observed: list[Observed], assume: Assumptions) -> Plan:
    """The plan of a table's jobs (`TableConfig.jobs`); observed: what may be learned from. Starts nothing.

    UserError for a model of unknown shape.
    """
    job = jobs[0]
    model = model_of(job.model, vocabulary_of(job))
    shape, known = shape_for(job, observed, assume), efforts(observed)
    hosted = job.search is not None and job.search.service != "local"
    speed = speed_for(job, observed, assume) or _sheet(job, assume)
    rows = [_warm_start(job, model, shape, speed, assume, hosted)] if job.warm_start.demonstrations else []
    for name in dict.fromkeys(made.name for made in jobs):
        of_row = [made for made in jobs if made.name == name]
        rows.append(_row(of_row, model, shape, speed, assume, known, hosted))
    download = 2.0 * model.parameters if job.model.name_or_path else 0.0
    table = job.experiment.removeprefix("table").partition(".")[0]
    return Plan(table, job, model, shape, speed, rows, download, hosted, assume, _notes(job, speed))


def _sheet(job: JobConfig, assume: Assumptions) -> Sheet:
    """The data sheet of the config's device."""
    cpu = job.training.device == "cpu"
    return Sheet(assume, job.search is not None, cpu, VALUE_BYTES[job.training.dtype] if cpu else 2)


def _notes(job: JobConfig, speed: Measured | Sheet) -> list[str]:
    """Costs that the numbers leave out."""
    notes = []
    if isinstance(speed, Sheet) and speed.cpu:
        notes.append("this model was not measured on a CPU: hours are from the assumed speed of one core")
    elif isinstance(speed, Sheet) and (job.engine is None or not job.engine.name.startswith("vllm")):
        notes.append("sampling is taken to be as fast as vLLM's; the engine of this config is slower")
    if job.judge is not None:
        notes.append("not counted: the judge's model, and pages that are fetched")
    return notes


def _row(jobs, model: Model, shape: Shape, speed, assume, known: dict[str, Effort], hosted: bool) -> PlanRow:
    job, runs = jobs[0], len(jobs)
    effort = workload.effort_of(job, assume, known)
    work, evaluated = workload.rl(job, model, shape, effort), workload.evaluation(job, model, shape)
    trained, tested = speed.seconds(work, model, shape), speed.seconds(evaluated, model, shape)
    seconds = Seconds(
        trained.sampling, trained.tools, trained.training, tested.total + trained.other + speed.run_seconds
    )
    searches, dollars = _searches(runs * (work.calls + evaluated.calls), hosted, assume)
    disk = runs * (_logged(job, shape, work, evaluated, assume) + _checkpoints(job, model, effort, assume))
    return PlanRow(job.name, runs, work, evaluated, seconds, effort, searches, dollars, disk)


def _warm_start(job: JobConfig, model: Model, shape: Shape, speed, assume, hosted: bool) -> PlanRow:
    """Trained once a table, and evaluated as every run is."""
    work = workload.warm_start(job, model, demonstrated(job) or shape, assume)
    evaluated = workload.evaluation(job, model, shape)
    trained, tested = speed.seconds(work, model, shape), speed.seconds(evaluated, model, shape)
    seconds = Seconds(training=trained.training, other=tested.total + speed.run_seconds)
    searches, price = _searches(evaluated.calls, hosted, assume)
    effort = Effort(0.0, 1.0, 0.0, False, False, "demonstrations")
    disk = float(model.parameters * _weight_bytes(job))
    return PlanRow(WARM_START, 1, work, evaluated, seconds, effort, searches, price, disk)


def _searches(calls: float, hosted: bool, assume) -> tuple[float, float]:
    """(searches among tool calls, their price in $); none without a hosted service."""
    searches = calls * assume("search_share") if hosted else 0.0
    return searches, searches / 1000 * assume("search_price") if hosted else 0.0


def _weight_bytes(job: JobConfig) -> int:
    return {"float32": 4, "float64": 8, "bfloat16": 2}[job.training.dtype]


def _checkpoints(job: JobConfig, model: Model, effort: Effort, assume) -> float:
    """Bytes of the checkpoints that a run keeps: weights, the optimiser's state of what is trained, the critic."""
    weights = _weight_bytes(job)
    trained = model.parameters * (_lora_share(job, model) if job.training.lora else 1.0)
    copy = 4 if job.training.dtype == "bfloat16" else 0
    policy = trained * (weights + copy + OPTIMISER_BYTES)
    critic = model.parameters * (4 + OPTIMISER_BYTES) if effort.critic else 0.0
    return assume("kept_checkpoints") * (policy + critic)


def _lora_share(job: JobConfig, model: Model) -> float:
    """Weights of adapters of rank r on all linear layers (r x (inputs + outputs) each) over all weights."""
    m, r = model, job.training.lora.rank
    query, keys = m.heads * m.head_size, m.kv_heads * m.head_size
    sides = 2 * (m.hidden + query) + 2 * (m.hidden + keys) + 3 * (m.hidden + m.intermediate)
    return m.layers * r * sides / m.parameters


def _logged(job: JobConfig, shape: Shape, work: Work, evaluated: Work, assume) -> float:
    """Bytes of rollouts.parquet and eval.parquet."""
    each = LOG_BYTES if job.model.name_or_path is None else assume("text_bytes")
    return each * (shape.answer + shape.result) * (work.trajectories + evaluated.trajectories)
