"""Run a grid of jobs: one process each, a few at a time, doing only what is missing.

A kill costs at most the step in progress. A run that fails does not stop the others. Two grids never write the same
runs, and no child outlives the grid, even after kill -9.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reproduce import locks
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid.command_lines import warm_start_config
from reproduce.grid.display import FAILED, FINISHED, RUNNING, WAITING, Display, RunStatus
from reproduce.grid.freeze_inputs import pinned
from reproduce.grid.launchers import Child, Launcher, Local, open_launcher
from reproduce.grid.machine import check_fits, started, visible_cards
from reproduce.grid.resolve import reporting, resolve
from reproduce.grid.services import check_services
from reproduce.grid.workers import Fork
from reproduce.paths import shown
from reproduce.runs import directory
from reproduce.runs.reader import read_run, status_of
from reproduce.tools.sandbox import probe
from reproduce.training.installed import check_installed
from reproduce.worlds.registry import world_of

POLL_SECONDS = 0.2

Command = Callable[[JobConfig, Path, Path], list[str] | Fork]
"""(job, its run directory, the runs root) -> the command line that does it, or what a fork calls."""


@dataclass(frozen=True)
class Failure:
    """A run that did not finish: its name, the last line of its log, and the log."""

    name: str
    reason: str
    log: Path

    def __str__(self) -> str:
        return f"{self.name} failed: {self.reason} (log: {shown(self.log)})"


@dataclass(frozen=True)
class Trained:
    """Failures of a table's runs, and the label of settings other than the table's ("" for none)."""

    failures: list[Failure]
    settings: str


def train(
    table: str,
    profile: str,
    methods: list[str] | None = None,
    seeds: list[int] | None = None,
    max_jobs: int | None = None,
    runs_root: Path | str = "runs",
    launcher: str | None = None,
    launch_config: str | None = None,
    report_to: str | None = None,
    settings: Sequence[str] = (),
) -> Trained:
    """Run what is missing of a table and print what failed.

    Args:
        table: such as 2.
        profile: such as mini.
        methods: methods, variants or groups; None: the table's.
        seeds: None: the table's.
        max_jobs: runs at a time; None: the launcher's.
        runs_root: folder of the runs.
        launcher: where runs start (`reproduce.grid.launchers`), and a warm start on an SFT set; None: as the profile's
            machine asks (`reproduce.grid.machine`).
        launch_config: of the launcher.
        report_to: trackers (`reproduce.training.trackers`); None: the config's.
        settings: `section.key=value` other than the table's (`reproduce.config.command_line`); their runs get their own
            folder.

    Raises:
        UserError: something is wrong before anything runs.
    """
    jobs = pinned(reporting(resolve(table, profile, methods, seeds, launcher != "slurm", settings), report_to))
    check_installed(jobs)
    device = jobs[0].training.device
    cards = visible_cards() if device != "cpu" and launcher != "slurm" else []
    start = started(jobs, launcher, launch_config, cards)
    chosen = open_launcher(start.launcher, start.config, Path(runs_root), device, start.processes)
    check_fits(jobs, chosen, cards)
    name_sandbox(jobs[0])
    unfinished = any(status_of(job.directory(Path(runs_root))) != "finished" for job in jobs)
    if launcher != "slurm" and unfinished:  # a node of a cluster may reach other addresses than this machine
        check_services(jobs[0])
    failures = run(jobs, runs_root, max_jobs, chosen.command, launcher=chosen)
    for failure in failures:
        print(failure)
    if failures:
        print(f"{len(failures)} failed; the finished runs are kept. Run the same command again to continue.")
    return Trained(failures, jobs[0].experiment.partition(".")[2])


def name_sandbox(job: JobConfig) -> None:
    """Print what confines model-written code.

    Raises:
        UserError: nothing on this machine could.
    """
    if world_of(job.task).runs_code:
        sandbox = probe()
        print(f"Python tool: {sandbox.name} ({sandbox.description})", flush=True)


def run(
    jobs: list[JobConfig],
    runs_root: Path | str,
    max_jobs: int | None = None,
    command: Command | None = None,
    warm_start: Command | bool = True,
    launcher: Launcher | None = None,
) -> list[Failure]:
    """Bring every job to "finished". Finished runs of the same config are skipped, unfinished ones resumed.

    Args:
        jobs: the jobs.
        runs_root: folder of the runs.
        max_jobs: runs at a time; None: the launcher's.
        command: what does a job; None: the launcher's.
        warm_start: what makes the warm starts, before the others. True: one process each or, on an SFT set, the
            launcher's processes. False: nothing.
        launcher: None: processes of this machine, one per core.

    Returns:
        The jobs that failed.

    Raises:
        UserError: before anything is changed, if a directory holds a run of another config or a broken finished run, or
            another grid is at work on these runs.
    """
    root, launcher = Path(runs_root).resolve(), launcher or Local()
    base = root / jobs[0].profile / jobs[0].experiment
    rows = [RunStatus(job, job.directory(root)) for job in jobs]
    shared = {job.seed: job for job in (job.warm_start_job() for job in jobs)} if warm_start else {}
    first = [RunStatus(job, job.directory(root)) for job in shared.values()]
    for row in [*first, *rows]:
        row.state = state_of(row)
    directory.make_root(root)
    with locks.locked(base / ".lock", f"another command is at work on {shown(base)}: wait for it or stop it"):
        for row in [*first, *rows]:
            row.state = state_of(row)  # another grid may have finished between the first look and the lock
        waiting = [row for row in rows if row.state == WAITING]
        workers = max(1, min(max_jobs or launcher.at_a_time, len(waiting) or 1))
        failures: list[Failure] = []
        with Display([*first, *rows], workers) as display, _interruptible():
            done = len(rows) - len(waiting)
            display.event(f"{shown(base)}: {len(rows)} runs, {done} finished already, {workers} at a time")
            display.event(f"Logs: {shown(base)}/<method>/<seed>/log.txt; or `make status`.")
            begin = first if waiting else [row for row in first if row.state != FINISHED]
            if begin:
                for row in begin:
                    row.job.to_yaml(_prepared(warm_start_config(row.path)))
                alone = jobs[0].warm_start.data is None
                make = (Local().command if alone else launcher.command) if warm_start is True else warm_start
                starter = launcher.alone() if alone else launcher
                failures = _work(begin, workers if alone else 1, make, root, display, starter, check=False)
            if not failures:
                failures = _work(waiting, workers, command or launcher.command, root, display, launcher)
    return failures


def state_of(row: RunStatus) -> str:
    """Return FINISHED or WAITING, without changing anything.

    Raises:
        UserError: the directory belongs to another config, or holds a broken finished run.
    """
    found = directory.check(row.path, row.job)
    if found is None and directory.replaceable(row.path) and locks.is_locked(row.path / ".lock"):
        raise UserError(f"{shown(row.path)} is being written by another process; wait for it or stop it")
    if found is None or found["status"] != "finished" or directory.missing(row.path):
        return WAITING
    read_run(row.path)
    return FINISHED


def _work(
    rows: list[RunStatus],
    workers: int,
    command: Command,
    root: Path,
    display: Display,
    launcher: Launcher,
    check: bool = True,
) -> list[Failure]:
    """Run `rows`, `workers` at a time. With `check` a run is done when its manifest says so, else by its exit code."""
    waiting, running, failures = list(rows), {}, []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                row = waiting.pop(0)
                log = row.path / "log.txt"
                offset = log.stat().st_size if log.exists() else 0
                running[_start(row, command, root, launcher, check)] = (row, time.monotonic(), offset)
                row.state = RUNNING
            for child in [child for child in running if child.poll() is not None]:
                row, started, offset = running.pop(child)
                done = status_of(row.path) == "finished" if check else child.returncode == 0
                row.state = FINISHED if done else FAILED
                if done:
                    for line in _warnings(row, offset):
                        display.event(f"{row.name}: {line}")
                    display.event(f"{row.name} finished after {time.monotonic() - started:.0f} s")
                else:
                    failures.append(_failure(row, child, offset))
                    display.event(str(failures[-1]))
            display.update()
            if running:
                time.sleep(POLL_SECONDS)
    finally:
        launcher.stop(list(running))
    return failures


def _start(row: RunStatus, command: Command, root: Path, launcher: Launcher, create: bool) -> Child:
    if create:
        directory.RunDirectory.open(row.path, row.job)
    return launcher.start(command(row.job, row.path, root), row.path / "log.txt")


def _failure(row: RunStatus, child: Child, offset: int) -> Failure:
    """The reason of a failure, from the log after `offset` bytes, which earlier attempts had written.

    It is the log's last line. If several processes write and their launcher has the last word, it is the first line
    that begins with "error:".
    """
    log, code = row.path / "log.txt", child.returncode
    text = log.read_bytes()[offset:].decode(errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    reason = errors[0] if errors else lines[-1] if lines else "it wrote nothing"
    lost = getattr(child, "reason", "")
    if lost:
        reason = f"{lost}; last line: {reason}"
    elif code < 0:
        reason = f"killed by {signal.Signals(-code).name}; last line: {reason}"
    elif code == 0:
        reason = f"ended without finishing; last line: {reason}"
    if status_of(row.path) == "running":
        directory.RunDirectory.open(row.path, row.job).fail(reason)
    return Failure(row.name, reason, log)


def _warnings(row: RunStatus, offset: int) -> list[str]:
    """The lines of a run's log after `offset` bytes that begin with "warning:"."""
    log = row.path / "log.txt"
    lines = log.read_bytes()[offset:].decode(errors="replace").splitlines() if log.exists() else []
    return [line.strip() for line in lines if line.startswith("warning: ")]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the grid as Ctrl-C does: the children are stopped first."""
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
