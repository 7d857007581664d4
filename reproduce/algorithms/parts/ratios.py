"""Ratio parts: (tensors, mask_BT) -> `reproduce.objectives.ratios.Ratio`."""

from dataclasses import dataclass

from reproduce.objectives import ratios


@dataclass(frozen=True)
class TokenRatio:
    """delta_t = pi / pi_old per token, log-ratio clamped to +-log_ratio_bound."""

    log_ratio_bound: float = 20.0
    needs = ("logps_BT", "old_logps_BT")

    def __call__(self, tensors, mask_BT):
        return ratios.token_ratio(tensors["logps_BT"], tensors["old_logps_BT"], mask_BT, self.log_ratio_bound)
