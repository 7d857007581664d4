"""From what every update of an RL step reports to the metrics of the step's record."""

from collections.abc import Iterable

from torch import Tensor

from reproduce.algorithms.parts.ratios import k3

KL_ROWS = 32
"""Rows on which the KL to the warm start is measured, once an RL step."""


def kl_warm_start(logps_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor) -> float:
    """Mean k3 estimate of KL(policy || warm start), in nats per loss-mask token.

    Args:
        logps_BT, reference_BT: log-probabilities of the sampled tokens under the policy and under the warm start.
        mask_BT: the loss mask.
    """
    return float(k3((reference_BT - logps_BT)[mask_BT]).mean())


def clip_metrics(ratio: Tensor, entropy: Tensor, clip_range: tuple[float, float], high: float) -> dict[str, float]:
    """Rollout entropy of the tokens outside and inside the clip range, as sums for averaging over updates.

    Args:
        ratio, entropy: one value per loss-mask token; entropy in nats, at rollout.
        clip_range: the lowest and the highest ratio that is not clipped.
        high: the entropy from which on a token is among the top 20 %.
    """
    low_end, high_end = clip_range
    outside = (ratio < low_end) | (ratio > high_end)
    return {
        "outside": float(outside.sum()),
        "inside": float((~outside).sum()),
        "entropy_outside_sum": float(entropy[outside].sum()),
        "entropy_inside_sum": float(entropy[~outside].sum()),
        "outside_top20": float((entropy[outside] >= high).sum()),
    }


def update_metrics(updates: list[dict[str, float]], of_method: Iterable[str]) -> dict[str, float]:
    """Averages over the updates of one RL step, token-weighted where the metric is a share of tokens.

    Args:
        updates: what the loss of each update reported, `clip_metrics` and grad_norm included.
        of_method: `Algorithm.metrics`, of which updates may report some.
    """
    tokens = sum(u["tokens"] for u in updates)
    outside, inside = sum(u["outside"] for u in updates), sum(u["inside"] for u in updates)
    nan = float("nan")
    shares = ("outside_clip_fraction", "clip_fraction_low", "clip_fraction_high")
    return {
        **{name: sum(u[name] * u["tokens"] for u in updates) / tokens for name in shares},
        "entropy_outside": sum(u["entropy_outside_sum"] for u in updates) / outside if outside else nan,
        "entropy_inside": sum(u["entropy_inside_sum"] for u in updates) / inside if inside else nan,
        "outside_top20_share": sum(u["outside_top20"] for u in updates) / outside if outside else nan,
        "kl_warm_start": updates[0]["kl_warm_start"],
        "grad_norm": sum(u["grad_norm"] for u in updates) / len(updates),
        "loss": sum(u["loss"] for u in updates) / len(updates),
        **{name: _token_mean(updates, name) for name in of_method if any(name in u for u in updates)},
    }


def _token_mean(updates: list[dict[str, float]], name: str) -> float:
    """Mean over the updates that report `name`, weighted by their tokens."""
    having = [u for u in updates if name in u]
    return sum(u[name] * u["tokens"] for u in having) / sum(u["tokens"] for u in having)
