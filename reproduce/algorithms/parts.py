"""The parts that algorithms are composed of: frozen records of settings around the functions of `objectives`.

A part is any frozen dataclass with a call as below and `needs`, the names of the tensors that it reads (an absent one
is refused before the part is called). `tensors` is a dict of named tensors in which masked-out entries are already
zero; `mask_BT` is boolean. Your own object can stand in any slot: `load("grpo", token_weight=MyWeight())`; its fields
are then settings like all others.

| slot           | call                                                       | returns                       |
|----------------|------------------------------------------------------------|-------------------------------|
| rollout        | a policy of `reproduce.rollouts.policies`                  |                               |
| advantage      | (rewards_B, groups_B, tensors, mask_BT)                    | advantages_BT, dict of floats |
| ratio          | (tensors, mask_BT)                                         | objectives.ratios.Ratio       |
| surrogate      | (ratio, advantages_BT); has `clip_range`                   | objectives.surrogates.Surrogate |
| token_weight   | (tensors, mask_BT), or None                                | weight_BT                     |
| regularisers   | tuple of (tensors, mask_BT); `active` False skips one      | value_BT, added to the loss   |
| aggregation    | (values_BT, mask_BT, normalizer, rows)                     | scalar                        |
| group_filter   | (rewards_B, groups_B), or None                             | keep_B                        |
| reward_shaping | (lengths_B, max_length), or None                           | penalty_B                     |
"""

from dataclasses import dataclass

from reproduce.objectives import advantages, aggregation, ratios, regularisers, shaping, surrogates
from reproduce.rollouts.policies import AEPORollout, ARPORollout, Independent


@dataclass(frozen=True)
class SwitchableAEPORollout(AEPORollout):
    """AEPO's rollout with its two components as switches (its ablations).

    dynamic_budget False: m is ARPO's fixed share (`initial_fraction`), and no pilot is needed.
    branch_penalty False: P is ARPO's, however many branches came in a row.
    """

    dynamic_budget: bool = True
    branch_penalty: bool = True

    @property
    def needs_pilot(self) -> bool:
        return self.dynamic_budget

    def initial(self, k, root_entropy=None, tool_entropy=None) -> int:
        policy = AEPORollout if self.dynamic_budget else ARPORollout
        return policy.initial(self, k, root_entropy, tool_entropy)

    def branch_probability(self, entropy_change: float, consecutive: int) -> float:
        return super().branch_probability(entropy_change, consecutive if self.branch_penalty else 0)


@dataclass(frozen=True)
class GroupZScore:
    """A = (R - mean_G) / (std_G + std_epsilon), the same at every token of a row."""

    std_epsilon: float = 1e-6
    needs = ()

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        advantages_B = advantages.group_zscore(rewards_B, groups_B, self.std_epsilon)
        return advantages_B[:, None].expand(mask_BT.shape), {}


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


@dataclass(frozen=True)
class TokenRatio:
    """delta_t = pi / pi_old per token, log-ratio clamped to +-log_ratio_bound."""

    log_ratio_bound: float = 20.0
    needs = ("logps_BT", "old_logps_BT")

    def __call__(self, tensors, mask_BT):
        return ratios.token_ratio(tensors["logps_BT"], tensors["old_logps_BT"], mask_BT, self.log_ratio_bound)


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


@dataclass(frozen=True)
class ReferenceKL:
    """kl_coefficient * k3 estimate of KL(pi || pi_ref); reads ref_logps_BT, and nothing at coefficient 0."""

    kl_coefficient: float = 0.0

    @property
    def active(self) -> bool:
        return self.kl_coefficient != 0

    @property
    def needs(self) -> tuple[str, ...]:
        return ("ref_logps_BT",) if self.active else ()

    def __call__(self, tensors, mask_BT):
        kl_BT = regularisers.reference_kl(tensors["logps_BT"], tensors["ref_logps_BT"], mask_BT)
        return self.kl_coefficient * kl_BT


@dataclass(frozen=True)
class SequenceMean:
    """Mean over `rows` of token means; ignores `normalizer`."""

    needs = ()

    def __call__(self, values_BT, mask_BT, normalizer, rows):
        return aggregation.sequence_mean(values_BT, mask_BT, rows)


@dataclass(frozen=True)
class TokenMean:
    """Sum over tokens / `normalizer`; ignores `rows`."""

    needs = ()

    def __call__(self, values_BT, mask_BT, normalizer, rows):
        return aggregation.token_mean(values_BT, mask_BT, normalizer)


@dataclass(frozen=True)
class TokenSumConst:
    """Sum over tokens / (`rows` * length_constant); ignores `normalizer`. length_constant has no default."""

    length_constant: int | None = None
    needs = ()

    def __call__(self, values_BT, mask_BT, normalizer, rows):
        return aggregation.token_sum_const(values_BT, mask_BT, self.length_constant, rows)


@dataclass(frozen=True)
class DynamicSampling:
    """Drop groups whose rewards are all equal and sample other prompts, for at most max_generation_batches batches."""

    dynamic_sampling: bool = True
    max_generation_batches: int = 10
    needs = ()

    def __call__(self, rewards_B, groups_B):
        return shaping.varied_groups(rewards_B, groups_B)


@dataclass(frozen=True)
class OverlongPenalty:
    """Soft punishment inside the last overlong_buffer (a fraction of the maximum length), down to -overlong_factor."""

    overlong_penalty: bool = True
    overlong_buffer: float = 0.2
    overlong_factor: float = 1.0
    needs = ()

    def __call__(self, lengths_B, max_length):
        return shaping.overlong_penalty(lengths_B, max_length, self.overlong_buffer, self.overlong_factor)


PARTS: dict[str, dict[str, type | None]] = {
    "rollout": {"independent": Independent, "arpo": ARPORollout, "aepo": SwitchableAEPORollout},
    "advantage": {"group_zscore": GroupZScore, "entropy_aware": EntropyAware},
    "ratio": {"token": TokenRatio},
    "surrogate": {"ppo_min": PPOMin, "upper_gradient_keeping": UpperGradientKeeping},
    "token_weight": {"none": None},
    "regularisers": {"none": None, "reference_kl": ReferenceKL},
    "aggregation": {"sequence_mean": SequenceMean, "token_mean": TokenMean, "token_sum_const": TokenSumConst},
    "group_filter": {"none": None, "dynamic_sampling": DynamicSampling},
    "reward_shaping": {"none": None, "overlong_penalty": OverlongPenalty},
}


def part_name(slot: str, part: object | None) -> str:
    """The name under which a part can be asked for; the class name of a user's own part."""
    kind = None if part is None else type(part)
    return next((name for name, known in PARTS[slot].items() if known is kind), kind.__name__ if kind else "none")
