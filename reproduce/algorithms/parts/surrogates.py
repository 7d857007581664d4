"""Surrogate parts: (ratio, advantages_BT) -> `reproduce.objectives.surrogates.Surrogate`."""

from dataclasses import dataclass

from reproduce.objectives import surrogates


@dataclass(frozen=True)
class PPOMin:
    """min(delta A, clip(delta, 1 - clip_low, 1 + clip_high) A), with a dual clip if dual_clip is not None."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    needs = ("advantages_BT",)

    @property
    def clip_range(self) -> tuple[float, float]:
        return 1.0 - self.clip_low, 1.0 + self.clip_high

    def __call__(self, ratio, advantages_BT):
        return surrogates.ppo_min(ratio, advantages_BT, self.clip_low, self.clip_high, self.dual_clip)


@dataclass(frozen=True)
class UpperGradientKeeping(PPOMin):
    """PPO-min whose upper bound keeps the gradient (1 + clip_high) A (AEPO); PPO-min if the switch is off."""

    gradient_keeping_clip: bool = True

    def __call__(self, ratio, advantages_BT):
        return surrogates.ppo_min(
            ratio, advantages_BT, self.clip_low, self.clip_high, self.dual_clip, self.gradient_keeping_clip
        )
