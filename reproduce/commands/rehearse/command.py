"""The user's own command as a process: started, followed, killed like a machine that goes down, started again."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from reproduce.environment import LAUNCHED
from reproduce.errors import UserError
from reproduce.runs.manifest import ROOT

POLL_SECONDS = 0.2
GONE_SECONDS = 60.0


class Command:
    """`python -m reproduce` with `words`, its output appended to `log`."""

    def __init__(self, words: list[str], log: Path):
        self.log, self.begun = log, log.stat().st_size if log.exists() else 0
        environment = {name: value for name, value in os.environ.items() if name != LAUNCHED}
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reproduce", *words],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    @property
    def said(self) -> str:
        """Its output so far."""
        return self.log.read_bytes()[self.begun :].decode(errors="replace")

    def until(self, reached: Callable[[], bool], what: str, seconds: float) -> None:
        """Waits until `reached()`. UserError if the command ends before, or after `seconds`."""
        end = time.monotonic() + seconds
        while not reached():
            if self.process.poll() is not None:
                if reached():
                    return
                raise UserError(f"the command ended with code {self.process.returncode} before {what}: {self.last()}")
            if time.monotonic() > end:
                self.kill()
                raise UserError(f"{what} did not come within {seconds:.0f} s; see {self.log}")
            time.sleep(POLL_SECONDS)

    def last(self) -> str:
        """The first error that it printed, else its last line."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        errors = [line for line in lines if "error:" in line or " failed: " in line]
        return (errors or lines or ["it wrote nothing"])[0 if errors else -1][:400]

    def kill(self) -> int:
        """SIGKILL to the command alone. Returns how many processes it had started; UserError if one goes on."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        _, alive = psutil.wait_procs(family, timeout=GONE_SECONDS)
        left = [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        if left:
            for process in left:
                process.kill()
            raise UserError(f"{len(left)} processes outlived the command that started them by {GONE_SECONDS:.0f} s")
        return len(family)

    def stop(self) -> None:
        """Ends it if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(GONE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
