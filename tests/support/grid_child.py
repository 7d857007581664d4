"""A job of the grid's tests: a real process that writes a real run directory, and misbehaves where it is told to.

python grid_child.py <run directory> <orders.json>     orders: {"<method>/<seed>": {"crash": 2}}, see below
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from run_rows import evaluations, metrics, rollouts

from reproduce.config.tables import JobConfig
from reproduce.parent import die_with_parent
from reproduce.runs.directory import RunDirectory


def main(path: Path, orders: dict) -> None:
    config = JobConfig.from_yaml(path / "config.yaml")
    run = RunDirectory.open(path, config)
    run.drop_steps_after(run.last_complete_step())
    for step in range(run.last_complete_step() + 1, config.training.steps + 1):
        if orders.get("crash") == step:
            raise ValueError(f"no reward at step {step}")
        if orders.get("die") == step:
            os.kill(os.getpid(), signal.SIGKILL)
        if orders.get("hang") == step:
            (path.parents[3] / "hanging").write_text(str(os.getpid()))
            time.sleep(60)
        run.write_step(step, metrics(step), rollouts(step), {"rollout": 0.1, "train": 0.2})
        run.progress("train", step, config.training.steps)
        print(f"step {step}")
    if orders.get("forget"):
        return
    run.write_eval(evaluations())
    run.finish()


def ordered(directory: Path, orders: Path) -> None:
    """The run of `directory`, with what the file `orders` has for it."""
    every = json.loads(orders.read_text()) if orders.exists() else {}
    main(directory, every.get(f"{directory.parent.name}/{directory.name}", {}))


if __name__ == "__main__":
    die_with_parent()
    ordered(Path(sys.argv[1]), Path(sys.argv[2]))
