"""Advantage parts that read turns or the tree: (rewards_B, groups_B, tensors, mask_BT) -> advantages_BT and metrics.

Their tensors come from `reproduce.rollouts.tensors`; all rows of a rollout batch belong in one call.
"""

from dataclasses import dataclass

from reproduce.algorithms.parts.advantages import GroupZScore
from reproduce.errors import UserError
from reproduce.objectives import advantages, turns


@dataclass(frozen=True)
class EpisodeAndStep:
    """A_episode + step_weight * A_step, the same at every token of a turn (GiGPO).

    normalisation: "mean_std" (minus the mean, over the standard deviation) or "mean" (minus the mean), for both terms.
    episode_statistics: a group's mean and standard deviation over its "trajectories", or over all their "steps".
    """

    step_weight: float = 1.0
    step_discount: float = 0.95
    normalisation: str = "mean_std"
    episode_statistics: str = "trajectories"
    std_epsilon: float = 1e-6
    needs = ("turns_BT", "anchors_BT")

    def __post_init__(self):
        if self.normalisation not in ("mean", "mean_std"):
            raise UserError(f"normalisation must be 'mean' or 'mean_std', not {self.normalisation!r}")
        if self.episode_statistics not in ("trajectories", "steps"):
            raise UserError(f"episode_statistics must be 'trajectories' or 'steps', not {self.episode_statistics!r}")

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        advantages_BT = turns.episode_and_step(
            rewards_B, groups_B, tensors["turns_BT"], tensors["anchors_BT"], mask_BT,
            step_weight=self.step_weight, discount=self.step_discount,
            divide_by_std=self.normalisation == "mean_std", over_steps=self.episode_statistics == "steps",
            std_epsilon=self.std_epsilon,
        )  # fmt: skip
        return advantages_BT, {}


@dataclass(frozen=True)
class HardAttribution(GroupZScore):
    """The group z-score of a row, and at tokens that d rows share the mean of their d z-scores (ARPO section 3.2)."""

    needs = ("owners_BT",)

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        advantages_B = advantages.group_zscore(rewards_B, groups_B, self.std_epsilon)
        return turns.shared_mean(advantages_B, tensors["owners_BT"], mask_BT), {}
