"""Seconds of a work: from what a machine was measured to do, or from the data sheet of a GPU."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from reproduce.commands.plan.assumptions import Assumptions, Gpu
from reproduce.commands.plan.shapes import Shape
from reproduce.commands.plan.workload import Work
from reproduce.training.flops import Model

VARIED = 1.3
"""Operations per step must differ by this factor between runs for the cost of a step itself to be told apart."""
ROUNDS = 30


@dataclass(frozen=True)
class Seconds:
    """Wall seconds of a stage: sampling, waiting for tools beyond that, training, everything else."""

    sampling: float = 0.0
    tools: float = 0.0
    training: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return self.sampling + self.tools + self.training + self.other


@dataclass(frozen=True)
class Measured:
    """Speeds of one process, fitted to runs (`fitted`).

    sampling_rate, training_rate: operations per second of `flops.Model`; batch_seconds, update_seconds: of sampling a
    batch and of an optimiser step, whatever their size; run_seconds: of a run beside its stages. Tools are part of
    sampling.
    """

    sampling_rate: float
    batch_seconds: float
    training_rate: float
    update_seconds: float
    run_seconds: float
    source: str
    device: str = "CPU"
    devices: int = 1

    def seconds(self, work: Work, model: Model, shape: Shape) -> Seconds:
        """Of one stage of a run, without what a run costs as such."""
        training = work.training / self.training_rate + work.updates * self.update_seconds
        sampling = work.sampling / self.sampling_rate + work.steps * self.batch_seconds
        return Seconds(sampling, 0.0, training)

    def lines(self) -> list[tuple[str, str, str]]:
        """(what, value, source) for the list of assumptions."""
        return [
            ("sampling", f"{self.sampling_rate / 1e9:.2f} G operations/s", self.source),
            ("sampling a batch", f"{1000 * self.batch_seconds:.0f} ms", self.source),
            ("training", f"{self.training_rate / 1e9:.2f} G operations/s", self.source),
            ("an optimiser step", f"{1000 * self.update_seconds:.0f} ms", self.source),
            ("a run beside its stages", f"{self.run_seconds:.1f} s", self.source),
        ]


@dataclass(frozen=True)
class Point:
    """Measured seconds of one run. other: its seconds beside rollout, training and evaluation; NaN if unknown."""

    work: Work
    sampling: float
    training: float
    other: float = math.nan


def fitted(points: list[Point], source: str, device: str = "CPU", devices: int = 1) -> Measured:
    """Speeds that come closest to the points, by the sum of absolute relative errors; none is negative.

    Sampling and training alike: seconds = operations / rate + steps x seconds of a step (an RL step's sampling, an
    optimiser step), the second term only where the points tell the two apart. Absolute errors, because other work on
    the machine makes some runs slow. ValueError without points.
    """
    if not points:
        raise ValueError("nothing was measured")
    sampling = _two_costs([(p.work.sampling, p.work.steps, p.sampling) for p in points])
    training = _two_costs([(p.work.training, p.work.updates, p.training) for p in points])
    others = [p.other for p in points if not math.isnan(p.other)]
    run_seconds = float(np.median(others)) if others else 0.0
    return Measured(1 / sampling[0], sampling[1], 1 / training[0], training[1], run_seconds, source, device, devices)


def _two_costs(runs: list[tuple[float, float, float]]) -> tuple[float, float]:
    """(seconds of an operation, seconds of a step) from (operations, steps, seconds) of each run."""
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
        """The GPU's name, or CPU."""
        return "CPU" if self.cpu else str(self.assume("gpu"))

    @property
    def devices(self) -> int:
        """GPUs of a run, or its one CPU core."""
        return 1 if self.cpu else int(self.assume("gpus"))

    @property
    def sheet(self) -> Gpu:
        """The data sheet of one device."""
        return self.assume.core if self.cpu else self.assume.gpu

    @property
    def run_seconds(self) -> float:
        """Of a run beside its stages."""
        return self.assume("run_seconds")

    def seconds(self, work: Work, model: Model, shape: Shape) -> Seconds:
        """Of one stage of a run; a stage without RL steps (evaluation, warm start) is one batch."""
        a, gpu = self.assume, self.sheet
        batches = max(work.steps, 1)
        training = work.training / (self.devices * gpu.flops * a("train_use"))
        other = work.steps * a("step_seconds")
        if not work.sampled:
            return Seconds(training=training, other=other)
        reading = model.forward(work.read, 0.0, shape.length) / (self.devices * gpu.flops * a("read_use"))
        drawn = work.sampled / shape.answer / batches  # trajectories of a batch, dropped ones included
        decoding = batches * self._decoding(drawn, model, shape)
        searches = work.calls / batches * a("search_share")
        waits = [shape.calls * a("tool_seconds")]
        if self.searching and a("searches_per_second"):
            waits.append(searches / a("searches_per_second"))
        return Seconds(reading + decoding, batches * max(waits), training, other)

    def _decoding(self, trajectories: float, model: Model, shape: Shape) -> float:
        """Seconds of decoding one batch of trajectories, spread over the GPUs, each with an engine of its own."""
        a, gpu = self.assume, self.sheet
        rows = max(1.0, trajectories / self.devices)
        weights, cache = float(self.value_bytes * model.parameters), model.cache_bytes(self.value_bytes) * shape.length
        room = max(gpu.memory * a("rollout_memory") - weights, cache)
        at_once = min(rows, max(1.0, room / cache))
        moved = (weights + at_once * cache / 2) / (gpu.bandwidth * a("decode_use"))
        computed = 2.0 * at_once * (model.body + model.head) / (gpu.flops * a("read_use"))
        return shape.answer * a("longest") * max(moved, computed) * math.ceil(rows / at_once)

    def lines(self) -> list[tuple[str, str, str]]:
        """Nothing was measured; the assumptions say the rest."""
        return []
