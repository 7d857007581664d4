"""Calls of the Python tool: each backend of the sandbox against a bare subprocess."""

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from reproduce.commands.bench.rows import Measurement, Sizes, missing, paired
from reproduce.errors import UserError
from reproduce.tools.sandbox import BACKENDS, PythonSandbox
from reproduce.tools.sandbox.probe import reason_against

PROGRAM = "print ( max ( 17 , 25 ) + 3 )"


def sandbox_rows(sizes: Sizes, report: Callable) -> list[Measurement]:
    """Milliseconds of a call, per backend that works here, over those of starting Python in a bare subprocess.

    A repetition is the median (p50) of its share of the calls, one at a time, after a first call that is not counted.
    """
    measure, bare_name, rows = "milliseconds per call, p50", "bare subprocess", []
    command, rounds = [sys.executable, "-I", "-c", PROGRAM], min(5, sizes.subprocesses)

    def bare() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout

    for number, backend in enumerate(BACKENDS, start=1):
        report("sandbox against a bare subprocess", number, len(BACKENDS))
        if reason := reason_against(backend):
            rows.append(missing("sandbox", measure, backend.name, bare_name, reason))
            continue
        warm, cold = [], []
        with PythonSandbox(workers=1, backend=backend.name, preload=False) as sandbox:
            if sandbox.run(PROGRAM).output.strip() != bare().strip():
                raise UserError(f"bench: the sandbox {backend.name} prints something else than Python itself")
            for _ in range(rounds):
                warm.append(_p50(lambda run=sandbox.run: run(PROGRAM), sizes.calls // rounds))
                cold.append(_p50(bare, sizes.subprocesses // rounds))
        rows.append(paired("sandbox", measure, (backend.name, warm), (bare_name, cold)))
    return rows


def _p50(call: Callable, count: int) -> float:
    """Median milliseconds of `count` calls, at least one."""
    times = []
    for _ in range(max(1, count)):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times))
