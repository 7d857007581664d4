"""Entropy held at a target by the temperature of side rows, or of the distribution that correct rows are compared with
(arXiv 2510.08141).
"""

import math
from dataclasses import dataclass, replace

import torch

from reproduce.algorithms.parts.advantages import GroupZScore
from reproduce.algorithms.parts.state import SideRows, State
from reproduce.errors import one_of

ENTROPY, TARGET, TILT = "control_entropy", "control_target", "tilt_BT"
ABOVE_0, SHARE, FROM_0 = (0.0, math.inf, False), (0.0, 1.0, False), (0.0, math.inf, True)


@dataclass(frozen=True)
class EntropyControl(GroupZScore):
    """The group z-score, and what both controlled methods share.

    entropy_target: H*. target_unit: "nats", or "start": H* is that share of the first rollout batch's entropy.
    temperature_high, temperature_low: T while the entropy is at most H*, and above; factors of the run's temperature.
    """

    entropy_target: float = 0.5
    target_unit: str = "nats"
    temperature_high: float = 1.2
    temperature_low: float = 0.8
    ranges = dict.fromkeys(("entropy_target", "temperature_high", "temperature_low"), ABOVE_0)

    def __post_init__(self):
        one_of("target_unit", self.target_unit, ("nats", "start"))


class Controller(State):
    """The entropy that T follows: mean of -log pi over the tokens of a step's updates; 0 before the first.

    part: its settings. run: services of the run.
    """

    name = "entropy control"

    def __init__(self, part: EntropyControl, run):
        self.part, self._run = part, run
        self.entropy, self._start = 0.0, math.nan
        self._surprise, self._tokens = 0.0, 0

    @property
    def target(self) -> float:
        """H* in nats; before the first rollout batch inf if it is a share of the start's."""
        if self.part.target_unit == "nats":
            return self.part.entropy_target
        return math.inf if math.isnan(self._start) else self.part.entropy_target * self._start

    @property
    def temperature(self) -> float:
        """T, as a factor of the run's."""
        return self.part.temperature_high if self.entropy <= self.target else self.part.temperature_low

    def on_batch(self, batch):
        used = self.temperature
        if math.isnan(self._start):
            sides_BT = batch.tensors.get("sides_BT")
            own_BT = batch.mask_BT if sides_BT is None else batch.mask_BT & (sides_BT != 1)
            self._start = -float(batch.tensors["old_per_token_logps"][own_BT].double().mean())
        found = {"control/entropy": self.entropy, "control/target": self.target, "control/temperature": used}
        return self._tensors(batch, used), found

    def _tensors(self, batch, temperature: float) -> dict:
        return {}

    def numbers(self) -> dict[str, float]:
        return {ENTROPY: self.entropy, TARGET: self.target}

    def on_loss(self, logps_BT, mask_BT) -> None:
        self._surprise -= float(logps_BT[mask_BT].double().sum())
        self._tokens += int(mask_BT.sum())

    def on_step_end(self) -> None:
        if self._tokens:
            self.entropy = self._surprise / self._tokens
        self._surprise, self._tokens = 0.0, 0

    def state_dict(self) -> dict:
        return {"entropy": self.entropy, "start": self._start}

    def load_state_dict(self, state: dict) -> None:
        self.entropy, self._start = state["entropy"], state["start"]


class SideSampler(Controller):
    """The controller that asks for side rows at T."""

    reads = ("sides_BT",)

    def sampling(self, planned):
        rows = SideRows(self.part.side_share, self.temperature * planned.temperature)
        return replace(planned, side_rows=rows)


