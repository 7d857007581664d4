"""Surrogate parts: (ratio, advantages_BT) -> `reproduce.objectives.surrogates.Surrogate`.

acts_only_off_policy: what the part adds to PPO-min has no effect where pi = pi_old (see `algorithms.run`).
"""

from dataclasses import dataclass

from reproduce.objectives import surrogates


@dataclass(frozen=True)
class PPOMin:
    """min(delta A, clip(delta, 1 - clip_low, 1 + clip_high) A), with a dual clip if dual_clip is not None."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    needs = ("advantages_BT",)
    acts_only_off_policy = False

    @property
    def clip_range(self) -> tuple[float, float]:
        return 1.0 - self.clip_low, 1.0 + self.clip_high

    def __call__(self, ratio, advantages_BT):
        return surrogates.ppo_min(ratio, advantages_BT, self.clip_low, self.clip_high, self.dual_clip)


@dataclass(frozen=True)
class UpperGradientKeeping(PPOMin):
    """PPO-min whose upper bound keeps the gradient (1 + clip_high) A (AEPO); PPO-min if the switch is off."""

    gradient_keeping_clip: bool = True

    @property
    def acts_only_off_policy(self) -> bool:
        return self.gradient_keeping_clip

    def __call__(self, ratio, advantages_BT):
        keep_high = 1.0 if self.gradient_keeping_clip else None
        return surrogates.ppo_min(
            ratio, advantages_BT, self.clip_low, self.clip_high, self.dual_clip, keep_high=keep_high
        )


@dataclass(frozen=True)
class GradientKeeping(PPOMin):
    """PPO-min whose bounds keep the gradients beta_1 (1 - clip_low) A and beta_2 (1 + clip_high) A.

    GPPO at beta_1 = beta_2 = 1, where the value is PPO-min's; CE-GPPO otherwise, where value and gradient are scaled.
    """

    beta_1: float = 1.0
    beta_2: float = 1.0
    acts_only_off_policy = True

    def __call__(self, ratio, advantages_BT):
        return surrogates.ppo_min(
            ratio, advantages_BT, self.clip_low, self.clip_high, self.dual_clip, self.beta_1, self.beta_2
        )


@dataclass(frozen=True)
class ClippedWeight:
    """sg(clip(delta, 1 - clip_low, 1 + clip_high)) A log pi (CISPO); clip_low 1 is no lower bound."""

    clip_low: float = 1.0
    clip_high: float = 4.0
    needs = ("advantages_BT",)
    acts_only_off_policy = True

    @property
    def clip_range(self) -> tuple[float, float]:
        return 1.0 - self.clip_low, 1.0 + self.clip_high

    def __call__(self, ratio, advantages_BT):
        return surrogates.clipped_weight(ratio, advantages_BT, self.clip_low, self.clip_high)


@dataclass(frozen=True)
class PolicyGradient:
    """A log pi (REINFORCE), or delta A with importance_weight; no ratio is out of range."""

    importance_weight: bool = False
    needs = ("advantages_BT",)
    clip_range = (0.0, float("inf"))
    acts_only_off_policy = False

    def __call__(self, ratio, advantages_BT):
        return surrogates.policy_gradient(ratio, advantages_BT, self.importance_weight)
