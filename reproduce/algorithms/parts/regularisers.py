"""Terms that are added to the loss, per token.

Parts: (tensors, mask_BT) -> value_BT, aggregated like the surrogate; or (value_BT, dict of floats), with metrics.

With `own_aggregation = True` the call is (tensors, mask_BT, normalizer, rows) -> (scalar, dict of floats): the part
aggregates itself, by the numbers of the whole update batch.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from reproduce.algorithms.parts import aggregation
from reproduce.algorithms.parts import epo_terms as epo
from reproduce.algorithms.parts.entropy_history import EntropyHistory
from reproduce.algorithms.parts.ratios import k3
from reproduce.algorithms.parts.state import RunServices
from reproduce.algorithms.parts.turn_means import trajectory_turns, turn_weights
from reproduce.errors import UserError, one_of


def reference_kl(
    logps_BT: Tensor, ref_logps_BT: Tensor, mask_BT: Tensor, log_bound: float = 20.0, bound: float = math.inf
) -> Tensor:
    """Compute k3 of log pi_ref - log pi, GRPO's penalty (DeepSeekMath eq. 4; TRL `beta`): an estimate of KL(pi ||
    pi_ref).

    Args:
        logps_BT: log pi (B, T), in nats.
        ref_logps_BT: log pi_ref (B, T), in nats, taken without gradient.
        mask_BT: loss mask (B, T).
        log_bound: the log-ratio is clamped to +- this, in nats.
        bound: the estimate is clamped to this, in nats (10 in verl); beyond it there is no gradient.

    Returns:
        k3_BT (B, T), in nats, 0 outside the mask.
    """
    zero = logps_BT.new_zeros(())
    log_BT = torch.where(mask_BT, ref_logps_BT.detach(), zero) - torch.where(mask_BT, logps_BT, zero)
    return k3(log_BT.clamp(-log_bound, log_bound)).clamp(max=bound)


@dataclass(frozen=True)
class ReferenceKL:
    """kl_coefficient * k3 estimate of KL(pi || pi_ref). Reads ref_logps_BT, and nothing at coefficient 0."""

    kl_coefficient: float = 0.0

    @property
    def active(self) -> bool:
        return self.kl_coefficient != 0

    @property
    def needs(self) -> tuple[str, ...]:
        return ("ref_logps_BT",) if self.active else ()

    def __call__(self, tensors, mask_BT):
        kl_BT = reference_kl(tensors["logps_BT"], tensors["ref_logps_BT"], mask_BT)
        return self.kl_coefficient * kl_BT


@dataclass(frozen=True)
class BoundedReferenceKL(ReferenceKL):
    """`ReferenceKL` whose estimate is cut at kl_bound nats (verl's low_var_kl)."""

    kl_bound: float = 10.0

    def __call__(self, tensors, mask_BT):
        kl_BT = reference_kl(tensors["logps_BT"], tensors["ref_logps_BT"], mask_BT, bound=self.kl_bound)
        return self.kl_coefficient * kl_BT


@dataclass(frozen=True)
class EntropyBonus:
    """-entropy_bonus * mean of the token entropies (EPO-Base, arXiv 2509.22576, section 4.1).

    entropy_aggregation: "turns" is EPO's mean over trajectories, their turns, their tokens (eq. 2), whatever the
    surrogate's aggregation; "tokens" is the mean over all loss-mask tokens (released code). Rows are whole
    trajectories. If they are single turns, pass turn_weights_BT and trajectory_turns_B too (`parts.turn_means`).
    """

    entropy_bonus: float = 0.001
    entropy_aggregation: str = "turns"
    own_aggregation = True

    def __post_init__(self):
        one_of("entropy_aggregation", self.entropy_aggregation, ("turns", "tokens"))

    @property
    def active(self) -> bool:
        return self.entropy_bonus != 0

    @property
    def needs(self) -> tuple[str, ...]:
        return ("entropies_BT", "turns_BT") if self.entropy_aggregation == "turns" else ("entropies_BT",)

    def mean(self, values_BT, tensors, mask_BT, normalizer, rows):
        """Average token values (B, T) in this part's aggregation, to a scalar."""
        if self.entropy_aggregation == "tokens":
            return aggregation.token_mean(values_BT, mask_BT, normalizer)
        weights_BT = tensors.get("turn_weights_BT")
        if weights_BT is None:
            weights_BT = turn_weights(mask_BT, tensors["turns_BT"], dtype=values_BT.dtype)
        return (weights_BT * values_BT).sum() / max(1.0, float(mask_BT.shape[0] if rows is None else rows))

    def __call__(self, tensors, mask_BT, normalizer, rows):
        height = self.mean(tensors["entropies_BT"], tensors, mask_BT, normalizer, rows)
        return -self.entropy_bonus * height, {}


@dataclass(frozen=True)
class DecayingEntropyBonus(EntropyBonus):
    """`EntropyBonus` whose weight falls from decay_start to decay_end times entropy_bonus (EPO-Decay).

    decay_by "turn": with a token's turn, first to last of its trajectory (section 5.4 and its analysis); "step": with
    the RL step, first to last of the training (appendix B.4.1). The weight is decay_end + (decay_start - decay_end)
    exp(-decay_rate * position), position from 0 to 1.
    """

    decay_by: str = "turn"
    decay_start: float = 2.0
    decay_end: float = 1.0
    decay_rate: float = 3.0

    def __post_init__(self):
        super().__post_init__()
        one_of("decay_by", self.decay_by, ("turn", "step"))

    @property
    def needs(self) -> tuple[str, ...]:
        position = ("turns_BT",) if self.decay_by == "turn" else ("rl_step", "rl_steps")
        return tuple(dict.fromkeys(super().needs + position))

    def __call__(self, tensors, mask_BT, normalizer, rows):
        position_BT = self._position(tensors, mask_BT)
        weight_BT = epo.position_weight(position_BT, self.decay_start, self.decay_end, self.decay_rate)
        height = self.mean(weight_BT * tensors["entropies_BT"], tensors, mask_BT, normalizer, rows)
        return -self.entropy_bonus * height, {}

    def _position(self, tensors, mask_BT):
        dtype = tensors["entropies_BT"].dtype
        if self.decay_by == "step":
            position = tensors["rl_step"] / max(1, tensors["rl_steps"] - 1)
            return torch.full(mask_BT.shape, position, dtype=dtype, device=mask_BT.device)
        turns_B = tensors.get("trajectory_turns_B")
        if turns_B is None:
            turns_B = trajectory_turns(mask_BT, tensors["turns_BT"])
        return torch.where(mask_BT, tensors["turns_BT"], 0).to(dtype) / (turns_B - 1).clamp(min=1)[:, None]


@dataclass(frozen=True)
class EPO(EntropyBonus):
    """-entropy_bonus * (L_H - beta_k L_smooth), EPO's entropy terms (arXiv 2509.22576 v2, eq. 2 to 6).

    smoothing_weight: alpha. corridor_low, corridor_high: kappa_l, kappa_r. smoothing_reference: "step" is one mean of
    the past steps; "turn" one for each turn index. phase_schedule: "paper" is beta_k = 1 + exp(-phase_decay k / k_mid);
    "constant" is phase_weight. In the first step there is no history, and L_smooth is 0.

    Besides tensors it reads rl_step (k, from 0) and rl_steps (K) of the training, and the reference in nats, as
    `reproduce.algorithms.parts.entropy_history` names it.

    Metrics: epo_reference_entropy (nats; mean over the tokens); epo_phase_weight; epo_share_below and epo_share_above
    the corridor (of the tokens given); epo_factor_below and epo_factor_above (what a token's entropy gradient is
    multiplied by there: 1 + alpha beta and 1 - alpha beta); epo_smoothing_loss (beta_k L_smooth). Reference, phase
    weight and factors are left out if nothing is smoothed.
    """

    smoothing: bool = True
    smoothing_weight: float = 0.1
    corridor_low: float = 0.0
    corridor_high: float = 2.0
    smoothing_reference: str = "step"
    phase_schedule: str = "paper"
    phase_decay: float = 3.0
    phase_weight: float = 1.0

    SCHEDULES = ("paper", "constant")
    metrics = (
        "epo_reference_entropy",
        "epo_phase_weight",
        "epo_share_below",
        "epo_share_above",
        "epo_factor_below",
        "epo_factor_above",
        "epo_smoothing_loss",
    )

    def __post_init__(self):
        super().__post_init__()
        one_of("smoothing_reference", self.smoothing_reference, ("step", "turn"))
        one_of("phase_schedule", self.phase_schedule, self.SCHEDULES)
        if self.corridor_low > self.corridor_high:
            raise UserError(
                f"corridor_low must not exceed corridor_high ({self.corridor_high}), but is {self.corridor_low}"
            )

    @property
    def reference_name(self) -> str:
        """The entry of the entropy history that tokens are compared with."""
        return "entropy_reference" if self.smoothing_reference == "step" else "turn_entropy_reference"

    @property
    def needs(self) -> tuple[str, ...]:
        if not self.smoothing:
            return super().needs
        more = ["rl_step", self.reference_name]
        if self.phase_schedule == "paper":
            more.append("rl_steps")
        if self.smoothing_reference == "turn":
            more.append("turns_BT")
        return tuple(dict.fromkeys((*super().needs, *more)))

    def state(self, run: RunServices) -> EntropyHistory | None:
        """Open the history of past steps, if tokens are compared with it."""
        return EntropyHistory(run.max_turns) if self.reference_name in self.needs else None

    def __call__(self, tensors, mask_BT, normalizer, rows):
        bonus, metrics = super().__call__(tensors, mask_BT, normalizer, rows)
        reference_BT = self.reference(tensors, mask_BT) if self.smoothing and mask_BT.any() else None
        if reference_BT is None:
            return bonus, metrics
        beta = self.beta(tensors)
        penalty_BT = self.smoothing_weight * self.penalty(tensors["entropies_BT"], reference_BT)
        smoothing = beta * self.mean(penalty_BT, tensors, mask_BT, normalizer, rows)
        metrics |= self._metrics(tensors["entropies_BT"], reference_BT, mask_BT, beta)
        return bonus + self.entropy_bonus * smoothing, metrics | {"epo_smoothing_loss": float(smoothing.detach())}

    def reference(self, tensors, mask_BT):
        """Look up Hbar_BT (B, T) in nats, NaN at tokens that have none; None before there is any."""
        value = torch.as_tensor(
            tensors[self.reference_name], dtype=tensors["entropies_BT"].dtype, device=mask_BT.device
        )
        if value.isnan().all():
            if tensors["rl_step"] > 0:
                raise ValueError(f"{self.reference_name} is NaN at step {tensors['rl_step']}: the history was lost")
            return None
        if self.smoothing_reference == "step":
            return value.expand(mask_BT.shape)
        turns_BT = torch.where(mask_BT, tensors["turns_BT"], 0)
        missing = max(0, int(turns_BT.max()) + 1 - len(value))  # turns that no earlier step has reached
        return torch.nn.functional.pad(value, (0, missing), value=math.nan)[turns_BT]

    def beta(self, tensors) -> float:
        """Compute beta_k."""
        if self.phase_schedule == "constant":
            return self.phase_weight
        return epo.phase_weight(tensors["rl_step"], tensors["rl_steps"], self.phase_decay)

    def penalty(self, entropies_BT, reference_BT):
        """Compute P_BT (B, T), in nats."""
        return epo.corridor_penalty(entropies_BT, reference_BT, self.corridor_low, self.corridor_high)

    def effect(self, beta: float) -> float:
        """Compute alpha beta: by how much the penalty changes the gradient of a token outside the corridor."""
        return self.smoothing_weight * beta

    @torch.no_grad()
    def _metrics(self, entropies_BT, reference_BT, mask_BT, beta: float) -> dict[str, float]:
        side_BT = epo.corridor_side(entropies_BT, reference_BT, self.corridor_low, self.corridor_high)
        tokens = mask_BT.sum().clamp(min=1)
        below, above = ((side_BT == side) & mask_BT for side in (-1, 1))
        return {
            "epo_reference_entropy": float(reference_BT[mask_BT].nanmean()),
            "epo_phase_weight": beta,
            "epo_share_below": float(below.sum() / tokens),
            "epo_share_above": float(above.sum() / tokens),
            "epo_factor_below": 1.0 + self.effect(beta),
            "epo_factor_above": 1.0 - self.effect(beta),
        }
