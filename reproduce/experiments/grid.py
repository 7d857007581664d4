"""Runs a grid of jobs: one process each, a few at a time, doing only what is missing.

What a kill can cost is the step in flight. A run that failed does not stop the others. Two grids never write the same
runs, and no child outlives the grid, even after kill -9.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reproduce.experiments import processes, workers
from reproduce.experiments.config import JobConfig
from reproduce.experiments.progress import FAILED, FINISHED, RUNNING, WAITING, Display, Row
from reproduce.experiments.resolve import resolve
from reproduce.runs import directory, files
from reproduce.runs.manifest import usable_cores
from reproduce.runs.reader import read_run, status_of
from reproduce.tasks.sandbox import probe

POLL_SECONDS = 0.2

Command = Callable[[JobConfig, Path, Path], list[str]]
"""(job, its run directory, the runs root) -> the command line that does it."""


@dataclass(frozen=True)
class Failure:
    """A run that did not finish: its name, the last line of its log, and the log."""

    name: str
    reason: str
    log: Path

    def __str__(self) -> str:
        return f"{self.name} failed: {self.reason} (log: {shown(self.log)})"


def job_command(job: JobConfig, path: Path, root: Path) -> list[str]:
    return [*workers.OWN, "job", str(path)]


def warm_start_command(job: JobConfig, path: Path, root: Path) -> list[str]:
    return [*workers.OWN, "warm-start", str(_warm_start_config(path)), "--runs-root", str(root)]


def _warm_start_config(path: Path) -> Path:
    return path.with_name(".warm_start.yaml")


def reproduce(
    table: str,
    profile: str,
    methods: list[str] | None = None,
    seeds: list[int] | None = None,
    max_jobs: int | None = None,
    runs_root: Path | str = "runs",
    build: bool = True,
) -> int:
    """Runs what is missing of a table, then builds and prints it. Returns the exit code: 0, or 1 if a run failed."""
    jobs = resolve(table, profile, methods, seeds)
    if jobs[0].task.episodes is None:  # else no code of the model's runs
        sandbox = probe()  # refuses a machine where model-written code could not be confined, before anything runs
        print(f"Python tool: {sandbox.name} ({sandbox.description})", flush=True)
    failures = run(jobs, runs_root, max_jobs)
    if failures:
        for failure in failures:
            print(failure)
        print(f"{len(failures)} failed; the finished runs are kept. Run the same command again to continue.")
        return 1
    if build:
        from analysis.build import build as build_outputs
        from analysis.output import SPECS

        if table not in SPECS:
            print(f"Table {table} has no notebook yet; its runs are in {shown(Path(runs_root) / profile)}")
            return 0
        built = build_outputs(table=table, profile=profile, source="runs", runs_root=runs_root)
        print(built.text)
        for path in built.files:
            print(shown(path))
    return 0


def run(
    jobs: list[JobConfig],
    runs_root: Path | str,
    max_jobs: int | None = None,
    command: Command = job_command,
    warm_start: Command | None = warm_start_command,
) -> list[Failure]:
    """Brings every job to "finished"; returns those that failed.

    Finished runs of the same config are skipped, unfinished ones resumed. `max_jobs` at a time, default one per core.
    `warm_start` (None: no warm start) runs once before the others. Raises UserError, before anything is touched, when a
    directory holds a run of another config or a broken finished run, or when another grid is at work on these runs.
    """
    root = Path(runs_root).resolve()
    base = root / jobs[0].profile / jobs[0].experiment
    rows = [Row(job, job.directory(root)) for job in jobs]
    shared = jobs[0].warm_start_job()
    first = [Row(shared, shared.directory(root))] if warm_start else []
    for row in [*first, *rows]:
        row.state = _state(row)
    with files.locked(base / ".lock", f"another command is at work on {shown(base)}: wait for it or stop it"):
        for row in [*first, *rows]:
            row.state = _state(row)  # another grid may have finished between the first look and the lock
        waiting = [row for row in rows if row.state == WAITING]
        workers = max(1, min(max_jobs or usable_cores(), len(waiting) or 1))
        failures: list[Failure] = []
        with Display([*first, *rows], workers) as display, _interruptible():
            done = len(rows) - len(waiting)
            display.event(f"{shown(base)}: {len(rows)} runs, {done} finished already, {workers} at a time")
            if first and (waiting or first[0].state != FINISHED):
                first[0].job.to_yaml(_prepared(_warm_start_config(first[0].path)))
                failures = _work(first, 1, warm_start, root, display, check=False)
            if not failures:
                failures = _work(waiting, workers, command, root, display)
    return failures


def _state(row: Row) -> str:
    """FINISHED or WAITING, without touching anything; UserError for another config or a broken finished run."""
    found = directory.check(row.path, row.job)
    if found is None or found["status"] != "finished":
        return WAITING
    read_run(row.path)
    return FINISHED


def _work(
    rows: list[Row], workers: int, command: Command, root: Path, display: Display, check: bool = True
) -> list[Failure]:
    """Runs `rows`, `workers` at a time; with `check` a run is done when its manifest says so, else by its exit code."""
    waiting, running, failures = list(rows), {}, []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                row = waiting.pop(0)
                log = row.path / "log.txt"
                offset = log.stat().st_size if log.exists() else 0
                running[_start(row, command, root, check)] = (row, time.monotonic(), offset)
                row.state = RUNNING
            for child in [child for child in running if child.poll() is not None]:
                row, started, offset = running.pop(child)
                done = status_of(row.path) == "finished" if check else child.returncode == 0
                row.state = FINISHED if done else FAILED
                if done:
                    display.event(f"{row.name} finished after {time.monotonic() - started:.0f} s")
                else:
                    failures.append(_failure(row, child.returncode, offset))
                    display.event(str(failures[-1]))
            display.update()
            if running:
                time.sleep(POLL_SECONDS)
    finally:
        processes.stop(list(running))
    return failures


def _start(row: Row, command: Command, root: Path, create: bool) -> subprocess.Popen:
    if create:
        directory.RunDirectory.open(row.path, row.job)
    return processes.start(command(row.job, row.path, root), row.path / "log.txt")


def _failure(row: Row, code: int, offset: int) -> Failure:
    """What went wrong, from what the log holds after `offset` bytes, which earlier attempts had written."""
    log = row.path / "log.txt"
    text = log.read_bytes()[offset:].decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = lines[-1] if lines else "it wrote nothing"
    if code < 0:
        reason = f"killed by {signal.Signals(-code).name}; last line: {reason}"
    elif code == 0:
        reason = f"ended without finishing; last line: {reason}"
    if status_of(row.path) == "running":
        directory.RunDirectory.open(row.path, row.job).fail(reason)
    return Failure(row.name, reason, log)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the grid as Ctrl-C does: the children are stopped first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _prepared(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def shown(path: Path) -> str:
    """The path as a user would type it: relative to the current directory where it lies below it."""
    path = Path(path)
    cwd = Path(os.getcwd())
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
