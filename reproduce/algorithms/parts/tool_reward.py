"""SPEAR's reward for tool calls, which fades (arXiv 2509.22601)."""

import math
from dataclasses import dataclass

from torch import Tensor

from reproduce.algorithms.parts.replay import falling
from reproduce.algorithms.parts.state import Outcomes, State

FROM_0 = (0.0, math.inf, True)


class ToolReward(State):
    """Adds min(each * calls, most) * falling(step) to every reward.

    each, most: of one call, of a trajectory. steps: RL steps until it is 0. metric: name of its mean over trajectories.
    """

    name = "tool_reward"

    def __init__(self, each: float, most: float, steps: int, metric: str):
        self._each, self._most, self._steps, self._metric = each, most, steps, metric

    def rewards(self, outcomes: Outcomes) -> tuple[Tensor, dict[str, float]]:
        calls_J = outcomes.calls_J.to(outcomes.rewards_J.dtype)
        added_J = (self._each * calls_J).clamp(max=self._most) * falling(outcomes.step, self._steps)
        return outcomes.rewards_J + added_J, {self._metric: float(added_J.mean())}


@dataclass(frozen=True)
class FadingToolReward:
    """min(tool_reward * calls, tool_reward_most), times a cosine that is 0 from tool_reward_steps RL steps on.

    Metric of a step: spear/tool_reward, its mean.
    """

    tool_reward: float = 0.1
    tool_reward_most: float = 1.0
    tool_reward_steps: int = 200
    overlong_penalty = False
    metrics = ("spear/tool_reward",)
    ranges = {"tool_reward": FROM_0, "tool_reward_most": FROM_0, "tool_reward_steps": (1, math.inf, True)}

    def state(self, run) -> ToolReward | None:
        """The addition to rewards; None where it is 0."""
        if self.tool_reward == 0:
            return None
        return ToolReward(self.tool_reward, self.tool_reward_most, self.tool_reward_steps, self.metrics[0])

    def __call__(self, lengths_B, max_length):
        return None
