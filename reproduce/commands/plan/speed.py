"""Seconds of a work: from what a machine was measured to do, or from the data sheet of a card."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from reproduce.commands.plan.assumptions import Assumptions
from reproduce.commands.plan.measured import BENCH, SOURCES, Observed, machine_name
from reproduce.commands.plan.work import Shape, Work, shape_of, work
from reproduce.runs import manifest
from reproduce.training.flops import Model, model_of, vocabulary_of
from reproduce.training.memory import BYTES

VARIED = 1.3
"""Operations per step must differ by this factor between runs for the cost of a step itself to be told apart."""
ROUNDS = 30
NAMED = 60
"""Characters that the names of the tables behind a number may take."""


@dataclass(frozen=True)
class Measured:
    """Speeds of one process, fitted to runs. sampling, training: (seconds of an operation of `flops.Model`, seconds of
    an RL step's sampling or of an optimiser step whatever its size); run_seconds: of a run beside its stages."""

    sampling: tuple[float, float]
    training: tuple[float, float]
    run_seconds: float
    source: str
    device: str = "CPU"
    devices: int = 1

    def seconds(self, w: Work, model: Model, shape: Shape) -> np.ndarray:
        """(sampling with its tools, 0, training, 0) of one stage of a run."""
        sampling = w.sampling * self.sampling[0] + w.steps * self.sampling[1]
        return np.array([sampling, 0.0, w.training * self.training[0] + w.updates * self.training[1], 0.0])

    def lines(self) -> list[str]:
        """The speeds in words, for the list of assumptions."""
        (drawn, batch), (trained, update) = self.sampling, self.training
        return [
            f"{self.source}: sampling {1e-9 / drawn:.2f} G operations/s, sampling a batch {1000 * batch:.0f} ms, "
            f"training {1e-9 / trained:.2f} G operations/s, an optimiser step {1000 * update:.0f} ms, "
            f"a run beside its stages {self.run_seconds:.1f} s"
        ]


def fitted(runs: list[tuple[Work, float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    """`Measured.sampling` and `training` that come closest to (work, seconds of sampling, of training) of runs."""
    sampling = _two_costs([(w.sampling, w.steps, seconds) for w, seconds, _ in runs])
    return sampling, _two_costs([(w.training, w.updates, seconds) for w, _, seconds in runs])


def _two_costs(runs: list[tuple[float, float, float]]) -> tuple[float, float]:
    """(seconds of an operation, seconds of a step) from (operations, steps, seconds) of each run; none is negative.

    Least absolute relative errors, because other work on the machine makes some runs slow. The cost of a step is 0
    where the runs do not tell the two apart. ValueError without runs.
    """
    sizes = [operations / steps for operations, steps, _ in runs]
    told_apart = max(sizes) > VARIED * min(sizes)
    for columns in ((0, 1),) * told_apart + ((0,),):
        rows = np.array([[run[column] / run[2] for column in columns] for run in runs])
        weights = np.ones(len(runs))
        for _ in range(ROUNDS):  # least squares, reweighted until they are least absolute errors
            costs = nnls(rows * weights[:, None], weights)[0]
            weights = np.sqrt(1.0 / np.maximum(np.abs(rows @ costs - 1.0), 1e-3))
        if costs[0] > 0:  # else: noise only, the operations cost something
            return float(costs[0]), float(costs[1]) if len(columns) > 1 else 0.0
    raise ValueError("every run took no time")


@dataclass(frozen=True)
class Sheet:
    """A GPU, or a CPU core, that nothing was measured on: its data sheet, and the shares of it that are assumed to be
    reached. value_bytes: of a weight while sampling.

    Sampling: every decoding step reads the weights and the key-value cache of the trajectories at work, or computes,
    whichever takes longer; a step of RL ends with its longest trajectory. Training and reading: operations over peak.
    Tools: the longer of the service's rate limit and one trajectory's calls after another.
    """

    assume: Assumptions
    searching: bool  # some tool calls are searches, at the rate of the service
    cpu: bool = False
    value_bytes: int = 2

    @property
    def device(self) -> str:
        return "CPU" if self.cpu else str(self.assume("gpu"))

    @property
    def source(self) -> str:
        return f"data sheet of {self.device}"

    @property
    def devices(self) -> int:
        """GPUs of a run, or its one CPU core."""
        return 1 if self.cpu else int(self.assume("gpus"))

    @property
    def run_seconds(self) -> float:
        return self.assume("run_seconds")

    def seconds(self, w: Work, model: Model, shape: Shape) -> np.ndarray:
        """(sampling, tools, training, other) of one stage of a run; one without RL steps is one batch."""
        a, batches, flops = self.assume, max(w.steps, 1), self.devices * self.assume.sheet(self.cpu)[0]
        stages = np.array([0.0, 0.0, w.training / (flops * a("train_use")), w.steps * a("step_seconds")])
        if w.sampled:
            rows = max(1.0, w.sampled / shape.answer / batches / self.devices)  # of one engine; dropped ones included
            stages[0] = model.forward(w.read, 0.0, shape.length) / (flops * a("read_use"))
            stages[0] += batches * self._decoding(rows, model, shape)
            limit = a("searches_per_second") if self.searching else 0.0
            searches = w.calls / batches * a("search_share")
            stages[1] = batches * max(shape.calls * a("tool_seconds"), searches / limit if limit else 0.0)
        return stages

    def _decoding(self, rows: float, model: Model, shape: Shape) -> float:
        """Seconds of decoding `rows` trajectories on one card."""
        a, (flops, bandwidth, memory) = self.assume, self.assume.sheet(self.cpu)
        weights, cache = float(self.value_bytes * model.parameters), model.cache_bytes(self.value_bytes) * shape.length
        room = max(memory * a("rollout_memory") - weights, cache)
        at_once = min(rows, max(1.0, room / cache))
        moved = (weights + at_once * cache / 2) / (bandwidth * a("decode_use"))
        computed = 2.0 * at_once * (model.body + model.head) / (flops * a("read_use"))
        return shape.answer * a("longest") * max(moved, computed) * math.ceil(rows / at_once)

    def lines(self) -> list[str]:
        """Nothing was measured; the assumptions say the rest."""
        return []


def speed_for(job, observed: list[Observed], assume: Assumptions) -> Measured | Sheet:
    """Speeds of the job's model on its device, from the runs of the first source that has any, else the data sheet.

    Sources, best first: own runs, the committed results, the bench; one of this machine goes before one of another.
    """
    here, fits = machine_name(manifest.machine(job.training.device)), {}
    for seen in observed:
        if _same_work(seen.job, job):
            fits.setdefault((seen.machine != here, SOURCES.index(seen.source)), []).append(seen)
    cpu = job.training.device == "cpu"
    if not fits:
        return Sheet(assume, job.search is not None, cpu, BYTES[job.training.dtype] if cpu else 2)
    chosen = fits[min(fits)]
    runs = [(_work(seen, assume), seen.sampling, seen.training) for seen in chosen]
    others = [seen.other for seen in chosen if seen.other is not None]
    first = chosen[0]
    tables = sorted({seen.job.experiment for seen in chosen})
    names = ", ".join(tables)
    if len(names) > NAMED:
        names = f"{len(tables)} tables and trials ({first.where})"
    of = "" if first.source == BENCH else f": {len(chosen)} runs of {names}"
    run_seconds = float(np.median(others)) if others else 0.0
    device = "CPU" if cpu else first.machine
    return Measured(*fitted(runs), run_seconds, f"{first.source}{of} ({first.machine})", device)


def _work(seen: Observed, assume: Assumptions) -> Work:
    model = model_of(seen.job.model, vocabulary_of(seen.job))
    return work(seen.job, model, shape_of(seen.job, assume), seen.counts)


def _same_work(seen, job) -> bool:
    a, b = seen.training, job.training
    return seen.model == job.model and (a.device, a.dtype, a.lora) == (b.device, b.dtype, b.lora)
