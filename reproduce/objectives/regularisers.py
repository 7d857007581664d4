"""Terms added to the loss, per token."""

import math

import torch
from torch import Tensor

from reproduce.objectives.ratios import k3


def reference_kl(
    logps_BT: Tensor, ref_logps_BT: Tensor, mask_BT: Tensor, log_bound: float = 20.0, bound: float = math.inf
) -> Tensor:
    """k3_BT of log pi_ref - log pi: GRPO's penalty (DeepSeekMath eq. 4; TRL `beta`), 0 where masked out.

    In nats, and an estimate of KL(pi || pi_ref). The log-ratio is clamped to +-`log_bound`, the estimate at `bound`
    (10 in verl), beyond which it has no gradient.
    """
    zero = logps_BT.new_zeros(())
    log_BT = torch.where(mask_BT, ref_logps_BT.detach(), zero) - torch.where(mask_BT, logps_BT, zero)
    return k3(log_BT.clamp(-log_bound, log_bound)).clamp(max=bound)
