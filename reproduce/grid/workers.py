"""Runs as forks of one process that has imported everything: importing takes seconds, a fork milliseconds.

A fork starts from the same state as a fresh interpreter that has done these imports and nothing else, so a run's bytes
do not depend on which of the two it is. The server ends with the grid (`guard`), and every run with the server.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from reproduce.errors import UserError
from reproduce.exits import exit_code
from reproduce.parent import die_with
from reproduce.runs.manifest import ROOT

LOST = 255
"""The exit code that multiprocessing gives a fork whose server is gone. No command of ours ends with it."""
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["reproduce.grid.guard", "reproduce.training.job", "reproduce.training.prepare"])


@dataclass(frozen=True)
class Fork:
    """A function that a fork calls, and its arguments. Its return value or its error gives the exit code
    (`reproduce.exits`).
    """

    function: Callable[..., int]
    arguments: tuple


class Child:
    """A forked run, with the part of `subprocess.Popen` that the grid uses."""

    def __init__(self, process: ForkServerProcess):
        self.process, self.pid = process, process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, minus the signal's number if one ended it, None while it runs."""
        return self.process.exitcode

    poll = returncode.fget

    @property
    def reason(self) -> str:
        """Why it has no exit code, "" if it has one."""
        return "the process that started it was killed; is there enough memory?" if self.returncode == LOST else ""

    def wait(self, timeout: float | None = None) -> int:
        """As `subprocess.Popen.wait`."""
        self.process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.process.name, timeout)
        return self.returncode


def start(call: Fork, log: Path, environment: dict[str, str]) -> Child:
    """Make `call` in its own process group, output appended to `log`.

    Args:
        call: what the fork calls.
        log: the file.
        environment: the server's whole environment. It is the same for every call, since the server reads it once.

    Raises:
        UserError: the server cannot start.
    """
    before = dict(os.environ)
    _become(environment)
    try:
        try:
            return Child(_started(call, log))
        except (EOFError, OSError):  # a server that was just killed is replaced by the next start
            time.sleep(0.2)
            return Child(_started(call, log))
    except (EOFError, OSError) as error:
        raise UserError(
            f"the process that starts runs ended at once ({type(error).__name__}: {error}); is there enough memory?"
        ) from None
    finally:
        _become(before)


def _started(call: Fork, log: Path) -> ForkServerProcess:
    name = " ".join([call.function.__name__, *map(str, call.arguments)])
    process = _context.Process(target=_run, args=(call, str(log)), name=name)
    process.start()
    return process


def _become(environment: dict[str, str]) -> None:
    """Replace this process's environment, without a moment in which it is empty."""
    os.environ.update(environment)
    for name in set(os.environ) - set(environment):
        del os.environ[name]


def _run(call: Fork, log: str) -> None:
    os.setsid()
    die_with(os.getppid())
    # a child that holds the server's life line would keep the server alive, and the server its children
    os.close(forkserver._forkserver._forkserver_alive_fd)
    os.chdir(ROOT)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(exit_code(lambda: call.function(*call.arguments)))
