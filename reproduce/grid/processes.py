"""Child processes that never outlive the grid that started them."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from reproduce.environment import child_environment
from reproduce.grid import workers
from reproduce.runs.manifest import ROOT

PARENT = "REPRODUCE_PARENT_PID"


def start(command: list[str], log: Path) -> subprocess.Popen | workers.Child:
    """Starts `command` in the repository root and in its own process group, output appended to `log`.

    A command of this package is a fork of a process that has imported it (`workers`).
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if command[: len(workers.OWN)] == workers.OWN:
        return workers.start(command[len(workers.OWN) :], log, {**child_environment(), PARENT: str(os.getpid())})
    environment = {**child_environment(), PARENT: str(os.getpid())}
    with open(log, "ab") as output:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip


def die_with_parent() -> None:
    """Called first by a child: from now on it is killed when the process that started it ends, even by kill -9."""
    parent = os.environ.pop(PARENT, "")
    if parent.isascii() and parent.isdigit() and int(parent):  # anything else is not ours
        die_with(int(parent))


def die_with(parent: int) -> None:
    """From now on this process is killed when its parent, of process id `parent`, ends, even by kill -9."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before the call above
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def stop(children: list[subprocess.Popen | workers.Child], patience: float = 10.0) -> None:
    """Ends the children and what they started: SIGTERM to each process group, SIGKILL after `patience` seconds."""
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
