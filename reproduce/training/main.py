"""Entry points of a run's own process: `python -m reproduce job`, or a fork of the grid.

They import what trains only after the environment is settled.
"""

import errno
import os
import sys
import traceback
from pathlib import Path

from reproduce.environment import settle
from reproduce.errors import UserError
from reproduce.locks import locked


def run(directory: Path) -> int:
    """Train, evaluate and finish the run of a directory, in this process.

    A config of the method "warm_start" trains nothing: its model is evaluated as it is.

    Args:
        directory: `<runs root>/<profile>/<experiment>/<row>/<seed>`, with the config.yaml of the run.

    Returns:
        The exit code.

    Raises:
        UserError, OSError, ModuleNotFoundError: bad settings, a full disk, a missing package; the run is marked failed.
    """
    settle()
    from reproduce.config.tables import JobConfig

    path = directory.resolve()
    config = JobConfig.from_yaml(path / "config.yaml")
    settle(network=config.sends)
    from reproduce.runs.directory import RunDirectory

    root = path.parents[3]
    if int(os.environ.get("RANK", "0")):  # one of several processes: the first one has the run directory
        return _follow(path, config, root)
    with locked(path / ".lock", f"{directory} is being written by another process; wait for it or stop it"):
        made = RunDirectory.open(path, config)
        if made.status == "finished":
            print(f"{directory} is finished already")
            return 0
        try:
            _do(config, made, root, int(os.environ.get("WORLD_SIZE", "1")) == 1)
        except Exception as error:
            _mark_failed(made, error)
            if isinstance(error, (UserError, ModuleNotFoundError)) or getattr(error, "errno", None) == errno.ENOSPC:
                raise
            traceback.print_exc()
            return 1
    return 0


def _do(config, made, root: Path, alone: bool) -> None:
    """alone: whether it is the only process of the run, which then makes the warm start where it is missing."""
    from reproduce.config.sections import WARM_START
    from reproduce.training.job import run_job
    from reproduce.training.prepare import evaluate_checkpoint, made_warm_start, prepare_warm_start

    if config.method == WARM_START:
        evaluate_checkpoint(config, made)
    else:
        run_job(config, made, prepare_warm_start(config, root) if alone else made_warm_start(config, root))


def _follow(path: Path, config, root: Path) -> int:
    """The part of a run that a process other than the first one has."""
    from reproduce.runs.reader import status_of
    from reproduce.training.parallel import Follower

    if status_of(path) == "finished":
        return 0
    try:
        _do(config, Follower(path), root, alone=False)
    except UserError:
        raise
    except Exception as error:
        traceback.print_exc()
        print(f"error: process {os.environ['RANK']}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _mark_failed(run, error: Exception) -> None:
    try:
        run.fail(f"{type(error).__name__}: {error}")
    except OSError as second:  # a full disk: the manifest still says "running", which resumes just as well
        print(f"cannot mark the run failed: {second}", file=sys.stderr)


def make_warm_start(path: Path, runs_root: Path) -> int:
    """Make and evaluate the warm start that the config in `path` asks for. Returns the exit code."""
    settle()
    from reproduce.config.tables import JobConfig

    config, root = JobConfig.from_yaml(path), runs_root.resolve()
    settle(network=config.sends)
    from reproduce.training.prepare import prepare_warm_start

    folder = config.warm_start_job().directory(root)
    if int(os.environ.get("RANK", "0")):  # one of several processes: the first one has the directory
        prepare_warm_start(config, root)
        return 0
    with locked(folder / ".lock", f"{folder} is being written by another process; wait for it or stop it"):
        print(f"warm start: {prepare_warm_start(config, root)}")
    return 0
