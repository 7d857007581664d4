"""How many RL steps a run has: those of its config, or fewer where `training.trajectory_budget` ends it earlier."""

from collections.abc import Iterable, Mapping


def budget(training: Mapping) -> int | None:
    """Return the sampled trajectories, dropped groups included, at which a training ends.

    Args:
        training: the section as a mapping; an older one may lack the setting.

    Returns:
        What a method that drops no group samples in all steps; None where all steps are made.
    """
    if not training.get("trajectory_budget"):
        return None
    return training["steps"] * training["prompts_per_step"] * training["group_size"]


def whole(training: Mapping, groups_sampled: Iterable[float]) -> int:
    """Return the RL steps of a complete run: those up to the first at which its budget is reached.

    Args:
        training: as of `budget`.
        groups_sampled: the metric of the steps made, in order.
    """
    limit, sampled = budget(training), 0.0
    if limit is not None:
        for step, groups in enumerate(groups_sampled, start=1):
            sampled += groups * training["group_size"]
            if sampled >= limit:
                return step
    return training["steps"]
