"""What the vLLM engine needs of mathematics: truncated entropy with its bound, and weights for the sampler's gap."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reproduce.algorithms import load
from reproduce.rollouts.engines.entropy_topk import entropy_topk, hidden_entropy
from reproduce.training.sampler_weights import sampler_weights


def exact(logps_TV):
    return -(logps_TV.exp() * logps_TV).sum(-1)


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 60), st.integers(1, 60), st.floats(0.1, 12.0), st.integers(0, 10_000))
def test_the_bounds_hold_for_any_distribution(vocabulary, k, scale, seed):
    k = min(k, vocabulary)
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(5, vocabulary)) * scale)
    logps = torch.log_softmax(logits, -1)
    top = logps.topk(k, -1).values
    hidden = exact(logps) - entropy_topk(top)
    low, high = hidden_entropy(top, vocabulary)
    assert (low <= hidden + 1e-9).all() and (hidden <= high + 1e-9).all()
    if k == vocabulary:
        assert torch.equal(high, torch.zeros(5, dtype=torch.float64)) and hidden.abs().max() < 1e-12


def test_both_bounds_are_attained():
    even = torch.log(torch.tensor([[0.4, 0.2, 0.1, 0.1, 0.1, 0.1]], dtype=torch.float64))
    low, high = hidden_entropy(even[:, :2], 6)
    assert float(exact(even) - entropy_topk(even[:, :2])) == pytest.approx(float(high))
    assert float(low) == pytest.approx(-2 * 0.2 * math.log(0.2))  # two more of 0.2 would fit the same top
    packed = torch.log(torch.tensor([[0.4, 0.25, 0.25, 0.1, 1e-30, 1e-30]], dtype=torch.float64))
    low, high = hidden_entropy(packed[:, :2], 6)
    assert float(exact(packed) - entropy_topk(packed[:, :2])) == pytest.approx(float(low)) and low < high


def test_more_probabilities_than_words_is_an_error():
    with pytest.raises(ValueError, match="vocabulary of 3"):
        hidden_entropy(torch.zeros(1, 4), 3)


OLD = torch.log(torch.tensor([[0.5, 0.4, 0.9], [0.2, 0.3, 0.1]]))
SAMPLER = torch.log(torch.tensor([[0.5, 0.1, 0.3], [0.4, 0.3, 0.9]]))
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize(
    ("mode", "low", "high", "expected", "share"),
    [
        ("token_truncate", None, 2.0, [[1, 2, 2], [0.5, 1, 1]], 2 / 5),
        ("token_truncate", 0.8, 3.5, [[1, 3.5, 3], [0.8, 1, 1]], 2 / 5),
        ("token_mask", None, 2.0, [[1, 0, 0], [0.5, 1, 1]], 2 / 5),
        ("sequence_truncate", None, 3.0, [[3, 3, 3], [0.5, 0.5, 1]], 1 / 2),
        ("sequence_mask", None, 3.0, [[0, 0, 0], [0.5, 0.5, 1]], 1 / 2),
        ("token_truncate", None, None, [[1, 4, 3], [0.5, 1, 1]], 0.0),
    ],
)
def test_weights_and_metrics(mode, low, high, expected, share):
    weights, metrics = sampler_weights(OLD, SAMPLER, MASK, mode, low, high)
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float32))
    ratios = [1, 4, 3, 0.5, 1] if mode.startswith("token") else [12, 0.5]
    assert metrics["sampler_ratio_mean"] == pytest.approx(np.mean(ratios), rel=1e-6)
    assert metrics["sampler_ratio_max"] == pytest.approx(max(ratios), rel=1e-6)
    assert metrics["sampler_share_capped"] == pytest.approx(share)
    assert metrics["sampler_gap_mean"] == pytest.approx((math.log(4) + math.log(3) + math.log(2)) / 5, rel=1e-6)
    assert metrics["sampler_gap_max"] == pytest.approx(math.log(4), rel=1e-6)


def test_no_gap_gives_weights_of_one():
    weights, metrics = sampler_weights(OLD, OLD, MASK)
    assert torch.equal(weights, torch.ones_like(OLD)) and metrics["sampler_ratio_max"] == 1.0


def test_a_missing_log_probability_is_an_error_inside_the_mask_only():
    broken = SAMPLER.clone()
    broken[1, 2] = float("nan")
    assert torch.isfinite(sampler_weights(OLD, broken, MASK)[0]).all()
    broken[1, 1] = float("-inf")
    with pytest.raises(ValueError, match="no finite log-probability"):
        sampler_weights(OLD, broken, MASK)
    with pytest.raises(ValueError, match="there is no mode 'clip'"):
        sampler_weights(OLD, SAMPLER, MASK, "clip")


def test_the_loss_of_a_method_is_weighted_and_its_regularisers_are_not():
    weights = torch.tensor([[1.0, 3.0, 2.0], [0.5, 1.0, 1.0]])
    advantages = torch.tensor([[1.0, -1.0, 0.5], [2.0, -0.5, 1.0]])
    logps = (OLD + 0.1).requires_grad_()
    method = load("dapo", clip_low=0.5, clip_high=0.5)
    plain, _ = method.loss(logps, OLD, advantages * weights, MASK)
    weighted, metrics = method.loss(logps, OLD, advantages, MASK, sampler_weights_BT=weights)
    torch.testing.assert_close(weighted, plain)
    ones, same = method.loss(logps, OLD, advantages, MASK, sampler_weights_BT=torch.ones_like(weights))
    without, unweighted = method.loss(logps, OLD, advantages, MASK)
    assert torch.equal(ones, without) and same == unweighted and metrics["ratio_mean"] == same["ratio_mean"]
    with pytest.raises(ValueError, match="sampler_weights_BT has shape"):
        method.loss(logps, OLD, advantages, MASK, sampler_weights_BT=weights[:1])
