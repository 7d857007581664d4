"""Lock-step rounds in which the released ARPO and AEPO code decides on forks.

Released code: `verl/workers/rollout/vllm_rollout/vllm_rollout_with_tools.py`, `generate_sequences`; one iteration of
its main loop is a round.
"""

from typing import NamedTuple

from reproduce.rollouts.trajectory import Trajectory


class Candidate(NamedTuple):
    """A fork at the end of a tool result, before it is decided; by then `parent` has gone on.

    entropy_change: dH of the branch test.
    """

    parent: Trajectory
    child: Trajectory
    entropy_change: float


class Rounds:
    """Lock-step over the segments of all paths, without holding any path up.

    In round r every active path finishes one segment. Its outcome (a `Candidate`, or None for an end) is known when the
    path gets there, and paths run ahead. A round is decided when its last path is there.
    """

    def __init__(self):
        self.active: list[Trajectory] = []
        self._outcomes: dict[Trajectory, list[Candidate | None]] = {}

    def join(self, trajectory: Trajectory) -> None:
        """Let `trajectory` take part from the next round on."""
        self.active.append(trajectory)
        self._outcomes[trajectory] = []

    def report(self, trajectory: Trajectory, outcome: Candidate | None) -> None:
        """Report the outcome of the next segment of `trajectory`."""
        self._outcomes[trajectory].append(outcome)

    def finished(self) -> list[Candidate] | None:
        """Return the candidates of a finished round, in their parents' order of creation; None if it still runs."""
        if not self.active or not all(self._outcomes[t] for t in self.active):
            return None
        outcomes = [self._outcomes[t].pop(0) for t in self.active]
        candidates = [outcome for outcome in outcomes if outcome is not None]
        self.active = [candidate.parent for candidate in candidates]
        return candidates
