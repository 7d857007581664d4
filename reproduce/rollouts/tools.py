"""Run tool calls in threads, so that a slow search delays neither the other calls nor the sampling.

`run` answers a batch and returns when the last call is done: all paths wait for the slowest. `submit` and `finished`
answer each call on its own: a path goes on when its result is there, while an engine samples the other paths.

Programs of the Python tool are collected and run as one batch whenever the sandbox is free, since it runs the programs
of a batch together and one batch at a time. Equal calls of a `submit` are one batch too, so that a search service is
asked once. The order in which results arrive depends on the clock. If that matters to a policy (branching), two runs
with one seed can differ.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from reproduce.closing import Closing
from reproduce.rollouts.grammar import PROGRAMS


class ToolPool(Closing):
    """The tools of a `ToolServer` behind `workers` threads; close it after use."""

    def __init__(self, environment, workers: int):
        self.environment = environment
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="tools")
        self._programs = ThreadPoolExecutor(1, thread_name_prefix="programs")
        self._collected: list[tuple[Any, Any]] = []
        self._lock = threading.Lock()
        self._running: list[Future] = []
        self.waiting = 0
        """Calls submitted whose results `finished` has not given yet."""

    def close(self) -> None:
        """Drop what has not begun and wait for the rest."""
        for pool in (self._pool, self._programs):
            pool.shutdown(wait=True, cancel_futures=True)

    def run(self, calls: Sequence[Any]) -> list[Any]:
        """Return results in the order of `calls`, when all of them are there."""
        self.submit(list(enumerate(calls)))
        results = {}
        while self.waiting:
            self.wait()
            results |= dict(self.finished())
        return [results[number] for number in range(len(calls))]

    def submit(self, calls: Sequence[tuple[Any, Any]]) -> None:
        """Start (owner, call) pairs; `finished` gives back each owner with its result."""
        searches: dict[tuple[str, str], list[tuple[Any, Any]]] = {}
        programs = [pair for pair in calls if pair[1].tool == PROGRAMS]
        for owner, call in calls:
            if call.tool != PROGRAMS:
                searches.setdefault((call.tool, call.content), []).append((owner, call))
        self._running += [self._pool.submit(self._answer, pairs) for pairs in searches.values()]
        if programs:
            with self._lock:
                self._collected += programs
            self._running.append(self._programs.submit(self._answer_programs))
        self.waiting += len(calls)

    @property
    def ready(self) -> bool:
        """Whether `finished` has something to give."""
        return any(future.done() for future in self._running)

    def wait(self) -> None:
        """Block until a result is there, or something went wrong."""
        wait(self._running, return_when=FIRST_COMPLETED)

    def finished(self) -> list[tuple[Any, Any]]:
        """Return (owner, result) of the finished calls, oldest first; does not block. Raises what a call raised."""
        done = [future for future in self._running if future.done()]
        self._running = [future for future in self._running if future not in done]
        pairs = [pair for future in done for pair in future.result()]
        self.waiting -= len(pairs)
        return pairs

    def _answer(self, pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        results = self.environment.run([call for _, call in pairs])
        return [(owner, result) for (owner, _), result in zip(pairs, results, strict=True)]

    def _answer_programs(self) -> list[tuple[Any, Any]]:
        with self._lock:
            pairs, self._collected = self._collected, []
        return self._answer(pairs) if pairs else []
