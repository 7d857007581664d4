"""Runs as jobs of a Slurm cluster, through the package `submitit`.

A run is one job, on one node or several: on each node `accelerate launch` starts the processes of its GPUs. The folder
`<runs root>/.slurm` holds submitit's files of a job. Output goes to the run's log.txt, and results to its run
directory, which the cluster must share. A job that reaches its time limit or is preempted is queued again and resumes
from its last checkpoint. If you interrupt the command that submitted the jobs, they are cancelled. If the command is
lost (a broken connection, kill -9), they go on, and the same command finds them again.
"""

import shlex
import subprocess
from dataclasses import field, replace
from pathlib import Path
from typing import Literal

from reproduce.config.strict import Count, Positive, Whole, build, section
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid.command_lines import WORDS, accelerate_config, accelerated, words
from reproduce.grid.on_node import OnNode
from reproduce.runs import files
from reproduce.runs.manifest import ROOT
from reproduce.yaml_files import read_yaml

DEFAULT = Path(__file__).with_name("slurm.yaml")


@section
class SlurmConfig:
    """Resources of a job on the cluster. Nothing here can change a result, so it is not part of a run's config."""

    accelerate: str = "one_gpu"  # config of the processes: a file, or the name of one of ours
    nodes: Count = 1
    gpus_per_node: Whole = 1
    cpus_per_node: Count = 16
    memory_gb: Count | None = None  # None: the cluster's default
    hours: Positive = 24.0
    at_a_time: Count = 16  # jobs in the queue or running
    partition: str | None = None
    account: str | None = None
    setup: list = field(default_factory=list)  # lines of shell before the job, such as module load
    options: dict = field(default_factory=dict)  # further options of sbatch, by their long names
    requeues: Whole = 10  # times that a job may run into its limit and be queued again
    cluster: Literal["slurm", "local"] = (
        "slurm"  # local: submitit's own executor, which runs the same jobs as processes here
    )

    def problems(self):
        if self.cluster == "local" and self.nodes > 1:
            yield "nodes", "must be 1 on this machine"

    @classmethod
    def load(cls, path: str | None) -> "SlurmConfig":
        """Load the settings of a file; None: ours. Raises UserError for bad keys or values."""
        path = DEFAULT if path is None else Path(path)
        return build(cls, read_yaml(path), path.name)


class SlurmRun:
    """A job as the grid polls it. reason: why it ended without an exit code of the run, "" if it did not."""

    def __init__(self, job):
        self.job, self.returncode, self.reason = job, None, ""

    def poll(self) -> int | None:
        """Return the run's exit code, 1 for a job that is lost, or None while it waits or runs."""
        if self.returncode is None and self.job.done():
            error = self.job.exception()
            if error is None:
                codes = self.job.results()  # of the nodes
                self.returncode = min(codes) if min(codes) < 0 else max(codes)
            else:
                self.returncode, self.reason = 1, f"job {self.job.job_id} {_lost(error, self.job.state)}"
        return self.returncode


def _lost(error: Exception, state: str) -> str:
    """Summary of submitit's error of a job: it left no result, or its own code raised."""
    from submitit.core.utils import UncompletedJobError

    if isinstance(error, UncompletedJobError):
        return f"was lost ({state})"
    trace = [line for line in str(error).split("-" * 22)[1].splitlines() if line.strip()]
    return f"failed before its run: {trace[-1].strip()}"


class Slurm:
    """Submits jobs; see the module. root: folder of the runs."""

    def __init__(self, config: SlurmConfig, root: Path):
        try:
            import submitit
        except ModuleNotFoundError:
            raise UserError(
                "--launcher slurm needs the package submitit: pip install -r requirements-gpu.txt"
            ) from None
        self.config, self.root, self.at_a_time = config, root, config.at_a_time
        self.accelerate = accelerate_config(config.accelerate)
        self.folder = Path(root).resolve() / ".slurm"
        try:
            self.executor = submitit.AutoExecutor(
                self.folder, cluster=config.cluster, slurm_max_num_timeout=config.requeues
            )
        except RuntimeError as error:
            raise UserError(f"--launcher slurm: {error}; is sbatch on the PATH of this machine?") from None
        parameters = {"timeout_min": int(config.hours * 60), "tasks_per_node": 1, "nodes": config.nodes}
        if config.cluster == "slurm":
            parameters |= {
                "cpus_per_task": config.cpus_per_node,
                "slurm_partition": config.partition,
                "slurm_account": config.account,
                "slurm_mem": config.memory_gb and f"{config.memory_gb}GB",
                "slurm_setup": [f"cd {shlex.quote(str(ROOT))}", *config.setup],
                "slurm_additional_parameters": config.options or None,
                "slurm_gpus_per_node": config.gpus_per_node or None,
            }
        self.executor.update_parameters(**{name: value for name, value in parameters.items() if value is not None})

    def alone(self) -> "Slurm":
        """Return a launcher of jobs of one node."""
        return Slurm(replace(self.config, nodes=1), self.root)

    def command(self, job: JobConfig, path: Path, root: Path) -> list[str]:
        """Return the command line that a node runs; several nodes share one port per job."""
        port = ["--main_process_port", "0"] if self.config.nodes == 1 else []
        return accelerated(self.accelerate, words(job, path, root), *port)

    def start(self, command: list[str], log: Path) -> SlurmRun:
        """Start the job of a run, or find the one that an earlier command submitted if it waits or runs."""
        log.parent.mkdir(parents=True, exist_ok=True)
        name = ".".join(log.parent.parts[-4:])
        record = self.folder / "jobs" / f"{name}.json"
        job = self._earlier(record)
        if job is None:
            self.executor.update_parameters(name=name)
            job = self._submitted(OnNode(tuple(command), log, WORDS, self.config.nodes, self.config.gpus_per_node))
            record.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(record, {"job_id": job.job_id})
        return SlurmRun(job)

    def _submitted(self, task: OnNode):
        from submitit.core.utils import FailedJobError

        try:
            return self.executor.submit(task)
        except (FailedJobError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            raise UserError(f"sbatch refused the job: {' '.join(str(reason).split())}") from None

    def _earlier(self, record: Path):
        if self.config.cluster != "slurm" or not record.is_file():
            return None
        from submitit import SlurmJob

        job = SlurmJob(self.folder, files.read_json(record)["job_id"], tasks=list(range(self.config.nodes)))
        return None if job.done(force_check=True) else job

    def stop(self, children: list[SlurmRun]) -> None:
        """Cancel the jobs that have not ended."""
        for child in children:
            if child.poll() is None:
                child.job.cancel(check=False)
