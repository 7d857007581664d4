"""The stages of a rehearsal, each printed with its seconds, and the conditions that each of them has to meet."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from reproduce.commands.rehearse.command import Command
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid.command_lines import accelerate_config
from reproduce.runs import length
from reproduce.runs.reader import read_run, status_of
from reproduce.training.checkpoints import last_checkpoint
from reproduce.yaml_files import read_yaml

LIMIT = 3600.0
"""Seconds of one stage."""


class Stages:
    """Prints stages as they end. done: a line of each."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.began = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        """One stage; what is appended to the list that it gives joins the line."""
        said: list[str] = []
        started = time.monotonic()
        print(f"{name} ...", end=" ", flush=True)
        try:
            yield said
        except BaseException:
            print("FAIL", flush=True)
            raise
        print(f"{time.monotonic() - started:.0f} s{''.join(f'; {text}' for text in said)}", flush=True)
        self.done.append(f"{name}{''.join(f'; {text}' for text in said)}")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


def launch_config(name: str, folder: Path, processes: int) -> Path:
    """Our accelerate config of that name for `processes` processes of this machine, written to `folder`."""
    said = read_yaml(accelerate_config(name)) | {"num_processes": processes}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(said))
    return path


def recorded_steps(path: Path) -> dict[int, dict]:
    """RL step -> its metrics, of a run that has not finished."""
    return {int(part.name[:6]): json.loads(part.read_text()) for part in sorted((path / "parts").glob("*.steps.json"))}


def cold_start(command: Command, job: JobConfig, root: Path) -> str:
    """Waits for the warm start and its evaluation."""
    start = job.warm_start_job().directory(root)
    command.until(lambda: status_of(start) == "finished", "the warm start", LIMIT)
    rows = read_run(start).eval.to_pylist()
    return f"{_judged(rows, job)} of {len(rows)} answers judged" if job.judge is not None else f"{len(rows)} answers"


def trained_until_killed(command: Command, path: Path) -> tuple[str, dict[int, dict]]:
    """Waits for the second RL step of the first run, kills the command, and returns the steps that were recorded."""
    command.until(lambda: len(recorded_steps(path)) >= 2 and _checkpoint(path) is not None, "a checkpoint", LIMIT)
    family = command.kill()
    if status_of(path) == "finished":
        raise UserError(f"{path} had finished before it could be killed: raise training.steps")
    return f"kill -9 after RL step {max(recorded_steps(path))}; {family} processes ended with it", recorded_steps(path)


def _checkpoint(path: Path) -> Path | None:
    return last_checkpoint(path / "checkpoints")


def resumed(command: Command, job: JobConfig, path: Path, before: dict[int, dict], restart: int) -> str:
    """Waits for the end of the killed run. UserError unless it went on from its checkpoint. restart: that checkpoint's
    RL step."""
    command.until(lambda: status_of(path) == "finished", f"the end of {job.name}", LIMIT)
    steps = read_run(path).steps.to_pylist()
    last = length.whole(vars(job.training), [step["groups_sampled"] for step in steps])
    if [step["step"] for step in steps] != list(range(1, last + 1)):
        raise UserError(f"{path}: the steps are {[step['step'] for step in steps]}")
    for step in steps[:restart]:
        known = before[step["step"]]["metrics"]
        if any(str(step[name]) != str(value) for name, value in known.items() if name in step):
            raise UserError(f"{path}: step {step['step']} was trained again after the kill")
    return f"from the checkpoint of RL step {restart} to {last}; steps 1 to {restart} as before the kill"


def _judged(rows: list[dict], job: JobConfig) -> int:
    return sum(row.get("judged") is not None and row["judged"] == row["judged"] for row in rows)


def shown(job: JobConfig, path: Path, learns: bool) -> str:
    """The parts that a finished run has exercised. UserError for one that it has not. learns: a gradient is one."""
    run = read_run(path)
    steps, rows = run.steps.to_pylist(), run.eval.to_pylist()
    gradients, said = [step["grad_norm"] for step in steps], []
    if job.search is not None:
        said.append(_replayed(path, steps))
    if not all(gradient == gradient for gradient in gradients) or (learns and not any(gradients)):
        raise UserError(f"{path}: gradient norms {gradients}")
    judged = _judged(rows, job)
    if job.judge is not None and not judged:
        raise UserError(f"{path}: no answer was judged")
    checks = sum(step["check_success_iid"] == step["check_success_iid"] for step in steps)
    if job.evaluation.checks is not None and not checks:
        raise UserError(f"{path}: no step has an evaluation on random tasks")
    by_judge = f", {judged} by the judge" if job.judge is not None else ""
    said.append(f"{len(rows)} {'episodes' if job.task.episodes else 'answers'} evaluated{by_judge}")
    return "; ".join([*said, f"gradient norms {min(gradients):.2g} to {max(gradients):.2g}"])


def _replayed(path: Path, steps: list[dict]) -> str:
    calls, misses, sent = (sum(step[f"search_{name}"] for step in steps) for name in ("calls", "misses", "requests"))
    if not calls or misses == calls:
        raise UserError(f"{path}: {calls:.0f} searches, {misses:.0f} of them not recorded: nothing was replayed")
    if sent:
        raise UserError(f"{path}: {sent:.0f} requests were sent in a replay")
    return f"{calls - misses:.0f} of {calls:.0f} searches replayed"
