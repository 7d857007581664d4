"""`make status`: every run below a runs root, where it is and its last metrics, from the run directories alone.

It reads what a living run writes (`parts/`, `progress.json`), changes nothing, and reports what is wrong with a
directory that it cannot read instead of stopping there.
"""

import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reproduce import locks
from reproduce.errors import UserError
from reproduce.grid.display import duration
from reproduce.runs import files, identity, schema
from reproduce.runs.manifest import WARM_START
from reproduce.runs.reader import EVALUATE, find_runs, status_of
from reproduce.yaml_files import read_yaml

METRICS = {
    "reward": "reward_mean",
    "success": "success_mean",
    "entropy": "entropy",
    "KL": "kl_warm_start",
    "grad": "grad_norm",
}
"""Heading -> column of steps.parquet. Entropy and KL to the warm start in nats, grad: norm before clipping."""

LEFT_COLUMNS = ("profile", "experiment", "run", "state")


@dataclass
class Line:
    """One run.

    state: finished, running, interrupted, failed, not started or unreadable. total: its RL steps, None if its config
    cannot be read. left: seconds, None if nothing can be said. problem: why it failed or is unreadable.
    """

    profile: str
    experiment: str
    name: str
    state: str
    step: int = 0
    total: int | None = None
    stage: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    left: float | None = None
    problem: str = ""

    def cells(self) -> list[str]:
        """Return its line of the table."""
        state = f"{self.state}, {self.stage}" if self.stage else self.state
        step = "" if self.total == 0 else f"{self.step}/{'?' if self.total is None else self.total}"
        values = [self.metrics.get(name, math.nan) for name in METRICS.values()]
        numbers = ["" if not self.metrics else "–" if math.isnan(value) else f"{value:.3f}" for value in values]
        left = duration(self.left).removesuffix(" left") if self.left is not None else ""
        return [self.profile, self.experiment, self.name, state, step, *numbers, left]


def lines(runs_root: Path, profile: str | None = None) -> list[Line]:
    """List every run of every table (of one profile), warm starts first; a directory without a manifest is "not
    started".
    """
    root = Path(runs_root)
    bases = sorted(path for path in root.glob(f"{profile or '*'}/*") if path.is_dir())
    return [line_of(path) for base in bases for path in find_runs(root, base.parent.name, base.name)]


def line_of(path: Path) -> Line:
    """Read the line of one run directory."""
    base, name = path.parent.parent, path.parent.name.replace(WARM_START, "warm start")
    line = Line(base.parent.name, base.name, f"{name} seed {path.name}", status_of(path))
    if line.state == "running" and not locks.is_locked(path / ".lock"):
        line.state = "interrupted"
    try:
        if line.state == "not started":
            if (path / "manifest.json").exists():
                files.read_json(path / "manifest.json")  # which says what is wrong with it
            return line
        made, config = files.read_json(path / "manifest.json"), read_yaml(path / "config.yaml")
        identity.require_fields(made, f"{path}/manifest.json")
        identity.check_config(path, made, config)
        untrained = made["method"] == WARM_START  # a warm start, or a checkpoint that is evaluated: without RL steps
        line.total = 0 if untrained else config["training"]["steps"]
        if line.state == "failed":
            line.problem = made.get("error") or "it left no message"
        line.step, line.metrics = (0, {}) if untrained else _last_step(path, line.state)
        if line.state == "finished" and not untrained and config["training"].get("trajectory_budget"):
            line.total = line.step
        if line.state == "finished" and not (path / "eval.parquet").is_file():
            raise UserError(f"{path}/eval.parquet is missing; {EVALUATE}")
        if line.state == "running":
            _position(path, line)
    except UserError as error:
        line.state, line.problem = "unreadable", str(error)
    except (KeyError, TypeError) as error:
        line.state, line.problem = (
            "unreadable",
            f"{path} is not the directory of a run ({type(error).__name__} {error})",
        )
    return line


def _last_step(path: Path, state: str) -> tuple[int, dict[str, float]]:
    if state == "finished" or (path / "steps.parquet").is_file():
        rows = files.read_table(path / "steps.parquet", schema.STEPS_SCHEMA).to_pylist()
        return (rows[-1]["step"], rows[-1]) if rows else (0, {})
    parts = sorted((path / "parts").glob("*.steps.json"))
    if not parts:
        return 0, {}
    last = files.read_json(parts[-1])
    return last["step"], last["metrics"]


def _position(path: Path, line: Line) -> None:
    """Stage and time left of a living run, from its progress file; nothing before it has written one."""
    try:
        seen = json.loads((path / "progress.json").read_text())
        stage, step, total, seconds = (seen[key] for key in ("stage", "step", "total_steps", "seconds"))
    except (OSError, ValueError, KeyError, TypeError):
        return
    if stage == "train" and line.total and total:  # fewer than the config's where a budget ends the training
        line.total = min(line.total, total)
    if stage != "train":
        line.stage = f"{stage} {step}/{total}" if total else stage
    elif step and line.total:
        line.left = (line.total - step) * seconds / step


def print_status(runs_root: Path, profile: str | None = None) -> int:
    """Print the runs, a count of their states, and why runs failed or cannot be read. Returns the exit code, 0."""
    found = lines(runs_root, profile)
    console = Console(file=sys.stdout, highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    if not found:
        which = f" of profile {profile}" if profile else ""
        console.print(f"no runs{which} in {runs_root}{'' if runs_root.exists() else ', which does not exist'}")
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in (*LEFT_COLUMNS, "step", *METRICS, "left"):
        table.add_column(column, justify="left" if column in LEFT_COLUMNS else "right")
    for line in found:
        table.add_row(*line.cells())
    console.print(table)
    states = [line.state for line in found if line.total != 0]  # warm starts are not counted
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    console.print(f"{len(states)} runs: {counts}")
    for line in found:
        if line.problem:
            where = f"{line.profile}/{line.experiment} {line.name}"
            console.print(f"{where} {line.state}: {' '.join(line.problem.split())}", soft_wrap=True)
    return 0
