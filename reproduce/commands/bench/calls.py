"""Calls of the Python tool: each backend of the sandbox against a bare subprocess."""

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from reproduce.commands.bench.rows import Measurement, Sizes, in_turn, missing, paired
from reproduce.errors import UserError
from reproduce.tools.sandbox import BACKENDS, PythonSandbox
from reproduce.tools.sandbox.probe import reason_against

PROGRAM = "print ( max ( 17 , 25 ) + 3 )"
BARE = "bare subprocess"


def sandbox_rows(sizes: Sizes) -> list[Measurement]:
    """Milliseconds of a call (median of a repetition's), per backend that works here, over those of starting Python in
    a bare subprocess."""
    measure = "milliseconds per call, p50"
    reasons = {backend.name: reason_against(backend) for backend in BACKENDS}
    return [
        missing("sandbox", measure, name, BARE, reason) if reason else paired("sandbox", measure, _timed(name, sizes))
        for name, reason in reasons.items()
    ]


def _timed(backend: str, sizes: Sizes) -> dict[str, list[float]]:
    with PythonSandbox(workers=1, backend=backend, preload=False) as sandbox:
        if sandbox.run(PROGRAM).output.strip() != bare().strip():
            raise UserError(f"bench: the sandbox {backend} prints something else than Python itself")
        sides = {
            backend: lambda _: p50(lambda: sandbox.run(PROGRAM), sizes.calls),
            BARE: lambda _: p50(bare, sizes.subprocesses),
        }
        return in_turn(f"{backend} against a {BARE}", sides, sizes.repetitions)


def bare() -> str:
    """Python's answer to the program, started without a sandbox."""
    command = [sys.executable, "-I", "-c", PROGRAM]
    return subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout


def p50(call: Callable, count: int) -> float:
    """Median milliseconds of `count` calls."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times))
