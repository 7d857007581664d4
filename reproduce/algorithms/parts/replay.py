"""SPEAR's self-imitation (arXiv 2509.22601): a buffer of good trajectories, when it is replayed, and both schedules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reproduce.algorithms.parts.advantages import GroupCentred
from reproduce.algorithms.parts.state import FurtherUpdate, RolloutBatch, State
from reproduce.seeding import child_seed

LEFT = ("prompt_ids", "prompt_mask")
RIGHT = ("completion_ids", "completion_mask", "tool_mask", "old_per_token_logps")
OF_STEP = ("spear/stored", "spear/replayed", "spear/weight", "spear/median")
OF_LOSS = {"spear/replay_loss": "loss", "spear/replay_outside": "outside_clip_fraction"}
SHARE, FROM_0, FROM_1 = (0.0, 1.0, False), (0.0, math.inf, True), (1, math.inf, True)


def rising(step: int, steps: int) -> float:
    """Compute (1 - cos(pi step / steps)) / 2, 1 from `steps` on: the replay's weight. step: from 0."""
    return (1.0 - math.cos(math.pi * min(step, steps) / steps)) / 2.0


def falling(step: int, steps: int) -> float:
    """Compute (1 + cos(pi step / steps)) / 2, 0 from `steps` on: the weight of the reward for tool calls."""
    return 1.0 - rising(step, steps)


def varied_most(rewards_B: Tensor, groups_B: Tensor, share: float) -> Tensor:
    """Mark the rows of the ceil(share G) of G groups whose rewards have the largest standard deviation.

    Ties go to the lower group id.

    Args:
        rewards_B: rewards (B,).
        groups_B: group ids (B,).
        share: above 0 and at most 1.

    Returns:
        keep_B (B,), bool.
    """
    ids, index_B = torch.unique(groups_B, return_inverse=True)
    spread = torch.stack([rewards_B[index_B == g].double().std(correction=0) for g in range(len(ids))])
    kept = spread.sort(descending=True, stable=True).indices[: math.ceil(share * len(ids) - 1e-9)]
    return torch.isin(index_B, kept)


class Replay(State):
    """The buffer, the first-in-first-out list of group means, and the updates on what is replayed.

    A stored trajectory is its rows, its reward R and the RL step that it is from; stored are those of positive
    advantage with a tool call. A step that begins with more than replay_trigger * replay_rows trajectories of R > P50,
    the median of the list, replays: a random subset of them, of the largest power of two that there is and at most
    replay_rows, with R - P50 as their advantage. The buffer is empty afterwards. A trajectory is dropped once
    it is more than replay_age RL steps old.

    part: `SelfImitation`. changes: overrides of the method for the replayed loss. seed: of the run.
    """

    name = "replay"
    reads = ("trajectories_B",)

    def __init__(self, part: "SelfImitation", changes: dict[str, Any], seed: int):
        self.part, self.changes, self.seed = part, changes, seed
        self.stored: list[dict] = []
        self.means: list[float] = []
        self._fresh: list[dict] = []
        self._fresh_means: list[float] = []
        self._replayed: list[dict] | None = None
        self._step, self._weight, self._median, self._minibatch = 0, 0.0, math.nan, 1

    def on_batch(self, batch: RolloutBatch) -> tuple[dict, dict[str, float]]:
        self._batch, self._step = batch, batch.outcomes.step
        size = self.part.replay_rows or len(batch.rewards_J)
        self._weight = self.part.replay_coefficient * rising(self._step, self.part.replay_ramp)
        self._median = float(torch.tensor(self.means, dtype=torch.float64).quantile(0.5)) if self.means else math.nan
        good = [one for one in self.stored if one["reward"] > self._median]
        replays = len(good) > self.part.replay_trigger * size
        self._replayed = chosen(good, size, self._draw("subset")) if replays else None
        found = (float(len(good)), float(len(self._replayed or ())), self._weight, self._median)
        return {}, dict(zip(self.part.metrics, found, strict=False))

    def _draw(self, name: str) -> int:
        return child_seed(self.seed, "replay", name, self._step)

    def on_advantages(self, advantages_BT: Tensor, mask_BT: Tensor) -> None:
        batch, self._batch = self._batch, None
        rewards_J, groups_J = batch.rewards_J, batch.outcomes.groups_J
        of_rows = batch.tensors["trajectories_B"]
        sums_B = torch.where(mask_BT, advantages_BT, 0.0).sum(1)
        sums_J = torch.zeros_like(rewards_J).index_add(0, of_rows, sums_B.to(rewards_J.dtype))
        good_J = (sums_J > 0) & (batch.outcomes.calls_J > 0)
        names = {name: batch.tensors[name].cpu() for name in (*LEFT, *RIGHT)}
        rows: dict[int, list[dict]] = {j: [] for j in good_J.nonzero()[:, 0].tolist()}
        for row, trajectory in enumerate(of_rows.tolist()):
            if trajectory in rows:
                rows[trajectory].append(trimmed({name: values[row] for name, values in names.items()}))
        self._fresh = [{"step": self._step, "reward": float(rewards_J[j]), "rows": own} for j, own in rows.items()]
        self._fresh_means = [float(rewards_J[groups_J == g].double().mean()) for g in groups_J.unique()]

    def further_updates(self):
        replayed = self._replayed or []
        rows = [(row, one["reward"] - self._median) for one in replayed for row in one["rows"]]
        if not rows or self._weight == 0:
            return
        for number, start in enumerate(range(0, len(rows), self._minibatch)):
            part = rows[start : start + self._minibatch]
            numbers = {"draw_seed": self._draw(f"tokens {number}")}
            yield FurtherUpdate(self.changes, padded_rows(part), numbers, self._weight, dict(OF_LOSS))

    def on_minibatch(self, tensors, mask_BT) -> dict[str, float]:
        self._minibatch = max(self._minibatch, len(mask_BT))
        return {}

    def on_step_end(self) -> None:
        kept = [] if self._replayed is not None else self.stored
        self.stored = [one for one in kept if self._step - one["step"] <= self.part.replay_age] + self._fresh
        self.means = [*self.means, *self._fresh_means][-self.part.replay_baselines :]
        self._fresh, self._fresh_means, self._replayed, self._minibatch = [], [], None, 1

    def state_dict(self) -> dict:
        return {"stored": self.stored, "means": self.means}

    def load_state_dict(self, state: dict) -> None:
        self.stored, self.means = list(state["stored"]), list(state["means"])
        for row in (row for one in self.stored for row in one["rows"]):
            row.update({name: values.cpu() for name, values in row.items()})


