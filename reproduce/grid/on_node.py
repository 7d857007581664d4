"""The part of a job that runs on its nodes. It imports little, since a node has loaded nothing of ours yet."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from reproduce.environment import child_environment
from reproduce.parent import PARENT
from reproduce.runs.manifest import ROOT


@dataclass(frozen=True)
class OnNode:
    """The work of each node of a job: run the command of `command_lines.accelerated`, output appended to `log`.

    cards: GPUs of a node. With several nodes the command learns which of them it is on, by options from word `words`
    on.
    """

    command: tuple[str, ...]
    log: Path
    words: int
    nodes: int
    cards: int

    def __call__(self) -> int:
        """Run the command; returns its exit code."""
        import submitit

        here = submitit.JobEnvironment()
        command = list(self.command)
        if self.nodes > 1:
            command[self.words : self.words] = self.place(here.global_rank, here.hostnames[0], here.job_id)
        environment = {**child_environment(), PARENT: str(os.getpid())}
        with open(self.log, "ab") as output:
            return subprocess.run(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            ).returncode

    def place(self, node: int, first: str, job: str) -> list[str]:
        """Return words of `accelerate launch`; the port is the same on all nodes of a job, and differs between jobs."""
        return [
            "--num_machines",
            str(self.nodes),
            "--machine_rank",
            str(node),
            "--main_process_ip",
            first,
            "--num_processes",
            str(self.nodes * max(1, self.cards)),
            "--main_process_port",
            str(20000 + int(job.split("_")[0]) % 20000),
        ]

    def checkpoint(self, *arguments, **options):
        """Return the task that submitit queues again at the time limit: the same one, since a run resumes by itself."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)
