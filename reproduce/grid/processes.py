"""Child processes that never outlive the grid that started them."""

import os
import signal
import subprocess
import time
from pathlib import Path

from reproduce.environment import child_environment
from reproduce.grid import workers
from reproduce.parent import PARENT
from reproduce.runs.manifest import ROOT


def start(command: list[str] | workers.Fork, log: Path) -> subprocess.Popen | workers.Child:
    """Start `command` in the repository root and in its own process group, output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**child_environment(), PARENT: str(os.getpid())}
    if isinstance(command, workers.Fork):
        return workers.start(command, log, environment)
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(children: list[subprocess.Popen | workers.Child], patience: float = 10.0) -> None:
    """End the children and what they started: SIGTERM to each process group, SIGKILL after `patience` seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for child in children:
            if child.poll() is None or number == signal.SIGKILL:
                _signal_group(child.pid, number)
        deadline = time.monotonic() + patience
        for child in children:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return
