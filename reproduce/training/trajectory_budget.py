"""Ends training once a run has sampled as many trajectories as a method that drops no group (`trajectory_budget`)."""

import math

from reproduce.runs import length


class TrajectoryBudget:
    """Trajectories sampled since the start of a run, those of dropped groups included; side rows do not count.

    training: the config's section, with `trajectory_budget`. Checkpoints carry the count as `NAME`.
    """

    NAME = "trajectory_budget"

    def __init__(self, training):
        self.limit, self.group_size = length.budget(vars(training)), training.group_size
        self.sampled = 0

    @property
    def reached(self) -> bool:
        """Whether the RL step in progress is the last one by the budget."""
        return self.sampled >= self.limit

    def add(self, groups: float) -> None:
        """Count the groups sampled in a step, before its updates."""
        self.sampled += round(groups) * self.group_size

    def expected(self, step: int, steps: int) -> int:
        """Return the number of RL steps at the rate of the first `step`, at most `steps`."""
        return min(steps, math.ceil(step * max(1.0, self.limit / self.sampled)))

    def state_dict(self) -> dict:
        return {"sampled": self.sampled}

    def load_state_dict(self, state: dict) -> None:
        self.sampled = int(state["sampled"])
