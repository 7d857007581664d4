"""Runs as forks of one process that has imported everything: importing takes seconds, a fork milliseconds.

A fork starts from the same state as a fresh interpreter that has done these imports and nothing else, so a run's bytes
do not depend on which of the two it is. The server ends with the grid, and every run with the server.
"""

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from reproduce.runs.manifest import ROOT

OWN = [sys.executable, "-m", "reproduce"]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["reproduce.training.job", "reproduce.training.prepare"])


class Child:
    """What the grid uses of `subprocess.Popen`, for a forked run."""

    def __init__(self, process: ForkServerProcess):
        self.process, self.pid = process, process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, minus the signal's number if one ended it, None while it runs."""
        return self.process.exitcode

    poll = returncode.fget

    def wait(self, timeout: float | None = None) -> int:
        """As `subprocess.Popen.wait`."""
        self.process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.process.name, timeout)
        return self.returncode


def start(arguments: list[str], log: Path, environment: dict[str, str]) -> Child:
    """`python -m reproduce <arguments>` in its own process group, output appended to `log`.

    `environment` is added to the server's; it is the same for every call, since the server reads it once.
    """
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        process = _context.Process(target=_run, args=(arguments, str(log)), name=" ".join(arguments))
        process.start()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return Child(process)


def _run(arguments: list[str], log: str) -> None:
    from reproduce.experiments.processes import die_with

    os.setsid()
    die_with(os.getppid())
    os.chdir(ROOT)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    sys.stdout.reconfigure(line_buffering=True)
    from reproduce.cli import main

    sys.exit(main(arguments))
