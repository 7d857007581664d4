"""PPO-BR (arXiv 2505.17714): PPO whose clip widens with the policy's entropy and narrows where returns stand still.

J = mean over tokens of min(delta A, clip(delta, 1 - eps, 1 + eps) A)
eps = clip(eps_0 [1 + lambda_1 tanh phi - lambda_2 tanh psi], eps_0 (1 - lambda_2), eps_0 (1 + lambda_1))
phi = clip(H / ln V, 0, 1), H the mean entropy of the rollout batch
psi = 1 - tanh |(later - earlier) / earlier|, the means of the two halves of the last 20 returns; 1 below 10 returns

The paper's phi and psi are in no public source; these are a third party's, written for games. There a return is an
episode's; here it is an RL step's mean reward (assumed: the last 20 trajectories are a part of one batch, and their
order means nothing). Where `earlier` is 0, any change counts as infinite (assumed).

phi and psi are at most 1, so eps stays between 0.154 and 0.276 and the stated ends 0.14 and 0.30 are never reached. A
language model's H / ln V is about 0.02 to 0.1: the method is then a clip of 0.156 to 0.21, narrower while nothing
changes, and no measurable effect is to be expected.
"""

import math
from dataclasses import dataclass, replace

from reproduce.algorithms.parts.returns_window import ReturnsWindow
from reproduce.algorithms.parts.surrogates import PPOMin, ppo_min
from reproduce.algorithms.ppo import PPO

CLIP = "ppo_br_clip"


def adaptive_clip(phi: float, psi: float, base: float, widening: float, narrowing: float) -> float:
    """Compute eps from phi and psi, both from 0 to 1; base: eps_0, widening: lambda_1, narrowing: lambda_2."""
    factor = 1.0 + widening * math.tanh(phi) - narrowing * math.tanh(psi)
    return base * min(max(factor, 1.0 - narrowing), 1.0 + widening)


@dataclass(frozen=True)
class AdaptiveClip(PPOMin):
    """PPO-min whose clip_low and clip_high are scaled by eps / eps_0 in each RL step.

    clip_widening: lambda_1. clip_narrowing: lambda_2. Metrics of a step: ppo_br/clip (eps for clip_high), ppo_br/phi,
    ppo_br/psi. Shares outside the clip range are counted at eps_0.
    """

    clip_widening: float = 0.5
    clip_narrowing: float = 0.3
    returns_kept: int = 20
    returns_needed: int = 10
    needs = ("advantages_BT", CLIP)
    numbers = (CLIP,)
    metrics = ("ppo_br/clip", "ppo_br/phi", "ppo_br/psi")
    ranges = {"clip_widening": (0.0, math.inf, True), "clip_narrowing": (0.0, 1.0, True)}
    ranges |= {"returns_kept": (2, math.inf, True), "returns_needed": (2, math.inf, True)}
    acts_only_off_policy = True

    def state(self, run) -> ReturnsWindow:
        """The last returns, and the clip that follows from them."""

        def scale(phi: float, psi: float) -> tuple[float, dict[str, float]]:
            factor = adaptive_clip(phi, psi, 1.0, self.clip_widening, self.clip_narrowing)
            return factor, dict(zip(self.metrics, (self.clip_high * factor, phi, psi), strict=True))

        return ReturnsWindow(CLIP, run.vocabulary, self.returns_kept, self.returns_needed, scale)

    def __call__(self, ratio, advantages_BT, **numbers):
        factor = float(numbers[CLIP])
        return ppo_min(ratio, advantages_BT, factor * self.clip_low, factor * self.clip_high, self.dual_clip)


PPO_BR = replace(
    PPO,
    name="ppo-br",
    citation="PPO-BR 2025, arXiv 2505.17714, with a third party's phi and psi, on PPO",
    surrogate=AdaptiveClip(clip_low=0.2, clip_high=0.2, dual_clip=None),
    sources=PPO.sources
    | {"clip_low": "the paper: eps_0", "clip_high": "the paper: eps_0", "dual_clip": "the paper has none"}
    | {"clip_widening": "the paper: lambda_1", "clip_narrowing": "the paper: lambda_2"}
    | {"returns_kept": "third party's code (notes: 10); of RL steps here (assumed)"}
    | {"returns_needed": "third party's code; of RL steps here (assumed)"},
)
