"""Turn a composition of parts into advantages, a loss and metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reproduce.algorithms.parts import PARTS, TokenRatio, part_name
from reproduce.algorithms.parts.state import RunServices, State
from reproduce.algorithms.settings import checked, flat_settings, override
from reproduce.errors import UserError

LOSS_METRICS = ("regulariser_loss", "kept_gradient_fraction", "token_level_advantage_fraction")
"""Metrics of `Algorithm.loss` that describe the effect of a method's parts."""
SAMPLER = "sampler_logps_BT"
"""The sampler's log-probabilities, which only a method reads that weights by them itself."""


@dataclass(frozen=True)
class Algorithm:
    """loss = Aggregate(token_weight * -surrogate(ratio, advantage)) + sum Aggregate(regulariser).

    With a critic there is also `value_loss`, which shares no parameter with `loss`.

    Every field from `rollout` to `critic` is a slot; `reproduce.algorithms.parts` lists what fits in. Instances are
    frozen and check their settings when they are made. `with_overrides` returns a changed copy.

    sources: setting or slot -> where its published value comes from. A part may name the sources of its own defaults.
    """

    name: str
    citation: str
    rollout: object
    advantage: object
    surrogate: object
    aggregation: object
    ratio: object = TokenRatio()
    token_weight: object | None = None
    regularisers: tuple = ()
    group_filter: object | None = None
    reward_shaping: object | None = None
    critic: object | None = None
    sources: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self):
        for slot in ("rollout", "advantage", "ratio", "surrogate", "aggregation"):
            if getattr(self, slot) is None:
                raise UserError(f"{self.name}: {slot} cannot be empty; choose one of {', '.join(PARTS[slot])}")
        if (self.critic is not None) != ("values_BT" in self.advantage_needs):
            part = part_name("advantage", self.advantage)
            raise UserError(
                f"{self.name}: advantage part {part!r} reads no values; set critic to none, or advantage to gae"
                if self.critic is not None
                else f"{self.name}: advantage part {part!r} needs values_BT, which a critic gives; set critic to token"
            )
        for key, (slot, index, value) in flat_settings(self.parts()).items():
            checked(self.name, self.parts()[slot][index], key, value)
        for part in (part for members in self.parts().values() for part in members if hasattr(part, "check")):
            part.check(self.name)

    def parts(self) -> dict[str, tuple]:
        """List the parts of every slot as slot -> tuple."""
        values = {slot: getattr(self, slot) for slot in PARTS}
        return {
            slot: tuple(value) if slot == "regularisers" else () if value is None else (value,)
            for slot, value in values.items()
        }

    def with_overrides(self, **overrides) -> "Algorithm":
        """Return a copy with other parts (by slot) or settings (by name). Raises UserError as `load` does."""
        return override(self, overrides)

    @property
    def settings(self) -> dict:
        """All that defines the method, flat and JSON-able: the parts' names by slot, and every part's settings.

        `load(algorithm.name, **algorithm.settings)` gives the same algorithm if all of its parts have names.
        """
        parts = self.parts()
        names = {slot: part_name(slot, members[0] if members else None) for slot, members in parts.items()}
        names["regularisers"] = [part_name("regularisers", part) for part in self.regularisers]
        return names | {key: value for key, (_, _, value) in flat_settings(parts).items()}

    def loss_parts(self) -> list[tuple[str, object]]:
        """List (slot, part) for every part that the loss calls."""
        slots = ("ratio", "surrogate", "token_weight", "aggregation")
        parts = [(slot, getattr(self, slot)) for slot in slots if getattr(self, slot) is not None]
        return parts + [("regularisers", part) for part in self._active_regularisers()]

    def states(self, run: RunServices) -> list[State]:
        """Make the states of the method's parts for a run, in the order of the slots."""
        active = [*self._active_regularisers(), *(getattr(self, slot) for slot in PARTS if slot != "regularisers")]
        made = [part.state(run) for part in active if hasattr(part, "state")]
        return [state for state in made if state is not None]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that the method's parts report, in the order of the slots."""
        declared = [getattr(part, "metrics", ()) for members in self.parts().values() for part in members]
        return tuple(dict.fromkeys([*LOSS_METRICS, *(name for names in declared for name in names)]))

    @property
    def clip_range(self) -> tuple[float, float]:
        """(1 - clip_low, 1 + clip_high) of the surrogate."""
        return self.surrogate.clip_range

    @property
    def advantage_needs(self) -> tuple[str, ...]:
        """Names of the tensors that `advantages` requires beyond rewards, groups and mask."""
        return tuple(getattr(self.advantage, "needs", ()))

    @property
    def advantage_compares_groups(self) -> bool:
        """Whether a trajectory's advantage depends on the other trajectories of its question."""
        return getattr(self.advantage, "compares_groups", True)

    @property
    def loss_needs(self) -> tuple[str, ...]:
        """Names of the tensors and numbers that `loss` requires beyond the mask."""
        return tuple(dict.fromkeys(name for _, part in self.loss_parts() for name in getattr(part, "needs", ())))

    @property
    def dynamic_sampling(self) -> bool:
        """Whether groups with equal rewards are replaced by freshly sampled ones."""
        return self.group_filter is not None and self.group_filter.dynamic_sampling

    @property
    def max_generation_batches(self) -> int:
        """How many generation batches may be sampled to fill one training batch; 1 without dynamic sampling."""
        return self.group_filter.max_generation_batches if self.dynamic_sampling else 1

    def filter_groups(self, rewards_B: Tensor, groups_B: Tensor) -> Tensor:
        """Mark the rows of the groups that dynamic sampling keeps.

        Args:
            rewards_B: the task's rewards (B,), before any overlong penalty: DAPO filters on accuracy.
            groups_B: group ids (B,), int64.

        Returns:
            keep_B (B,), bool; all True without dynamic sampling.
        """
        if not self.dynamic_sampling:
            return torch.ones_like(rewards_B, dtype=torch.bool)
        return self.group_filter(rewards_B, groups_B)

    def overlong_penalty(self, lengths_B: Tensor, max_length: int) -> Tensor | None:
        """Compute the penalty on long completions.

        Args:
            lengths_B: completion lengths (B,), in tokens.
            max_length: the length at which completions are cut, in tokens.

        Returns:
            penalty_B (B,), at most 0, to be added to the rewards; None if the method has no such penalty.
        """
        if self.reward_shaping is None or not self.reward_shaping.overlong_penalty:
            return None
        return self.reward_shaping(lengths_B, max_length)

    def advantages(self, rewards_B, groups_B, mask_BT, *, entropies_BT=None, **extra) -> Tensor:
        """Compute the advantages of a whole rollout batch.

        Statistics over tokens span all rows given, so call this once per rollout batch, not per micro-batch.

        Args:
            rewards_B: rewards (B,), float.
            groups_B: group ids (B,), int64.
            mask_BT: loss mask (B, T), True or 1 at the tokens that are trained on.
            entropies_BT: token entropies at rollout (B, T), in nats.
            **extra: other tensors that the advantage part reads, by name (`advantage_needs`).

        Returns:
            advantages_BT (B, T), without gradient, 0 outside the mask.

        Raises:
            ValueError: a tensor is missing or has another shape; the message names method, part and tensor.
        """
        return self.advantages_and_metrics(rewards_B, groups_B, mask_BT, entropies_BT=entropies_BT, **extra)[0]

    def advantages_and_metrics(
        self, rewards_B, groups_B, mask_BT, *, entropies_BT=None, **extra
    ) -> tuple[Tensor, dict[str, float]]:
        """Compute what `advantages` returns, and the metrics of the advantage part (none for a plain group z-score)."""
        mask_BT = mask_BT.bool()
        tensors = _clean(self.name, mask_BT, {"entropies_BT": entropies_BT} | extra)
        self._require([("advantage", self.advantage)], tensors)
        if len(rewards_B) != len(mask_BT):
            raise ValueError(f"{self.name}: rewards_B has {len(rewards_B)} rows, mask_BT {len(mask_BT)}")
        advantages_BT, metrics = self.advantage(rewards_B, groups_B, tensors, mask_BT)
        return torch.where(mask_BT, advantages_BT, 0.0).detach(), metrics

    def trained_rows(self, rewards_B, groups_B, mask_BT, **extra) -> Tensor:
        """Mark the rows of a rollout batch that updates hold, with side rows in it; arguments as of `advantages`.

        Returns:
            keep_B (B,), bool; all True unless the advantage part has `trained_rows`.
        """
        choose = getattr(self.advantage, "trained_rows", None)
        if choose is None:
            return torch.ones_like(rewards_B, dtype=torch.bool)
        return choose(rewards_B, groups_B, _clean(self.name, mask_BT.bool(), extra), mask_BT.bool())

    def returns(self, rewards_B, mask_BT, values_BT) -> Tensor:
        """Compute the returns that the critic is fitted to, for the whole rollout batch.

        Args:
            rewards_B: rewards (B,).
            mask_BT: loss mask (B, T).
            values_BT: the critic's values at rollout (B, T).

        Returns:
            returns_BT (B, T), without gradient, 0 outside the mask.

        Raises:
            ValueError: the method has no critic.
        """
        self._require_critic()
        mask_BT = mask_BT.bool()
        values_BT = _clean(self.name, mask_BT, {"values_BT": values_BT})["values_BT"]
        return self.advantage.returns(rewards_B, values_BT, mask_BT).detach()

    def value_loss(
        self, values_BT: Tensor, old_values_BT: Tensor, returns_BT: Tensor, mask_BT: Tensor, *, normalizer=None
    ) -> tuple[Tensor, dict[str, float]]:
        """Compute the critic's loss. Whatever is outside the mask changes neither loss nor gradient.

        Args:
            values_BT: the critic's values now (B, T), the only input with gradient.
            old_values_BT: its values at rollout (B, T).
            returns_BT: the returns (B, T).
            mask_BT: loss mask (B, T).
            normalizer: as in `loss`.

        Returns:
            The scalar loss, and the metrics value_loss and value_clip_fraction (share of tokens without gradient).

        Raises:
            ValueError: as `loss`, and if the method has no critic.
        """
        self._require_critic()
        mask_BT = mask_BT.bool()
        given = {"values_BT": values_BT, "old_values_BT": old_values_BT, "returns_BT": returns_BT}
        tensors = _clean(self.name, mask_BT, given)
        self._require([("critic", self.critic)], tensors)
        loss, clipped = self.critic(*(tensors[name] for name in given), mask_BT, normalizer)
        return loss, {"value_loss": float(loss.detach()), "value_clip_fraction": float(clipped)}

    def _require_critic(self) -> None:
        if self.critic is None:
            raise ValueError(f"{self.name} has no critic; load it with advantage='gae' and critic='token'")

    def loss(
        self,
        logps_BT: Tensor,
        old_logps_BT: Tensor,
        advantages_BT: Tensor,
        mask_BT: Tensor,
        *,
        entropies_BT: Tensor | None = None,
        sampler_weights_BT: Tensor | None = None,
        normalizer: float | Tensor | None = None,
        rows: int | None = None,
        **extra,
    ) -> tuple[Tensor, dict[str, float]]:
        """Compute the scalar loss to minimise, and its metrics.

        Only `logps_BT` (and a part's own inputs) carry gradient. Whatever is outside the mask, NaN and inf included,
        changes neither loss nor gradient.

        An update batch is all that enters one optimiser step. If you split it into micro-batches, pass `normalizer` and
        `rows` of the whole batch and add the micro-batch losses; do not divide by their number. Each aggregation reads
        the one it needs.

        Args:
            logps_BT: log pi of the sampled tokens (B, T), in nats.
            old_logps_BT: log pi_old (B, T), in nats.
            advantages_BT: advantages, (B, T) or (B,).
            mask_BT: loss mask (B, T), True or 1 at the tokens that are trained on.
            entropies_BT: entropies of the current policy (B, T), in nats, for parts that read them.
            sampler_weights_BT: factors (B, T) on each token's surrogate where another implementation sampled it
                (`training.sampler_weights`). A method that weights by the sampler's log-probabilities itself ignores
                them.
            normalizer: loss-mask tokens of the update batch; None counts the tokens given.
            rows: rows of the update batch; None counts the rows given.
            **extra: other tensors and numbers that parts read by name, such as `rl_step` (`loss_needs`).

        Returns:
            The loss, and metrics over the loss-mask tokens given (weight them by `tokens` to average micro-batches):
                tokens; ratio_mean and ratio_max; approx_kl (k3 estimate of KL(pi_old || pi), nats);
                outside_clip_fraction (ratio outside `clip_range`, whatever the advantage's sign); clip_fraction_low and
                _high (gradient removed or bounded because the ratio is too low or too high); kept_gradient_fraction
                (bounded but not removed); token_level_advantage_fraction (tokens of rows whose advantage differs
                between tokens: 0 if an entropy-aware advantage never reached the loss); regulariser_loss; and what the
                regularisers report.

        Raises:
            ValueError: a tensor is missing or has another shape; the message names method, part and tensor.
        """
        mask_BT = mask_BT.bool()
        if advantages_BT is not None and advantages_BT.dim() == 1:
            advantages_BT = advantages_BT[:, None].expand(mask_BT.shape)
        given = {"logps_BT": logps_BT, "old_logps_BT": old_logps_BT, "advantages_BT": advantages_BT}
        given |= {"entropies_BT": entropies_BT, "sampler_weights_BT": sampler_weights_BT, "clip_range": self.clip_range}
        tensors = _clean(self.name, mask_BT, given | extra)
        self._require(self.loss_parts(), tensors)
        advantages_BT = tensors["advantages_BT"].detach()

        ratio = self.ratio(tensors, mask_BT)
        numbers = {name: tensors[name] for name in getattr(self.surrogate, "numbers", ())}
        surrogate = self.surrogate(ratio, advantages_BT, **numbers)
        self._require_declared("surrogate", self.surrogate, surrogate.metrics)
        values_BT, reported = -surrogate.objective_BT, dict(surrogate.metrics)
        if self.token_weight is not None:
            weight = self.token_weight(tensors, mask_BT)
            weight_BT, found = weight if isinstance(weight, tuple) else (weight, {})
            self._require_declared("token_weight", self.token_weight, found)
            values_BT, reported = values_BT * weight_BT, reported | found
        if sampler_weights_BT is not None and SAMPLER not in self.loss_needs:
            values_BT = values_BT * tensors["sampler_weights_BT"].detach()
        loss = self.aggregation(values_BT, mask_BT, normalizer, rows)
        regularisation = loss.new_zeros(())
        for part in self._active_regularisers():
            own = getattr(part, "own_aggregation", False)
            value = part(tensors, mask_BT, normalizer, rows) if own else part(tensors, mask_BT)
            value, found = value if isinstance(value, tuple) else (value, {})
            self._require_declared("regularisers", part, found)
            reported |= found
            regularisation = regularisation + (value if own else self.aggregation(value, mask_BT, normalizer, rows))
        metrics = _metrics(ratio, surrogate, advantages_BT, mask_BT, self.clip_range, regularisation)
        return loss + regularisation, metrics | reported

    def _active_regularisers(self) -> list:
        return [part for part in self.regularisers if getattr(part, "active", True)]

    def _require_declared(self, slot: str, part, reported: Mapping):
        """ValueError for a metric that a part reports and does not declare: a run would have no column for it."""
        for name in reported.keys() - set(getattr(part, "metrics", ())):
            kind = part_name(slot, part)
            raise ValueError(f"{self.name}: {slot} part {kind!r} reports {name}, which is not in its metrics")

    def _require(self, parts: list[tuple[str, object]], tensors: dict):
        """ValueError for the first tensor that one of `parts` reads and `tensors` lacks."""
        for slot, part in parts:
            for name in getattr(part, "needs", ()):
                if tensors.get(name) is None:
                    raise ValueError(
                        f"{self.name}: {slot} part {part_name(slot, part)!r} needs {name}, which was not given"
                    )


