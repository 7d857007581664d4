"""The launchers that a grid can use. Each starts a command and hands back something to poll, as `subprocess.Popen` is.

local        a process for each run, as many at a time as there are cores
accelerate   a run is started by `accelerate launch`, on all the processes that its config names
slurm        a run is a job of a cluster (`reproduce.grid.slurm`), started there by `accelerate launch`
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid import processes, workers
from reproduce.runs.manifest import WARM_START, usable_cores
from reproduce.yaml_files import read_yaml

LAUNCHERS = ("local", "accelerate", "slurm")
CONFIGS = Path(__file__).parent / "accelerate"
START = [sys.executable, "-m", "reproduce.grid.accelerated"]
WORDS = len(START)
"""Where in a command of `accelerated` the words of accelerate launch begin."""


class Child(Protocol):
    """A run that was started. returncode: None while it runs, minus the signal's number if one ended it."""

    returncode: int | None

    def poll(self) -> int | None: ...


class Launcher(Protocol):
    """at_a_time: how many runs are started together where the user does not say. alone: what starts one process, for
    a warm start that one process makes."""

    at_a_time: int

    def command(self, job: JobConfig, path: Path, root: Path) -> list[str]: ...

    def start(self, command: list[str], log: Path) -> Child: ...

    def stop(self, children: list[Child]) -> None: ...

    def alone(self) -> "Launcher": ...


class Local:
    """Every run is a process of this machine, by itself: one at a time on its card, or one per core."""

    def __init__(self, device: str = "cpu"):
        self.at_a_time = usable_cores() if device == "cpu" else 1

    def command(self, job: JobConfig, path: Path, root: Path) -> list[str]:
        """The command line that does a job in its run directory, or makes a warm start."""
        return [*workers.OWN, *words(job, path, root)]

    def start(self, command: list[str], log: Path) -> subprocess.Popen | workers.Child:
        """Starts it, output appended to `log`; it never outlives this process."""
        return processes.start(command, log)

    def stop(self, children: list) -> None:
        """Ends the children and what they started."""
        processes.stop(children)

    def alone(self) -> "Local":
        """A process of this machine."""
        return Local()


class Accelerate(Local):
    """Every run is started by `accelerate launch` on this machine, with the config file `config`."""

    def __init__(self, config: Path, at_a_time: int = 1):
        self.config, self.at_a_time = config, at_a_time

    def command(self, job: JobConfig, path: Path, root: Path) -> list[str]:
        """As of `Local`. Port 0: two runs of one machine must not meet."""
        return accelerated(self.config, words(job, path, root), "--main_process_port", "0")


def words(job: JobConfig, path: Path, root: Path) -> list[str]:
    """What `python -m reproduce` is told, to do a job in its run directory or to make a warm start."""
    if job.name == WARM_START:
        return ["warm-start", str(warm_start_config(path)), "--runs-root", str(root)]
    return ["job", str(path)]


def warm_start_config(path: Path) -> Path:
    """Where the config of the warm start lies whose run directory is `path`."""
    return path.with_name(".warm_start.yaml")


def accelerated(config: Path, words: list[str], *options: str) -> list[str]:
    """`accelerate launch` of `python -m reproduce <words>`, with what keeps its processes from outliving us."""
    return [*START, "--config_file", str(config), *options, "--module", "reproduce", *words]


def open_launcher(name: str, config: str | None, root: Path, device: str = "cpu") -> Launcher:
    """The launcher `name`. config: a file, or the name of one of ours: of accelerate, or of the Slurm settings.

    root: of the runs. device: what a run trains on. UserError for a launcher or config that does not exist.
    """
    if name == "local":
        if config is not None:
            raise UserError("--launch-config belongs to --launcher accelerate or slurm")
        return Local(device)
    if name == "accelerate":
        return Accelerate(accelerate_config(config or "one_gpu"))
    if name == "slurm":
        from reproduce.grid.slurm import Slurm, SlurmConfig

        return Slurm(SlurmConfig.load(config), root)
    raise UserError(f"there is no launcher '{name}'; launchers: {', '.join(LAUNCHERS)}")


def accelerate_config(name: str) -> Path:
    """The accelerate config of that name, or the file. UserError that lists ours if there is neither, and for one that
    needs DeepSpeed where that is not installed."""
    for path in (CONFIGS / f"{name}.yaml", Path(name)):
        if path.is_file():
            _check_deepspeed(path)
            return path.resolve()
    ours = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    raise UserError(f"there is no accelerate config '{name}'; give a file, or one of: {', '.join(ours)}")


def _check_deepspeed(path: Path) -> None:
    if read_yaml(path).get("distributed_type") == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise UserError(
            f"{path.name} needs the package deepspeed: pip install -r requirements-gpu.txt, or take another config "
            "(fsdp)"
        )
