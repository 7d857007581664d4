"""Advantages from rewards, and their modulation by token entropy: functions, then the parts that hold their settings.

Parts: (rewards_B, groups_B, tensors, mask_BT) -> advantages_BT and metrics.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def group_zscore(rewards_B: Tensor, groups_B: Tensor, std_epsilon: float = 1e-6) -> Tensor:
    """Compute (R - mean_G) / (std_G + std_epsilon) in each group (DeepSeekMath, arXiv 2402.03300, section 4.1.2).

    The standard deviation is the unbiased one (divisor n - 1) and std_epsilon is 1e-6, as in verl; TRL adds 1e-4. A
    group whose rewards are all equal gives exactly 0, and so does a group of one row (verl gives such a row its
    reward).

    Args:
        rewards_B: rewards (B,).
        groups_B: group ids (B,): any integers in any order.
        std_epsilon: added to the standard deviation.

    Returns:
        advantages_B (B,).

    Raises:
        ValueError: a reward is not finite, or the shapes differ.
    """
    centred_B, index_B, count_G = _centred(rewards_B, groups_B)
    variance_G = torch.zeros_like(count_G).index_add(0, index_B, centred_B**2) / (count_G - 1).clamp(min=1)
    return centred_B / (variance_G.sqrt()[index_B] + std_epsilon)


def group_centred(rewards_B: Tensor, groups_B: Tensor, weights_B: Tensor | None = None) -> Tensor:
    """Compute R - mean_G, without a standard deviation (Dr. GRPO, arXiv 2503.20783).

    A group whose rewards are all equal, or of one row, gives exactly 0.

    Args:
        rewards_B: rewards (B,).
        groups_B: group ids (B,).
        weights_B: weights (B,), at least 0: the mean is sum_G w R / sum_G w. In a group whose weights are all 0 it is
            the smallest reward.

    Returns:
        advantages_B (B,).

    Raises:
        ValueError: as `group_zscore`.
    """
    return _centred(rewards_B, groups_B, weights_B)[0]


def leave_one_out(rewards_B: Tensor, groups_B: Tensor) -> Tensor:
    """Compute R_i - mean of the group's other rewards = n / (n - 1) (R_i - mean_G) (RLOO, arXiv 2402.14740).

    Equal rewards give exactly 0, and so does a group of one row.

    Args:
        rewards_B: rewards (B,).
        groups_B: group ids (B,).

    Returns:
        advantages_B (B,).

    Raises:
        ValueError: as `group_zscore`.
    """
    centred_B, index_B, count_G = _centred(rewards_B, groups_B)
    return centred_B * (count_G / (count_G - 1).clamp(min=1))[index_B]


def whitened(values_BT: Tensor, mask_BT: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Compute (v - mean) / sqrt(var + epsilon) over all masked-in tokens (REINFORCE++, arXiv 2501.03262).

    The variance is the unbiased one and epsilon 1e-8 is under the root, as in verl. Every token counts once, so a long
    row weighs more than a short one. Equal values, or a single token, give exactly 0.

    Args:
        values_BT: values (B, T).
        mask_BT: loss mask (B, T).
        epsilon: added to the variance.

    Returns:
        whitened values (B, T), 0 outside the mask.
    """
    out_BT = torch.zeros_like(values_BT)
    values = values_BT[mask_BT]
    if values.numel():
        shifted = values - values.min()
        centred = shifted - shifted.mean()
        out_BT[mask_BT] = centred / ((centred**2).sum() / max(values.numel() - 1, 1) + epsilon).sqrt()
    return out_BT


def finite_rewards(rewards_B: Tensor, groups_B: Tensor) -> Tensor:
    """Check rewards and convert them to floats.

    Args:
        rewards_B: rewards (B,).
        groups_B: group ids (B,).

    Returns:
        rewards_B (B,), floating point.

    Raises:
        ValueError: a reward is not finite, or the shapes differ.
    """
    if rewards_B.shape != groups_B.shape or rewards_B.dim() != 1:
        raise ValueError(f"rewards_B {tuple(rewards_B.shape)} and groups_B {tuple(groups_B.shape)} must be one axis")
    if not rewards_B.is_floating_point():
        rewards_B = rewards_B.to(torch.get_default_dtype())
    if not torch.isfinite(rewards_B).all():
        raise ValueError("rewards_B holds NaN or inf; every row of a group needs a finite reward")
    return rewards_B


