"""Ratio parts: (tensors, mask_BT) -> `reproduce.objectives.ratios.Ratio`.

acts_only_off_policy: where pi = pi_old, the gradient is that of the plain token ratio (see `algorithms.run`).
"""

from dataclasses import dataclass

from reproduce.objectives import ratios


@dataclass(frozen=True)
class TokenRatio:
    """delta_t = pi / pi_old per token, log-ratio clamped to +-log_ratio_bound."""

    log_ratio_bound: float = 20.0
    needs = ("logps_BT", "old_logps_BT")
    acts_only_off_policy = False

    def __call__(self, tensors, mask_BT):
        return ratios.token_ratio(tensors["logps_BT"], tensors["old_logps_BT"], mask_BT, self.log_ratio_bound)


@dataclass(frozen=True)
class SequenceRatio(TokenRatio):
    """s_i = exp(mean over the row's loss-mask tokens of log delta_t), at every token of the row (GSPO)."""

    acts_only_off_policy = True

    def __call__(self, tensors, mask_BT):
        return ratios.sequence_ratio(tensors["logps_BT"], tensors["old_logps_BT"], mask_BT, self.log_ratio_bound)