@dataclass(frozen=True)
class SideRowsAtTarget(EntropyControl):
    """Group z-scores; the first n side rows above side_threshold have advantage 1 and take the first n own rows' place.

    n is at most side_most of the own rows, rounded up, and is halved, rounded down, while the entropy is above H*.

    side_share: share of the step's questions that are sampled again at T. Metrics: control/entropy, the entropy that T
    was chosen by; control/target, H*, both in nats; control/temperature, T as a factor; control/side_rows, n, and
    control/candidates, out of how many.
    """

    side_share: float = 0.25
    side_threshold: float = 0.05
    side_most: float = 60 / 2560
    needs = ("sides_BT", ENTROPY, TARGET)
    metrics = tuple(f"control/{name}" for name in ("entropy", "target", "temperature", "side_rows", "candidates"))
    ranges = EntropyControl.ranges | {"side_share": SHARE, "side_most": SHARE, "side_threshold": FROM_0}

    def state(self, run) -> SideSampler:
        """The controller."""
        return SideSampler(self, run)

    def _chosen(self, rewards_B, groups_B, tensors, mask_BT):
        """(z-scores (B, T), which rows are side rows, which of them are trained on, which own rows give way, and how
        many side rows are above the threshold).
        """
        zscores_BT, _ = super().__call__(rewards_B, groups_B, tensors, mask_BT)
        side_B = (mask_BT & (tensors["sides_BT"] == 1)).any(1)
        good_B = side_B & (zscores_BT[:, 0] > self.side_threshold)
        count = min(math.ceil(self.side_most * int((~side_B).sum())), int(good_B.sum()))
        count = count // 2 if tensors[ENTROPY] > tensors[TARGET] else count
        trained_B, gone_B = (rows_B & (rows_B.cumsum(0) <= count) for rows_B in (good_B, ~side_B))
        return zscores_BT, side_B, trained_B, gone_B, int(good_B.sum())

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        zscores_BT, side_B, trained_B, gone_B, candidates = self._chosen(rewards_B, groups_B, tensors, mask_BT)
        advantages_BT = torch.where((side_B | gone_B)[:, None], 0.0, zscores_BT)
        found = {"control/side_rows": float(trained_B.sum()), "control/candidates": float(candidates)}
        return torch.where(trained_B[:, None], 1.0, advantages_BT), found

    def trained_rows(self, rewards_B, groups_B, tensors, mask_BT):
        """Mark all rows but own rows that give way and side rows that take no place."""
        _, side_B, trained_B, gone_B, _ = self._chosen(rewards_B, groups_B, tensors, mask_BT)
        return trained_B | ~(side_B | gone_B)


class Tilter(Controller):
    """The controller that compares tokens with the same logits at T."""

    makes = (TILT,)

    def sampling(self, planned):
        self._planned = planned.temperature
        return planned

    def _tensors(self, batch, temperature: float) -> dict:
        own_BT = self._run.logps(batch.tensors)
        other_BT = self._run.logps(batch.tensors, temperature=temperature * self._planned)
        return {TILT: torch.where(batch.mask_BT, other_BT - own_BT, 0.0)}


@dataclass(frozen=True)
class TiltedAdvantage(EntropyControl):
    """(1 - alpha) A + alpha 1[correct] exp(log pi^(T) - log pi) at every token, A the group z-score.

    alpha = x / (1 + x), x = min(|H* - H|, gap_most) / share of correct trajectories. Metrics: as of `SideRowsAtTarget`,
    and control/alpha.
    """

    gap_most: float = 0.1
    needs = ("correct_BT", TILT, ENTROPY, TARGET)
    metrics = tuple(f"control/{name}" for name in ("entropy", "target", "temperature", "alpha"))
    ranges = EntropyControl.ranges | {"gap_most": FROM_0}

    def state(self, run) -> Tilter:
        """The controller."""
        return Tilter(self, run)

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        zscores_BT, _ = super().__call__(rewards_B, groups_B, tensors, mask_BT)
        correct_B = (mask_BT & (tensors["correct_BT"] == 1)).any(1)
        share = float(correct_B.double().mean())
        x = min(abs(tensors[TARGET] - tensors[ENTROPY]), self.gap_most) / share if share else 0.0
        alpha = x / (1 + x)
        tilted_BT = torch.where(correct_B[:, None], tensors[TILT].exp(), 0.0)
        return (1 - alpha) * zscores_BT + alpha * tilted_BT, {"control/alpha": alpha}