def _centred(rewards_B: Tensor, groups_B: Tensor, weights_B: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """(R - weighted mean of its group) per row, the group's index per row, and the rows per group."""
    rewards_B = finite_rewards(rewards_B, groups_B)
    group_ids, index_B = torch.unique(groups_B, return_inverse=True)
    zeros_G = rewards_B.new_zeros(group_ids.numel())
    count_G = zeros_G.index_add(0, index_B, torch.ones_like(rewards_B))
    lowest_G = zeros_G.scatter_reduce(0, index_B, rewards_B, "amin", include_self=False)
    shifted_B = rewards_B - lowest_G[index_B]  # exact zeros in a constant group, whatever the rounding of the mean
    if weights_B is None:
        mean_G = zeros_G.index_add(0, index_B, shifted_B) / count_G
    else:
        weights_B = weights_B.to(rewards_B.dtype)
        weight_G = zeros_G.index_add(0, index_B, weights_B)
        mean_G = zeros_G.index_add(0, index_B, weights_B * shifted_B) / torch.where(weight_G > 0, weight_G, 1.0)
    return shifted_B - mean_G[index_B], index_B, count_G


def entropy_zscore(entropies_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Compute (H - mean H) / std H over all masked-in tokens given. No gradient flows through it.

    The standard deviation is the unbiased one, as in the code released for AEPO. A single token or equal entropies give
    0 (the released code yields NaN for a single token). The statistics span the tensor you pass: pass the whole rollout
    batch, so that the result does not depend on how it is split later.

    Args:
        entropies_BT: token entropies (B, T), in nats.
        mask_BT: loss mask (B, T).

    Returns:
        z_BT (B, T), 0 outside the mask.

    Raises:
        ValueError: an entropy inside the mask is NaN or infinite.
    """
    entropies = entropies_BT.detach()[mask_BT]
    if not torch.isfinite(entropies).all():
        raise ValueError("entropies_BT holds NaN or inf inside the mask; every trained token needs its entropy")
    z_BT = torch.zeros_like(entropies_BT, requires_grad=False)
    if entropies.numel() < 2:
        return z_BT
    shifted = entropies - entropies.min()
    std = shifted.std()
    if std > 0:
        z_BT[mask_BT] = (shifted - shifted.mean()) / std
    return z_BT


def entropy_factor(entropies_BT: Tensor, mask_BT: Tensor, coefficient: float) -> Tensor:
    """Compute 1 + coefficient * z(H), the factor of AEPO's entropy-aware advantage (arXiv 2510.14545).

    As published, it has no lower bound: a token with z < -1 / coefficient (-5 at 0.2) gets a negative factor, which
    turns the sign of its advantage.

    Args:
        entropies_BT: token entropies (B, T), in nats.
        mask_BT: loss mask (B, T).
        coefficient: a of the paper.

    Returns:
        factor_BT (B, T), 1 outside the mask.
    """
    return 1.0 + coefficient * entropy_zscore(entropies_BT, mask_BT)


@dataclass(frozen=True)
class GroupZScore:
    """A = (R - mean_G) / (std_G + std_epsilon), the same at every token of a row."""

    std_epsilon: float = 1e-6
    needs = ()

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        advantages_B = group_zscore(rewards_B, groups_B, self.std_epsilon)
        return advantages_B[:, None].expand(mask_BT.shape), {}


@dataclass(frozen=True)
class GroupCentred:
    """A = R - mean_G, the same at every token of a row (Dr. GRPO)."""

    needs = ()

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        return group_centred(rewards_B, groups_B)[:, None].expand(mask_BT.shape), {}


@dataclass(frozen=True)
class LeaveOneOut:
    """A = R - mean of the group's other rewards, the same at every token of a row (RLOO)."""

    needs = ()

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        return leave_one_out(rewards_B, groups_B)[:, None].expand(mask_BT.shape), {}


@dataclass(frozen=True)
class Whitened:
    """A = (R - mean) / sqrt(var + whitening_epsilon) over all loss-mask tokens given (REINFORCE++).

    group_baseline: whiten R - mean_G instead of R (REINFORCE++-baseline). Without it groups are not used.
    """

    whitening_epsilon: float = 1e-8
    group_baseline: bool = False
    needs = ()

    @property
    def compares_groups(self) -> bool:
        return self.group_baseline

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        baseline = group_centred if self.group_baseline else finite_rewards
        values_BT = baseline(rewards_B, groups_B)[:, None].expand(mask_BT.shape)
        return whitened(values_BT, mask_BT, self.whitening_epsilon), {}


@dataclass(frozen=True)
class EntropyAware(GroupZScore):
    """A_t = group z-score * (1 + entropy_coefficient * z(H_t)), z over all loss-mask tokens given (AEPO).

    Metrics over loss-mask tokens: advantage_modified_fraction (advantage not 0 and factor not 1),
    advantage_sign_flip_fraction (factor < 0), advantage_factor_min and _max.
    """

    entropy_coefficient: float = 0.2
    entropy_advantage: bool = True
    metrics = (
        "advantage_modified_fraction",
        "advantage_sign_flip_fraction",
        "advantage_factor_min",
        "advantage_factor_max",
    )

    @property
    def needs(self) -> tuple[str, ...]:
        return ("entropies_BT",) if self.modulates else ()

    @property
    def modulates(self) -> bool:
        """False if the switch is off or the coefficient is 0: then this is the plain group z-score."""
        return self.entropy_advantage and self.entropy_coefficient != 0

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        base_BT, metrics = super().__call__(rewards_B, groups_B, tensors, mask_BT)
        if not self.modulates or not mask_BT.any():
            return base_BT, metrics
        factor_BT = entropy_factor(tensors["entropies_BT"], mask_BT, self.entropy_coefficient)
        factors = factor_BT[mask_BT]
        metrics = {
            "advantage_modified_fraction": ((factors != 1) & (base_BT[mask_BT] != 0)).double().mean().item(),
            "advantage_sign_flip_fraction": (factors < 0).double().mean().item(),
            "advantage_factor_min": factors.min().item(),
            "advantage_factor_max": factors.max().item(),
        }
        return base_BT * factor_BT, metrics
