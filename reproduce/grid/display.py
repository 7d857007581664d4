"""Progress of a grid in the terminal: which runs are done, which run now, how fast each stage is, the time left."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid.sparkline import History
from reproduce.paths import shown
from reproduce.runs import files, schema
from reproduce.runs.manifest import WARM_START

WAITING, RUNNING, FINISHED, FAILED = "waiting", "running", "finished", "failed"
PLAIN_SECONDS = 30.0  # between two lines where no live display is possible


@dataclass
class RunStatus:
    """One run of the grid as the display knows it."""

    job: JobConfig
    path: Path
    state: str = WAITING

    @property
    def name(self) -> str:
        if self.evaluation:
            return self.job.variant
        return f"{'warm start' if self.job.method == WARM_START else self.job.name} seed {self.job.seed}"

    @property
    def evaluation(self) -> bool:
        """Whether it is a checkpoint's evaluation on one question set, which has questions where others have steps."""
        return self.job.method == WARM_START and self.job.variant is not None

    @property
    def total(self) -> int:
        if self.evaluation:
            stage, _, total, _ = self._reported()
            return total if stage == "evaluate" else self.job.evaluation.questions
        if self.job.method == WARM_START:
            return 0
        if self.job.training.trajectory_budget:
            return self._steps_at_budget()
        return self.job.training.steps

    def _steps_at_budget(self) -> int:
        """RL steps of a run that ends at a number of trajectories: as it expects, or has made; at most the config's."""
        stage, _, expected, _ = self._reported()
        if self.state == FINISHED:
            try:
                return files.read_table(self.path / "steps.parquet", schema.STEPS_SCHEMA).num_rows
            except UserError:
                pass
        return expected if stage == "train" and expected else self.job.training.steps

    def position(self) -> tuple[str, int, int, float]:
        """Read (stage, step, total steps of the stage, seconds so far), as the run last reported it."""
        found = self._reported()
        return ("starting", 0, self.total, 0.0) if found[0] == "starting" else found

    def _reported(self) -> tuple[str, int, int, float]:
        try:
            value = json.loads((self.path / "progress.json").read_text())
            return str(value["stage"]), int(value["step"]), int(value["total_steps"]), float(value["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return "starting", 0, 0, 0.0

    def steps_done(self) -> int:
        """Return the RL steps (of an evaluation, the questions) done; a later stage means all of them."""
        if self.state == FINISHED:
            return self.total
        stage, step, _, seconds = self.position()
        if stage.startswith("train") or stage == "starting" or (self.evaluation and stage == "evaluate"):
            return min(step, self.total)
        return self.total if seconds else 0

    def seconds_per_step(self) -> float | None:
        """Return the wall seconds of an RL step with its share of everything else; None before the first."""
        if self.total == 0:
            return None
        if self.state == FINISHED:
            try:
                return files.read_json(self.path / "manifest.json")["cost"]["seconds_total"] / self.total
            except (UserError, KeyError, TypeError):
                return None
        done = self.steps_done()
        return self.position()[3] / done if done else None


def seconds_left(rows: list[RunStatus], workers: int) -> float | None:
    """Estimate the seconds until the whole grid is done, from the time of the steps done so far.

    A row without a step yet is taken to be as fast as the mean of the others. The work is spread over `workers`, but
    never ends before its longest run.

    Returns:
        Seconds; None before there are any steps.
    """
    if all(row.state in (FINISHED, FAILED) for row in rows):
        return 0.0
    rates: dict[str, list[float]] = {}
    for row in rows:
        rate = row.seconds_per_step()
        if rate is not None:
            rates.setdefault(row.job.name, []).append(rate)
    if not rates:
        return None
    means = {name: sum(values) / len(values) for name, values in rates.items()}
    overall = sum(means.values()) / len(means)
    left = [
        (row.total - row.steps_done()) * means.get(row.job.name, overall)
        for row in rows
        if row.state in (WAITING, RUNNING)
    ]
    return max(sum(left) / workers, max(left)) if left else 0.0


def duration(seconds: float | None) -> str:
    """Write seconds as "about 5 min left"."""
    if seconds is None:
        return "time left known after the first RL step"
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min left"
    return f"about {seconds / 3600:.1f} h left"


@dataclass
class Pace:
    """How fast the stage of a run is, from what the display itself saw of it.

    since: when the stage began here, monotonic seconds. first: its step at that moment. at: when `step` was first seen.
    """

    stage: str
    since: float
    first: int
    step: int
    at: float

    def seen(self, stage: str, step: int, now: float) -> "Pace":
        """The pace after another look."""
        if stage != self.stage or step < self.step:
            return Pace(stage, now, step, step, now)
        return self if step == self.step else Pace(stage, self.since, self.first, step, now)

    def text(self, total: int, now: float) -> str:
        """`0.6 s a step, about 40 s left`; before a second step, how long the stage has taken so far."""
        if not total or self.step <= self.first:
            return f"{now - self.since:.0f} s so far"
        rate = (self.at - self.since) / (self.step - self.first)
        shown_rate = f"{rate:.1f} s each" if rate >= 1 else f"{1 / max(rate, 1e-6):.1f} a second"
        return f"{shown_rate}, {duration(max(0.0, (total - self.step) * rate - (now - self.at)))}"


class Display:
    """A live table on a terminal; elsewhere one line per event and one every 30 seconds."""

    def __init__(self, rows: list[RunStatus], workers: int, console: Console | None = None):
        self.rows, self.workers = rows, workers
        self.console = console or Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)
        self.live = Live(console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None
        self._last = time.monotonic()
        self._paces: dict[Path, Pace] = {}
        self._histories: dict[Path, History] = {}

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def event(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text)

    def update(self) -> None:
        """Show the state of the rows now."""
        now = time.monotonic()
        for row in self.rows:
            if row.state == RUNNING:
                stage, step, *_ = row.position()
                pace = self._paces.get(row.path) or Pace(stage, now, step, step, now)
                self._paces[row.path] = pace.seen(stage, step, now)
        if self.live:
            self.live.update(self._view(), refresh=True)
        elif time.monotonic() - self._last >= PLAIN_SECONDS:
            self._last = time.monotonic()
            running = ", ".join(self._where(row) for row in self.rows if row.state == RUNNING)
            self.console.print(f"{self._summary()}: {running}" if running else self._summary())

    def _summary(self) -> str:
        runs = [row for row in self.rows if row.job.name != WARM_START]
        count = {state: sum(row.state == state for row in runs) for state in (FINISHED, RUNNING, FAILED)}
        failed = f", {count[FAILED]} failed" if count[FAILED] else ""
        return (
            f"{count[FINISHED]} of {len(runs)} runs done, {count[RUNNING]} running{failed}, "
            f"{duration(seconds_left(self.rows, self.workers))}"
        )

    def _where(self, row: RunStatus) -> str:
        stage, step, total, _ = row.position()
        where = f"{row.name} {stage} {step}/{total}" if total else f"{row.name} {stage}"
        return f"{where} ({self._pace(row, total)})"

    def _pace(self, row: RunStatus, total: int) -> str:
        pace = self._paces.get(row.path)
        return pace.text(total, time.monotonic()) if pace else "starting"

    def _history(self, row: RunStatus) -> str:
        return self._histories.setdefault(row.path, History(row.path)).text()

    def _view(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for row in self.rows:
            if row.state == RUNNING:
                stage, step, total, _ = row.position()
                bar = ProgressBar(total=max(total, 1), completed=min(step, total), width=20)
                done = f"{stage} {step}/{total}" if total else stage
                table.add_row(f"  {row.name}", bar, done, self._pace(row, total), self._history(row))
        running = [row.path / "log.txt" for row in self.rows if row.state == RUNNING]
        return Group(self._summary(), table, *(f"  log: {shown(path)}" for path in running[:1]))
