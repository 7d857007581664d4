"""EPO's entropy terms (arXiv 2509.22576 v2, section 4), which `parts.released.epo` gives another form.

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
    """beta_k of eq. 5, from 2 at step k = 0 to 1 + exp(-2 decay) at the end. steps: K; decay: gamma."""
    return 1.0 + math.exp(-decay * step / max(1, steps // 2))


def corridor_side(entropies_BT: Tensor, reference_BT: Tensor, low: float, high: float) -> Tensor:
    """s_BT (int64): +1 above high * reference, -1 below low * reference, 0 inside, on an edge, or without a reference.

    reference_BT: Hbar in nats, of any shape that broadcasts to (B, T); NaN means that there is none yet.
    """
    entropies_BT = entropies_BT.detach()
    above_BT, below_BT = entropies_BT > high * reference_BT, entropies_BT < low * reference_BT
    return above_BT.to(torch.int64) - below_BT.to(torch.int64)


def corridor_penalty(entropies_BT: Tensor, reference_BT: Tensor, low: float, high: float) -> Tensor:
    """P_BT of eq. 3 in nats, with gradient through the entropies only; 0 where there is no reference (NaN)."""
    reference_BT = reference_BT.detach()
    penalty_BT = torch.relu(low * reference_BT - entropies_BT) + torch.relu(entropies_BT - high * reference_BT)
    return torch.where(reference_BT.isnan(), 0.0, penalty_BT)


def position_weight(position_BT: Tensor, start: float, end: float, rate: float) -> Tensor:
    """end + (start - end) exp(-rate * position): EPO-Decay's weight of a token's entropy; position from 0 to 1.

    The paper gives no formula for EPO-Decay: this form and its constants are assumed.
    """
    return end + (start - end) * torch.exp(-rate * position_BT)
