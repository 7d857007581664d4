"""EPO and its GRPO as the released code computes them, where that differs from the paper."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from reproduce.algorithms.parts.advantages import finite_rewards
from reproduce.algorithms.parts.regularisers import EPO
from reproduce.algorithms.parts.turn_means import tokens_per_turn
from reproduce.errors import one_of


def phase_weight(step: int, max_epochs: int = 150) -> float:
    """Compute beta_k as released: it has another form than eq. 5 and falls to almost 0.

    With h = max_epochs // 2 it is 1 - 0.2 (1 - exp(-2 k / h)) up to k = h, then 0.8 exp(-3 (k - h) / (max_epochs - h)),
    with a jump between. Beyond max_epochs the last value holds.

    Args:
        step: k.
        max_epochs: a constant there, whatever the number of steps.
    """
    step = min(step, max_epochs)
    half = max_epochs // 2
    if step <= half:
        return 1.0 - 0.2 * (1.0 - math.exp(-2.0 * step / half))
    return 0.8 * math.exp(-3.0 * (step - half) / (max_epochs - half))


def indicator_penalty(entropies_BT: Tensor, reference_BT: Tensor, low: float, high: float) -> Tensor:
    """Compute the released penalty: 1 outside the open corridor and 0 inside. It is a constant, so its gradient is
    exactly zero.

    The edges count as outside: at low = 0 a token of entropy 0 does. A NaN reference is outside too.

    Args:
        entropies_BT: token entropies (B, T), in nats.
        reference_BT: Hbar in nats, of any shape that broadcasts to (B, T).
        low: kappa_l.
        high: kappa_r.

    Returns:
        penalty (B, T).
    """
    entropies_BT = entropies_BT.detach()
    inside_BT = (entropies_BT > low * reference_BT) & (entropies_BT < high * reference_BT)
    return 1.0 - inside_BT.to(entropies_BT.dtype)


def turn_row_zscore(
    rewards_B: Tensor, groups_B: Tensor, mask_BT: Tensor, turns_BT: Tensor, std_epsilon: float = 1e-6
) -> Tensor:
    """Compute (R - mean_G) / (std_G + std_epsilon), with statistics over the turns of a group (EPO's released GRPO).

    There every turn is a row with its trajectory's return. Mean and unbiased standard deviation run over all rows of a
    group, so a trajectory of many turns weighs more. Here a row counts once for each of its turns: the same for whole
    trajectories, the plain z-score for rows of one turn. As released, a group of one turn has mean 0 and standard
    deviation 1. A group of equal rewards gives exactly 0.

    Args:
        rewards_B: rewards (B,).
        groups_B: group ids (B,).
        mask_BT: loss mask (B, T).
        turns_BT: turn index of each token (B, T), int64.
        std_epsilon: added to the standard deviation.

    Returns:
        advantages_B (B,).
    """
    turns_B = (tokens_per_turn(mask_BT, turns_BT) > 0).sum(1).to(rewards_B.dtype)
    ids, index_B = torch.unique(groups_B, return_inverse=True)
    zeros_G = rewards_B.new_zeros(len(ids))
    count_G = zeros_G.index_add(0, index_B, turns_B)
    lowest_G = zeros_G.scatter_reduce(0, index_B, rewards_B, "amin", include_self=False)
    shifted_B = rewards_B - lowest_G[index_B]  # exact zeros in a constant group, whatever the rounding of the mean
    mean_G = zeros_G.index_add(0, index_B, turns_B * shifted_B) / count_G.clamp(min=1)
    centred_B = shifted_B - mean_G[index_B]
    variance_G = zeros_G.index_add(0, index_B, turns_B * centred_B**2) / (count_G - 1).clamp(min=1)
    single_B = (count_G == 1)[index_B]
    std_B = torch.where(single_B, 1.0, variance_G.sqrt()[index_B])
    return torch.where(single_B, rewards_B, centred_B) / (std_B + std_epsilon)


@dataclass(frozen=True)
class TurnRowZScore:
    """GRPO's z-score with statistics over the turns of a group, not its trajectories (EPO's released code)."""

    std_epsilon: float = 1e-6
    needs = ("turns_BT",)

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        rewards_B = finite_rewards(rewards_B, groups_B)
        advantages_B = turn_row_zscore(rewards_B, groups_B, mask_BT, tensors["turns_BT"], self.std_epsilon)
        return advantages_B[:, None].expand(mask_BT.shape), {}


@dataclass(frozen=True)
class ReleasedEPO(EPO):
    """EPO's entropy terms as in its released code. The smoothing penalty there is a constant, without gradient.

    Each switch has the paper's choice as its other value. penalty_form: "indicator", 1 outside the corridor (the paper:
    "relu"). include_current_step: the reference's mean includes this step's entropy (the paper: past steps only, so
    none at k = 0). left_padded_history: the list of a step's entropies per turn is filled up with zeros in front if all
    episodes ended early, which shifts its turns. turn_gate: nothing is smoothed in a (micro-)batch without a token of
    this turn or a later one, everything in any other (the paper: None). phase_schedule "released" falls to almost 0 at
    schedule_epochs, which is 150 whatever K is. Its other choices, and those of smoothing_reference and
    entropy_aggregation, are as in `EPO`.
    """

    entropy_aggregation: str = "tokens"
    smoothing_reference: str = "turn"
    phase_schedule: str = "released"
    penalty_form: str = "indicator"
    include_current_step: bool = True
    left_padded_history: bool = True
    turn_gate: int | None = 25
    schedule_epochs: int = 150

    SCHEDULES = ("released", *EPO.SCHEDULES)

    def __post_init__(self):
        super().__post_init__()
        one_of("penalty_form", self.penalty_form, ("indicator", "relu"))

    @property
    def reference_name(self) -> str:
        padded = "_left_padded" if self.left_padded_history and self.smoothing_reference == "turn" else ""
        return super().reference_name + ("_with_current" if self.include_current_step else "") + padded

    @property
    def needs(self) -> tuple[str, ...]:
        gate = ("turns_BT",) if self.smoothing and self.turn_gate is not None else ()
        return tuple(dict.fromkeys((*super().needs, *gate)))

    def reference(self, tensors, mask_BT):
        if self.turn_gate is not None and not bool((tensors["turns_BT"][mask_BT] >= self.turn_gate).any()):
            return None
        return super().reference(tensors, mask_BT)

    def beta(self, tensors) -> float:
        if self.phase_schedule == "released":
            return phase_weight(tensors["rl_step"], self.schedule_epochs)
        return super().beta(tensors)

    def penalty(self, entropies_BT, reference_BT):
        if self.penalty_form == "indicator":
            return indicator_penalty(entropies_BT, reference_BT, self.corridor_low, self.corridor_high)
        return super().penalty(entropies_BT, reference_BT)

    def effect(self, beta: float) -> float:
        return 0.0 if self.penalty_form == "indicator" else super().effect(beta)
