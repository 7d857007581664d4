"""PPO-min between bounds that are chosen in every update, so that rewarded tokens weigh enough (BAPO, 2510.18927)."""

import math
from dataclasses import dataclass

import torch

from reproduce.algorithms.parts.ratios import Ratio
from reproduce.algorithms.parts.surrogates import ppo_min
from reproduce.errors import UserError, one_of

FROM_0_TO_1, FROM_1, ABOVE_0 = (0.0, 1.0, True), (1.0, math.inf, True), (0.0, math.inf, False)


def steps(start: float, end: float, step: float) -> list[float]:
    """List start, start + step, ... up to and including end."""
    return [start + i * step for i in range(math.ceil((end - start) / step - 1e-9))] + [end]


@dataclass(frozen=True)
class BalancedClip:
    """min(delta A, clip(delta, low, high) A), with the first bounds of a search that meet balance_target.

    The mass of rewarded tokens is P = sum_{A > 0} min(delta, high) A, that of the others N = sum_{A < 0} max(delta,
    low) |A|, over the tokens of a call.

    balance_criterion: "ratio": P / N >= balance_target; "share": P / (P + N) >= it. Half of the mass is a ratio of 1.
    balance_order: "low_first": low goes from low_start to low_end by low_step, then high from high_start to high_end
        by high_step; "high_first": the other way round. If no bounds meet the target, both stand at their ends.
    balance_mass: "value" (released code, paper): as above, so that a higher low adds to N; "gradient" (ours): only
        tokens that no bound stops are in P and N, so that a higher low takes from N.
    dual_clip: as in PPO-min; read by the search only with mass "gradient".

    Metrics of an update: bapo/low and bapo/high, the bounds; bapo/share, P / (P + N) at them; bapo/met, 1 if the target
    is met; bapo/low_bound_effect, how much more P / (P + N) is with low at low_end than at low_start, high as found.
    """

    balance_criterion: str = "ratio"
    balance_order: str = "low_first"
    balance_mass: str = "value"
    balance_target: float = 1.0
    low_start: float = 0.6
    low_end: float = 0.8
    low_step: float = 0.05
    high_start: float = 1.2
    high_end: float = 2.0
    high_step: float = 0.05
    dual_clip: float | None = None
    needs = ("advantages_BT",)
    metrics = ("bapo/low", "bapo/high", "bapo/share", "bapo/met", "bapo/low_bound_effect")
    ranges = {
        "balance_target": ABOVE_0,
        **dict.fromkeys(("low_start", "low_end"), FROM_0_TO_1),
        **dict.fromkeys(("high_start", "high_end"), FROM_1),
        **dict.fromkeys(("low_step", "high_step"), ABOVE_0),
    }
    acts_only_off_policy = True
    over_one_call = True

    def __post_init__(self):
        one_of("balance_criterion", self.balance_criterion, ("ratio", "share"))
        one_of("balance_order", self.balance_order, ("low_first", "high_first"))
        one_of("balance_mass", self.balance_mass, ("value", "gradient"))

    def check(self, method: str) -> None:
        """Raise UserError for a search that ends below its start."""
        for side in ("low", "high"):
            start, end = getattr(self, f"{side}_start"), getattr(self, f"{side}_end")
            if end < start:
                raise UserError(f"{method}: {side}_end must be at least {side}_start, {start:g}, not {end:g}")

    @property
    def clip_range(self) -> tuple[float, float]:
        """The bounds that a search starts from, which metrics of the ratio go by."""
        return self.low_start, self.high_start

    def masses(self, ratio: Ratio, advantages_BT: torch.Tensor, low: float, high: float) -> tuple[float, float]:
        """Compute (P, N). ratio: delta (B, T). advantages_BT: A (B, T), 0 where masked out. low, high: bounds."""
        delta_BT, a_BT = ratio.value_BT.detach().double(), advantages_BT.double()
        up_BT, down_BT = delta_BT.clamp(max=high), delta_BT.clamp(min=low)
        if self.balance_mass == "gradient":
            stop = math.inf if self.dual_clip is None else self.dual_clip
            up_BT = torch.where(delta_BT > high, 0.0, delta_BT)
            down_BT = torch.where((delta_BT < low) | (delta_BT > stop), 0.0, delta_BT)
        return float((up_BT * a_BT.clamp(min=0)).sum()), float((down_BT * (-a_BT).clamp(min=0)).sum())

    def bounds(self, ratio: Ratio, advantages_BT: torch.Tensor) -> tuple[float, float]:
        """Search (low, high). ratio, advantages_BT: as in `masses`."""
        low, high = self.low_start, self.high_start
        for low, high in self._candidates():
            if self._met(*self.masses(ratio, advantages_BT, low, high)):
                break
        return low, high

    def _candidates(self) -> list[tuple[float, float]]:
        lows = steps(self.low_start, self.low_end, self.low_step)
        highs = steps(self.high_start, self.high_end, self.high_step)
        if self.balance_order == "low_first":
            return [(low, highs[0]) for low in lows] + [(lows[-1], high) for high in highs[1:]]
        return [(lows[0], high) for high in highs] + [(low, highs[-1]) for low in lows[1:]]

    def _met(self, positive: float, negative: float) -> bool:
        whole = negative if self.balance_criterion == "ratio" else positive + negative
        return positive >= self.balance_target * whole

    def __call__(self, ratio, advantages_BT):
        low, high = self.bounds(ratio, advantages_BT)
        masses = self.masses(ratio, advantages_BT, low, high)
        ends = [share(*self.masses(ratio, advantages_BT, end, high)) for end in (self.low_start, self.low_end)]
        found = (low, high, share(*masses), float(self._met(*masses)), ends[1] - ends[0])
        clipped = ppo_min(ratio, advantages_BT, 1.0 - low, high - 1.0, self.dual_clip)
        return clipped._replace(metrics=dict(zip(self.metrics, found, strict=True)))


def share(positive: float, negative: float) -> float:
    """Compute P / (P + N); a half where both are 0."""
    return positive / (positive + negative) if positive + negative > 0 else 0.5
