"""Whether the optional packages are installed that a job needs, asked before anything runs."""

from importlib.util import find_spec

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.worlds.registry import world_of


def check_installed(jobs: list[JobConfig]) -> None:
    """UserError, naming the setting and the command that installs it, for the first package that is missing.

    Trackers and launchers have checks of their own (`training.trackers`, `grid.launchers`).
    """
    for job in {job.name: job for job in jobs}.values():
        _check(job)


def _check(job: JobConfig) -> None:
    if job.training.lora is not None:
        check_peft()
    if job.engine is not None:
        from reproduce.rollouts.engines.host import host_of  # it imports torch

        host_of(job.engine.name).check_installed()
    world_of(job.task).check(job)


def check_peft() -> None:
    """UserError if the package of adapters is missing."""
    if find_spec("peft") is None:
        raise UserError(
            "training.lora needs the package peft: pip install -r requirements-gpu.txt, or leave lora out to train all "
            "weights"
        )
