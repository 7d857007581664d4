"""Entropy from the k largest probabilities alone, and how much of the exact entropy it can miss.

A sampler such as vLLM returns the log-probabilities of the k most likely tokens, not of all V. With p_1 >= ... >= p_k
known, r = 1 - sum p_i is left for V - k tokens of at most p_k each.
"""

import torch
from torch import Tensor


def entropy_topk(logps_TK: Tensor) -> Tensor:
    """Compute -sum over the k given tokens of p log p, without renormalisation.

    It is never above the exact entropy, and equal to it if k is the size of the vocabulary.

    Args:
        logps_TK: log-probabilities of the k most likely tokens (T, K), in nats, in any order.

    Returns:
        entropy_topk_T (T,), in nats.
    """
    logps_TK = logps_TK.double()
    return -(logps_TK.exp() * logps_TK.clamp(min=-1e4)).sum(-1)


def hidden_entropy(logps_TK: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Bound what `entropy_topk` leaves out of the exact entropy; both bounds are attained.

    The upper bound spreads the tail r evenly: r log((V - k) / r). The lower bound puts it on as few tokens as p_k
    allows: floor(r / p_k) tokens of p_k and one of the remainder. Float64, exact up to the rounding of `logps_TK`.

    Args:
        logps_TK: log-probabilities of the k most likely tokens (T, K), in nats.
        vocabulary: V.

    Returns:
        (low_T, high_T), both (T,), in nats.

    Raises:
        ValueError: k exceeds `vocabulary`.
    """
    k = logps_TK.shape[-1]
    if k > vocabulary:
        raise ValueError(f"{k} log-probabilities of a vocabulary of {vocabulary}")
    logps_TK = logps_TK.double()
    tail_T = (1.0 - logps_TK.exp().sum(-1)).clamp(min=0.0)
    if k == vocabulary:
        return torch.zeros_like(tail_T), torch.zeros_like(tail_T)
    smallest_T = logps_TK.amin(-1).exp().clamp(min=1e-300)
    full_T = (tail_T / smallest_T).floor()
    rest_T = (tail_T - full_T * smallest_T).clamp(min=0.0)
    low_T = -full_T * smallest_T * smallest_T.log() - torch.xlogy(rest_T, rest_T)
    high_T = torch.xlogy(tail_T, (vocabulary - k) / tail_T.clamp(min=1e-300))
    return low_T.clamp(min=0.0), high_T.clamp(min=0.0)
