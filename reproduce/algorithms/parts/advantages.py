"""Advantage parts: (rewards_B, groups_B, tensors, mask_BT) -> advantages_BT and metrics."""

from dataclasses import dataclass

from reproduce.objectives import advantages


@dataclass(frozen=True)
class GroupZScore:
    """A = (R - mean_G) / (std_G + std_epsilon), the same at every token of a row."""

    std_epsilon: float = 1e-6
    needs = ()

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        advantages_B = advantages.group_zscore(rewards_B, groups_B, self.std_epsilon)
        return advantages_B[:, None].expand(mask_BT.shape), {}


@dataclass(frozen=True)
class GroupCentred:
    """A = R - mean_G, the same at every token of a row (Dr. GRPO)."""

    needs = ()

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        return advantages.group_centred(rewards_B, groups_B)[:, None].expand(mask_BT.shape), {}


@dataclass(frozen=True)
class LeaveOneOut:
    """A = R - mean of the group's other rewards, the same at every token of a row (RLOO)."""

    needs = ()

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        return advantages.leave_one_out(rewards_B, groups_B)[:, None].expand(mask_BT.shape), {}


@dataclass(frozen=True)
class Whitened:
    """A = (R - mean) / sqrt(var + whitening_epsilon) over all loss-mask tokens given (REINFORCE++).

    group_baseline: whiten R - mean_G in place of R (REINFORCE++-baseline). Without it, groups play no part.
    """

    whitening_epsilon: float = 1e-8
    group_baseline: bool = False
    needs = ()

    @property
    def compares_groups(self) -> bool:
        return self.group_baseline

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        baseline = advantages.group_centred if self.group_baseline else advantages.finite_rewards
        values_BT = baseline(rewards_B, groups_B)[:, None].expand(mask_BT.shape)
        return advantages.whitened(values_BT, mask_BT, self.whitening_epsilon), {}


@dataclass(frozen=True)
class EntropyAware(GroupZScore):
    """A_t = group z-score * (1 + entropy_coefficient * z(H_t)), z over all loss-mask tokens given (AEPO).

    Metrics over loss-mask tokens: advantage_modified_fraction (advantage not 0 and factor not 1),
    advantage_sign_flip_fraction (factor < 0), advantage_factor_min and _max.
    """

    entropy_coefficient: float = 0.2
    entropy_advantage: bool = True

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
        factor_BT = advantages.entropy_factor(tensors["entropies_BT"], mask_BT, self.entropy_coefficient)
        factors = factor_BT[mask_BT]
        metrics = {
            "advantage_modified_fraction": ((factors != 1) & (base_BT[mask_BT] != 0)).double().mean().item(),
            "advantage_sign_flip_fraction": (factors < 0).double().mean().item(),
            "advantage_factor_min": factors.min().item(),
            "advantage_factor_max": factors.max().item(),
        }
        return base_BT * factor_BT, metrics
