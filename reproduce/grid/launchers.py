"""The launchers that a grid can use. Each starts a command and returns something to poll, as `subprocess.Popen` is.

local        a process for each run, as many at a time as there are cores
accelerate   a run is started by `accelerate launch`, on all the processes that its config names
slurm        a run is a job of a cluster (`reproduce.grid.slurm`), started there by `accelerate launch`
"""

import subprocess
from pathlib import Path
from typing import Protocol

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid import processes, workers
from reproduce.grid.command_lines import accelerate_config, accelerated, warm_start_config, words
from reproduce.grid.slurm import Slurm, SlurmConfig
from reproduce.grid.workers import Fork
from reproduce.runs.manifest import WARM_START, usable_cores
from reproduce.training.main import make_warm_start, run

LAUNCHERS = ("local", "accelerate", "slurm")


class Child(Protocol):
    """A run that was started. returncode: None while it runs, minus the signal's number if one ended it."""

    returncode: int | None

    def poll(self) -> int | None: ...


class Launcher(Protocol):
    """Starts runs. at_a_time: how many are started together unless the user says. alone: starts one process, for a warm
    start that one process makes.
    """

    at_a_time: int

    def command(self, job: JobConfig, path: Path, root: Path) -> Fork | list[str]: ...

    def start(self, command: Fork | list[str], log: Path) -> Child: ...

    def stop(self, children: list[Child]) -> None: ...

    def alone(self) -> "Launcher": ...


class Local:
    """Every run is one process of this machine: one at a time on its GPU, or one per core."""

    def __init__(self, device: str = "cpu"):
        self.at_a_time = usable_cores() if device == "cpu" else 1

    def command(self, job: JobConfig, path: Path, root: Path) -> Fork | list[str]:
        """Return a fork that does a job in its run directory, or makes a warm start."""
        if job.name == WARM_START:
            return Fork(make_warm_start, (warm_start_config(path), root))
        return Fork(run, (path,))

    def start(self, command: Fork | list[str], log: Path) -> subprocess.Popen | workers.Child:
        """Start it, output appended to `log`; it never outlives this process."""
        return processes.start(command, log)

    def stop(self, children: list) -> None:
        """End the children and what they started."""
        processes.stop(children)

    def alone(self) -> "Local":
        """Return a launcher of one process of this machine."""
        return Local()


class Accelerate(Local):
    """Every run is started by `accelerate launch` on this machine, with the config file `config`, on as many processes
    as it says or `processes`."""

    def __init__(self, config: Path, at_a_time: int = 1, processes: int | None = None):
        self.config, self.at_a_time, self.processes = config, at_a_time, processes

    def command(self, job: JobConfig, path: Path, root: Path) -> list[str]:
        """As of `Local`. Port 0: two runs of one machine must not meet."""
        count = [] if self.processes is None else ["--num_processes", str(self.processes)]
        return accelerated(self.config, words(job, path, root), "--main_process_port", "0", *count)


def open_launcher(name: str, config: str | None, root: Path, device: str = "cpu", count: int | None = None) -> Launcher:
    """Open a launcher.

    Args:
        name: one of `LAUNCHERS`.
        config: a file, or the name of one of ours: of accelerate, or of the Slurm settings.
        root: folder of the runs.
        device: on which a run trains.
        count: processes of a run by accelerate; None: as its config says.

    Raises:
        UserError: the launcher or config does not exist.
    """
    if name == "local":
        if config is not None:
            raise UserError("--launch-config belongs to --launcher accelerate or slurm")
        return Local(device)
    if name == "accelerate":
        return Accelerate(accelerate_config(config or "one_gpu"), processes=count)
    if name == "slurm":
        return Slurm(SlurmConfig.load(config), root)
    raise UserError(f"there is no launcher '{name}'; launchers: {', '.join(LAUNCHERS)}")
