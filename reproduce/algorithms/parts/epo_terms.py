"""EPO's entropy terms (arXiv 2509.22576 v2, section 4); `parts.released.epo` has the released code's form.

    L_EPO = L_MT - lambda (L_H - beta_k L_smooth)          [eq. 6]
    L_H: mean of the token entropies H, L_smooth: mean of alpha P; trajectory, turn and token means  [eq. 2, 4]
    P = relu(kappa_l Hbar - H) + relu(H - kappa_r Hbar)    [eq. 3], Hbar: mean entropy of the past steps, a constant
    beta_k = 1 + exp(-gamma k / k_mid), k_mid = floor(K / 2)   [eq. 5]

The gradient of a token's entropy in it is -lambda w (1 - alpha beta_k s): s = +1 above the corridor, -1 below it, 0
inside and on its edges; w is the token's weight in the mean.
"""

import math

import torch
from torch import Tensor


def phase_weight(step: int, steps: int, decay: float = 3.0) -> float:
    """Compute beta_k of eq. 5, which falls from 2 at step k = 0 to 1 + exp(-2 decay) at the end.

    Args:
        step: k.
        steps: K.
        decay: gamma.
    """
    return 1.0 + math.exp(-decay * step / max(1, steps // 2))


def corridor_side(entropies_BT: Tensor, reference_BT: Tensor, low: float, high: float) -> Tensor:
    """Tell on which side of the corridor each token is.

    Args:
        entropies_BT: token entropies H (B, T), in nats.
        reference_BT: Hbar in nats, of any shape that broadcasts to (B, T); NaN where there is none yet.
        low: kappa_l.
        high: kappa_r.

    Returns:
        s_BT (B, T), int64: +1 above high * reference, -1 below low * reference, 0 inside, on an edge or without a
            reference.
    """
    entropies_BT = entropies_BT.detach()
    above_BT, below_BT = entropies_BT > high * reference_BT, entropies_BT < low * reference_BT
    return above_BT.to(torch.int64) - below_BT.to(torch.int64)


def corridor_penalty(entropies_BT: Tensor, reference_BT: Tensor, low: float, high: float) -> Tensor:
    """Compute P of eq. 3, with gradient through the entropies only.

    Args:
        entropies_BT: token entropies H (B, T), in nats.
        reference_BT: Hbar in nats, of any shape that broadcasts to (B, T); NaN where there is none yet.
        low: kappa_l.
        high: kappa_r.

    Returns:
        P_BT (B, T), in nats; 0 where there is no reference.
    """
    reference_BT = reference_BT.detach()
    penalty_BT = torch.relu(low * reference_BT - entropies_BT) + torch.relu(entropies_BT - high * reference_BT)
    return torch.where(reference_BT.isnan(), 0.0, penalty_BT)


def position_weight(position_BT: Tensor, start: float, end: float, rate: float) -> Tensor:
    """Compute end + (start - end) exp(-rate * position), EPO-Decay's weight of a token's entropy.

    The paper gives no formula for EPO-Decay: this form and its constants are assumed.

    Args:
        position_BT: position (B, T), from 0 to 1.
        start: the weight at position 0.
        end: the weight that it tends to.
        rate: how fast it falls.

    Returns:
        weights (B, T).
    """
    return end + (start - end) * torch.exp(-rate * position_BT)
