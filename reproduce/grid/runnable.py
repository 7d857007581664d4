"""Checks before anything starts: a job's method under its settings, its device, and its questions."""

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError


def check_runnable(jobs: list[JobConfig], here: bool = True) -> None:
    """Refuse a job that could only fail later.

    The panels of ScienceWorld and ALFWorld need their packages open and are not read. In the world web
    `evaluation.questions` is an upper limit.

    Args:
        jobs: the jobs of a table.
        here: they run on this machine.

    Raises:
        UserError: a method cannot run under these settings, this machine lacks a device, a world or family does not
            exist, or a panel has too few questions.
    """
    from reproduce import algorithms

    for job in {job.name: job for job in jobs}.values():
        method = algorithms.for_run(
            algorithms.load(job.method, **job.algorithm),
            max_completion_tokens=job.task.max_completion_tokens,
            updates_per_rollout=job.training.epochs * job.training.minibatches,
            group_size=job.training.group_size,
            stale_steps=job.training.stale_steps or 0,
        )
        if job.task.episodes is not None:
            _check_episodes(method)
    if here:
        _check_device(jobs[0])
    _check_panels(jobs[0])


def _check_episodes(method) -> None:
    if method.rollout.branches or method.rollout.needs_pilot:
        raise UserError(f"{method.name}: it forks trajectories, but an environment's episode cannot be forked")
    if getattr(method.advantage, "needs_answers", False):
        raise UserError(f"{method.name}: it votes on final answers, but an environment's episode ends without one")


def _check_device(job: JobConfig) -> None:
    device = job.training.device
    if device.startswith("cuda"):
        import torch

        said = f"profile '{job.profile}' sets training.device: {device}, but"
        if not torch.cuda.is_available():
            raise UserError(f"{said} no CUDA device is found; use mini")
        number = int(device.partition(":")[2] or 0)
        if number >= torch.cuda.device_count():
            raise UserError(f"{said} there are {torch.cuda.device_count()} CUDA devices, counted from 0")


def _check_panels(job: JobConfig) -> None:
    from reproduce.worlds.registry import world_of

    task, evaluation, warm_start = job.task, job.evaluation, job.warm_start
    panels = world_of(task).panels(job)
    if panels is None:
        return
    _check_panel(panels, evaluation.split, "evaluation.questions", evaluation.questions)
    if warm_start.check_questions is not None and warm_start.demonstrations and task.episodes is None:
        count = max(1, warm_start.check_questions // len(task.families))
        _check_panel(panels, "validation", "warm_start.check_questions", count)


def _check_panel(panels, split: str, key: str, count: int) -> None:
    try:
        panels.panel(split, count)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