def _clean(method: str, mask_BT: Tensor, tensors: dict) -> dict:
    """The tensors, with masked-out entries of every floating one set to 0; names ending in _BT must be (B, T)."""
    cleaned = {}
    for name, value in tensors.items():
        if name.endswith("_BT") and value is not None and value.shape != mask_BT.shape:
            raise ValueError(f"{method}: {name} has shape {tuple(value.shape)}, but mask_BT {tuple(mask_BT.shape)}")
        if isinstance(value, Tensor) and value.shape == mask_BT.shape and value.is_floating_point():
            value = torch.where(mask_BT, value, 0.0)
        cleaned[name] = value
    return cleaned


@torch.no_grad()
def _metrics(ratio, surrogate, advantages_BT, mask_BT, clip_range, regularisation) -> dict[str, float]:
    """The metrics documented at `Algorithm.loss`, moved to the host in one copy."""
    tokens = mask_BT.sum().clamp(min=1)
    value_BT = torch.where(mask_BT, ratio.value_BT.expand(mask_BT.shape), 0.0)
    low, high = clip_range
    varied_B = (mask_BT & (advantages_BT != _first(advantages_BT, mask_BT))).any(-1)
    fractions = {
        "ratio_mean": value_BT,
        "approx_kl": torch.where(mask_BT, value_BT - 1.0 - value_BT.clamp(min=1e-30).log(), 0.0),
        "outside_clip_fraction": (value_BT < low) | (value_BT > high),
        "clip_fraction_low": surrogate.low_BT,
        "clip_fraction_high": surrogate.high_BT,
        "kept_gradient_fraction": surrogate.kept_BT,
        "token_level_advantage_fraction": varied_B[:, None].expand(mask_BT.shape),
    }
    dtype = value_BT.dtype
    values = {name: (tensor.to(dtype) * mask_BT).sum() / tokens for name, tensor in fractions.items()}
    values["ratio_max"] = value_BT.amax() if value_BT.numel() else value_BT.new_zeros(())
    values["tokens"] = mask_BT.sum().to(dtype)
    values["regulariser_loss"] = regularisation.to(dtype)
    return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))


def _first(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """(B, 1): each row's value at its first loss-mask token."""
    if values_BT.shape[1] == 0:
        return values_BT.new_zeros((values_BT.shape[0], 1))
    return values_BT.gather(1, mask_BT.to(torch.int64).argmax(-1, keepdim=True))
