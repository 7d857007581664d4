"""Rewards less the distance from a moving average of the policy (WARP, arXiv 2406.16768, stage 1)."""

import math
from dataclasses import dataclass

import torch

from reproduce.algorithms.parts.advantages import finite_rewards, leave_one_out
from reproduce.algorithms.parts.moving_average import MovingAverage
from reproduce.algorithms.parts.state import State
from reproduce.errors import UserError, one_of

ANCHOR_GAP = "anchor_gap_BT"
"""log pi - log pi_anchor of every token, of the policy that sampled, in nats."""


class Anchor(State):
    """A `MovingAverage` of the policy, which begins as the policy and moves after every RL step.

    run: services of the run. rate: mu in anchor <- (1 - mu) anchor + mu policy.

    Raises:
        UserError: adapters are trained. The average of their factors is not that of their products.
    """

    name = "anchor"
    makes = (ANCHOR_GAP,)

    def __init__(self, run, rate: float):
        if any("lora_" in name for name, _ in run.policy().named_parameters()):
            raise UserError("warp averages weights, which adapters keep in two factors: set training.lora to null")
        self._run, self._moving = run, MovingAverage(run, rate)
        self.average = self._moving.model

    def on_batch(self, batch):
        anchor_BT = self._run.logps(batch.tensors, self.average)
        gap_BT = batch.tensors["old_per_token_logps"].to(anchor_BT.dtype) - anchor_BT
        return {ANCHOR_GAP: torch.where(batch.mask_BT, gap_BT, 0.0)}, {}

    def on_step_end(self) -> None:
        self._moving.move()

    def state_dict(self) -> dict:
        return self._moving.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self._moving.load_state_dict(state)


@dataclass(frozen=True)
class AnchoredReward:
    """A of R - anchor_weight sum_t (log pi - log pi_anchor), the same at every token of a trajectory.

    anchor_weight: beta. anchor_rate: mu. anchor_baseline: "leave_one_out" takes the mean of the group's other rewards,
    shaped likewise, away; "none" takes nothing. Metrics: warp/anchor_kl, mean over trajectories of the sum, in nats.
    """

    anchor_weight: float = 0.1
    anchor_rate: float = 0.01
    anchor_baseline: str = "leave_one_out"
    needs = (ANCHOR_GAP,)
    holds_average = True
    metrics = ("warp/anchor_kl",)
    ranges = {"anchor_weight": (0.0, math.inf, True), "anchor_rate": (0.0, 1.0, True)}

    def __post_init__(self):
        one_of("anchor_baseline", self.anchor_baseline, ("leave_one_out", "none"))

    @property
    def compares_groups(self) -> bool:
        return self.anchor_baseline == "leave_one_out"

    def state(self, run) -> Anchor:
        """The moving average."""
        return Anchor(run, self.anchor_rate)

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        gap_B = torch.where(mask_BT, tensors[ANCHOR_GAP], 0.0).sum(1)
        shaped_B = finite_rewards(rewards_B, groups_B) - self.anchor_weight * gap_B
        if self.compares_groups:
            shaped_B = leave_one_out(shaped_B, groups_B)
        return shaped_B[:, None].expand(mask_BT.shape), {"warp/anchor_kl": float(gap_B.mean())}
