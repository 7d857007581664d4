"""A moving average of the policy's weights, which a state keeps beside the run."""

import torch


class MovingAverage:
    """A copy of the policy that moves towards it, in float32 where weights are in half precision: a move by a hundredth
    changes few of their digits.

    run: services of the run. rate: r in average <- (1 - r) average + r policy.
    """

    def __init__(self, run, rate: float):
        self._policy, self._rate = run.policy, rate
        self.model = run.policy_copy()
        if next(self.model.parameters()).dtype in (torch.bfloat16, torch.float16):
            self.model = self.model.float()

    @torch.no_grad()
    def move(self) -> None:
        """Move once, towards the policy of now."""
        for own, trained in zip(self.model.parameters(), self._policy().parameters(), strict=True):
            own.lerp_(trained.to(own.dtype), self._rate)

    def state_dict(self) -> dict:
        """Return the average's weights, for checkpoints."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Take the weights of a checkpoint."""
        self.model.load_state_dict(state)