def chosen(good: Sequence[dict], size: int, seed: int) -> list[dict]:
    """Draw the largest power of two of `good` that there is, at most `size`, without replacement."""
    count = min(size, 1 << (len(good).bit_length() - 1)) if good else 0
    order = torch.randperm(len(good), generator=torch.Generator().manual_seed(seed))
    return [good[i] for i in order[:count].tolist()]


def trimmed(row: dict[str, Tensor]) -> dict[str, Tensor]:
    """The row without padding."""
    prompt, completion = row["prompt_mask"].bool(), row["completion_mask"].bool()
    return {name: values[prompt if name in LEFT else completion].clone() for name, values in row.items()}


def padded_rows(rows: Sequence[tuple[dict[str, Tensor], float]]) -> dict[str, Tensor]:
    """The batch of trimmed rows, each with its advantage: prompts are padded on the left, all else on the right."""
    found = {}
    for names, left in ((LEFT, True), (RIGHT, False)):
        width = max(len(row[names[0]]) for row, _ in rows)
        for name in names:
            pads = [width - len(row[name]) for row, _ in rows]
            sides = [(pad, 0) if left else (0, pad) for pad in pads]
            pairs = zip(rows, sides, strict=True)
            found[name] = torch.stack([torch.nn.functional.pad(row[name], side) for (row, _), side in pairs])
    advantages_B = torch.tensor([advantage for _, advantage in rows], dtype=found["old_per_token_logps"].dtype)
    found["advantages"] = advantages_B[:, None].expand(found["completion_mask"].shape).clone()
    return found


@dataclass(frozen=True)
class MostVaried(GroupCentred):
    """R - group mean in the varied_share of the groups whose rewards have the largest standard deviation, else 0."""

    varied_share: float = 0.75
    ranges = {"varied_share": SHARE}

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        advantages_BT, metrics = super().__call__(rewards_B, groups_B, tensors, mask_BT)
        return advantages_BT * varied_most(rewards_B, groups_B, self.varied_share)[:, None], metrics


@dataclass(frozen=True)
class SelfImitation:
    """Replay of good trajectories; it adds nothing to the loss of the step's own updates.

    replay_rows: trajectories of the buffer; None: those of a rollout batch. replay_trigger, replay_baselines,
    replay_age, replay_ramp, replay_coefficient: as of `Replay`. replay_drop, replay_low, replay_high: Clip-Cov's
    settings in replay. Metrics of a step: spear/stored (trajectories above P50 at its start), spear/replayed,
    spear/weight, spear/median, and of its replay spear/replay_loss (before the weight) and spear/replay_outside.
    """

    replay_rows: int | None = None
    replay_trigger: float = 1.5
    replay_baselines: int = 10240
    replay_age: int = 5
    replay_ramp: int = 300
    replay_coefficient: float = 1.0
    replay_drop: float = 2e-4
    replay_low: float = 1.0
    replay_high: float = 5.0
    needs = ()
    own_aggregation = True
    metrics = (*OF_STEP, *OF_LOSS)
    ranges = dict.fromkeys(("replay_rows", "replay_baselines", "replay_ramp"), FROM_1)
    ranges |= dict.fromkeys(("replay_trigger", "replay_age", "replay_coefficient"), FROM_0) | {"replay_drop": SHARE}

    @property
    def active(self) -> bool:
        return self.replay_coefficient != 0

    def state(self, run) -> Replay:
        """The buffer."""
        changes = {"regularisers": "none", "covariance_drop": self.replay_drop}
        changes |= {"covariance_low": self.replay_low, "covariance_high": self.replay_high}
        return Replay(self, changes, run.seed)

    def __call__(self, tensors, mask_BT, normalizer, rows):
        return tensors["logps_BT"].new_zeros(()), {}
