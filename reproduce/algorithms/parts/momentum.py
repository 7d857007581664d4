"""A moving average of the policy that samples beside it (M-GRPO, arXiv 2512.13070)."""

from dataclasses import replace

from reproduce.algorithms.parts.moving_average import MovingAverage
from reproduce.algorithms.parts.state import RunServices, Sampling, SideRows
from reproduce.algorithms.parts.votes import VoteRewards


class MomentumVotes(VoteRewards):
    """`VoteRewards`, with the momentum model and the side rows that it samples.

    momentum: m in theta_k <- m theta_k + (1 - m) theta after every RL step. share: side rows for each own row.
    """

    name = "momentum"

    def __init__(self, run: RunServices, momentum: float, share: float, consensus: float, metrics: tuple[str, str]):
        super().__init__(consensus, metrics)
        self._moving, self._share = MovingAverage(run, 1.0 - momentum), share
        self.model = self._moving.model

    def sampling(self, planned: Sampling) -> Sampling:
        return replace(planned, side_rows=SideRows(1.0, planned.temperature, self.model, self._share))

    def on_step_end(self) -> None:
        self._moving.move()

    def state_dict(self) -> dict:
        return self._moving.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self._moving.load_state_dict(state)
