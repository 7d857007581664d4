"""Rollouts of the next RL step, sampled while this one trains (`training.stale_steps: 1`).

Step t trains weights that t - 1 steps have made. Meanwhile a thread samples step t + 1 from a copy of them, so the rows
of step t (from the second on) come from weights that t - 2 steps have made. Their old log-probabilities are the
sampler's. Random streams are functions of seed, purpose and step, and the copy changes only while the thread rests, so
the clock decides nothing. A checkpoint holds the rollouts of the step that comes next.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reproduce.algorithms.parts.state import Sampling
from reproduce.rollouts.collector import Batch

FILE = "next_rollouts.pt"
SAMPLED_AFTER = "stale/sampled_after_step"
"""The metric that says how many RL steps had made the weights that sampled a step's rows."""


class Plan(NamedTuple):
    """How rollouts are sampled.

    step: the RL step that trains on them, from 1. indices: of its questions. sampled_after: the number of RL steps that
    made the weights. sampling: what the method's states ask for.
    """

    step: int
    indices: list[int]
    sampled_after: int
    sampling: Sampling


@dataclass
class Rollouts:
    """The rollouts that an RL step begins with.

    plan: how they were sampled. batch: the groups. tensors: by TRL's names, with what a forward pass of the sampling
    weights adds. metrics: of the gap between sampler and trainer.
    """

    plan: Plan
    batch: Batch
    tensors: dict[str, Tensor]
    metrics: dict[str, float]

    def save(self, folder: Path) -> None:
        """Write them into a checkpoint."""
        torch.save(self, folder / FILE)

    @staticmethod
    def load(folder: Path, device) -> "Rollouts | None":
        """Read those of a checkpoint; None if it has none. Only for a run's own files: it unpickles."""
        path = folder / FILE
        return torch.load(path, map_location=device, weights_only=False) if path.is_file() else None


class _Stopped(Exception):
    """The training ended before the sampling."""


class Ahead:
    """One thread for all rollouts of a training. It lives as long as this object: children of a thread, such as the
    sandbox of the Python tool, end with it.

    model: the copy that is sampled from.
    """

    def __init__(self, model: torch.nn.Module):
        self._pool, self._stop = ThreadPoolExecutor(1, thread_name_prefix="rollouts"), threading.Event()
        self._device = next(model.parameters()).device
        self._running: Future | None = None
        model.register_forward_pre_hook(self._check_stop)

    @property
    def begun(self) -> bool:
        """Whether there is something to wait for."""
        return self._running is not None

    def begin(self, work: Callable[[], Any]) -> None:
        """Start `work` in the thread."""
        ready = torch.cuda.current_stream(self._device) if self._device.type == "cuda" else None
        self._running = self._pool.submit(self._on_own_stream, work, ready)

    def result(self):
        """Wait for the work that was begun and return its value. Raises what it raised."""
        running, self._running = self._running, None
        return running.result()

    def stop(self) -> None:
        """End the work that was begun, at the next pass of the model or when its tools have answered."""
        self._stop.set()
        if self._running is not None:
            wait([self._running])

    def _on_own_stream(self, work, ready):
        """On a card, kernels of the thread do not queue behind those of the training."""
        if ready is None:
            return work()
        own = torch.cuda.Stream(self._device)
        own.wait_stream(ready)
        with torch.cuda.stream(own):
            found = work()
        own.synchronize()
        return found

    def _check_stop(self, *_) -> None:
        if self._stop.is_set():
            raise _Stopped
