"""The public interface: a few warm servers run programs and return results in order."""

import os
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from reproduce.closing import Closing
from reproduce.errors import UserError
from reproduce.tools.sandbox.backend import Unavailable
from reproduce.tools.sandbox.limits import DEFAULTS, Limits, SandboxResult
from reproduce.tools.sandbox.probe import BACKENDS, HELP, probe
from reproduce.tools.sandbox.source import program_source
from reproduce.tools.sandbox.worker import GRACE_SECONDS, Worker, readable


class PythonSandbox(Closing):
    """A pool of `workers` servers. Each runs one program at a time, every program in a fresh fork.

    Use it as a context manager or call `close`. The servers also end when this process ends, however it ends. Several
    threads may share a pool (their calls take turns); a forked child must open its own.

    Args:
        limits: of every call.
        workers: how many servers.
        backend: a name in `BACKENDS`; None: the one that `probe` finds.
        preload: import numpy and sympy once in each server. Without it a call forks a smaller process and costs about
            half, but a program that imports them pays for the import.

    Raises:
        UserError: the backend does not work here.
    """

    def __init__(
        self, limits: Limits = DEFAULTS, workers: int = 2, *, backend: str | None = None, preload: bool = True
    ):
        if workers < 1:
            raise UserError(f"sandbox: workers is {workers}; set it to 1 or more")
        chosen = BACKENDS if backend is None else [known for known in BACKENDS if known.name == backend]
        if not chosen:
            names = " or ".join(known.name for known in BACKENDS)
            raise UserError(f"sandbox: no backend is called {backend!r}; choose {names}")
        found = probe(chosen)
        self.backend = found.name
        self.limits = limits
        self._pid = os.getpid()
        self._lock = threading.Lock()
        # A server dies with the thread that started it (PR_SET_PDEATHSIG), so one thread starts them all.
        keeper = ThreadPoolExecutor(1, thread_name_prefix="sandbox")
        self._workers = [
            Worker(found, limits, None if preload else (), spawn=lambda start: keeper.submit(start).result())
            for _ in range(workers)
        ]
        self._close = weakref.finalize(self, _stop_all, self._workers, keeper, self._pid)
        for worker in self._workers:
            _explained(worker.start)

    @property
    def pids(self) -> list[int]:
        """Process ids of the running servers (under bubblewrap: of bwrap itself)."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def close(self) -> None:
        """End every server and every call; safe to call twice."""
        self._close()

    def run(self, code: str) -> SandboxResult:
        """Run one program."""
        return self.run_many([code])[0]

    def run_many(self, codes: Sequence[str]) -> list[SandboxResult]:
        """Run programs, as many at a time as there are workers.

        Args:
            codes: programs as they appear in tool calls; whatever is wrapped around them is removed
                (`source.program_source`).

        Returns:
            Results in the order of `codes`.

        Raises:
            RuntimeError: the pool is closed, or belongs to the parent process.
            UserError: the sandbox stopped working.
        """
        if self._pid != os.getpid() or not self._close.alive:
            raise RuntimeError("this PythonSandbox is closed or belongs to the parent process: open another")
        with self._lock:
            results: list[SandboxResult | None] = [None] * len(codes)
            waiting, idle, busy = deque(enumerate(codes)), list(self._workers), {}
            try:
                while waiting or busy:
                    while waiting and idle:
                        worker = idle.pop(0)
                        index, code = waiting.popleft()
                        busy[worker] = index
                        _explained(worker.send, program_source(code))
                    done = readable(list(busy), self.limits.seconds + GRACE_SECONDS)
                    for worker in done or list(busy):
                        results[busy[worker]] = worker.receive()
                        idle.append(worker)
                        del busy[worker]
            except BaseException:  # such as Ctrl-C: an unread result must not become the next call's
                for worker in busy:
                    worker.stop()
                raise
            return results


def _explained(action, *arguments) -> None:
    try:
        action(*arguments)
    except Unavailable as problem:
        raise UserError(f"the Python tool's sandbox stopped working ({problem}); {HELP}") from None


def _stop_all(workers: list[Worker], keeper: ThreadPoolExecutor, pid: int) -> None:
    if pid == os.getpid():
        for worker in workers:
            worker.stop()
        keeper.shutdown()
