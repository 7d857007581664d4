"""A moving average of the policy that samples beside it (M-GRPO, arXiv 2512.13070)."""

from dataclasses import replace

import torch

from reproduce.algorithms.parts.state import RunServices, Sampling, SideRows
from reproduce.algorithms.parts.votes import VoteRewards


class MomentumVotes(VoteRewards):
    """`VoteRewards`, with the momentum model and the side rows that it samples.

    momentum: m in theta_k <- m theta_k + (1 - m) theta after every RL step. share: side rows for each own row.
    """

    name = "momentum"

    def __init__(self, run: RunServices, momentum: float, share: float, consensus: float, metrics: tuple[str, str]):
        super().__init__(consensus, metrics)
        self.model = run.policy_copy()
        self._policy, self._momentum, self._share = run.policy, momentum, share

    def sampling(self, planned: Sampling) -> Sampling:
        return replace(planned, side_rows=SideRows(1.0, planned.temperature, self.model, self._share))

    @torch.no_grad()
    def on_step_end(self) -> None:
        for own, trained in zip(self.model.parameters(), self._policy().parameters(), strict=True):
            own.lerp_(trained.to(own.dtype), 1.0 - self._momentum)

    def state_dict(self) -> dict:
        return self.model.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.model.load_state_dict(state)
