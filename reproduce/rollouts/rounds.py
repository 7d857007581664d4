"""Fork points, and lock-step rounds in which the released ARPO and AEPO code decides on them.

Released code: `verl/workers/rollout/vllm_rollout/vllm_rollout_with_tools.py`, `generate_sequences`: one iteration of
its main loop is a round.
"""

from dataclasses import dataclass
from typing import Any

from reproduce.rollouts.trajectory import Trajectory


@dataclass(frozen=True)
class ForkPoint:
    """The end of a tool result, where a path may fork, with what a child starts from.

    The path itself has gone on by the time the decision falls. entropy_change: dH of the branch test.
    """

    trajectory: Trajectory
    length: int
    turn: int
    entropy_change: float
    session: Any
    calls: int
    actions: tuple[str, ...]
    results: tuple[str, ...]

    @classmethod
    def of(cls, trajectory: Trajectory, entropy_change: float) -> "ForkPoint":
        """The point at which the current segment of `trajectory` began."""
        t = trajectory
        return cls(
            t, t.segment_start, t.path.turn, entropy_change, t.session.fork(), t.calls, tuple(t.actions),
            tuple(t.results),
        )  # fmt: skip

    def child(self, row: int, own_baseline: bool) -> Trajectory:
        """The one new path from here. own_baseline: its initial entropy is its own, not its parent's."""
        t = self.trajectory
        return Trajectory(
            t.path.fork(self.length, self.turn), self.session, t.group, row, t.row, self.length, self.turn,
            calls=self.calls, inherited_calls=self.calls, actions=list(self.actions), results=list(self.results),
            initial_entropy=None if own_baseline else t.initial_entropy, consecutive=t.consecutive,
        )  # fmt: skip


class Rounds:
    """Lock-step over the segments of all paths, without holding any path up.

    In round r every path that is in it finishes one segment; what happened (a `ForkPoint`, or None for an end) is
    known when the path gets there, and paths run ahead. The decisions of a round fall when its last path is there.
    """

    def __init__(self):
        self.active: list[Trajectory] = []
        self._outcomes: dict[int, list[ForkPoint | None]] = {}

    def join(self, trajectory: Trajectory) -> None:
        """`trajectory` takes part from the next round on."""
        self.active.append(trajectory)
        self._outcomes[trajectory.index] = []

    def report(self, trajectory: Trajectory, outcome: ForkPoint | None) -> None:
        """Outcome of the segment of `trajectory` after those it has reported."""
        self._outcomes[trajectory.index].append(outcome)

    def finished(self) -> list[ForkPoint] | None:
        """The fork points of a finished round, in order of creation of their paths; None if it is not finished."""
        if not self.active or not all(self._outcomes[t.index] for t in self.active):
            return None
        points = [self._outcomes[t.index].pop(0) for t in self.active]
        points = [point for point in points if point is not None]
        self.active = [point.trajectory for point in points]
        return points
