"""The tensor functions that losses are made of, against values worked out independently of them."""

import math

import numpy as np
import pytest
import torch

from reproduce.algorithms.parts.advantages import entropy_factor, entropy_zscore, group_centred, group_zscore
from reproduce.algorithms.parts.aggregation import sequence_mean, token_mean, token_sum_const
from reproduce.algorithms.parts.groups import overlong_penalty, varied_groups
from reproduce.algorithms.parts.ratios import k3, sequence_ratio, token_ratio
from reproduce.algorithms.parts.regularisers import reference_kl
from reproduce.algorithms.parts.surrogates import clipped_weight, ppo_min

NAN, INF = float("nan"), float("inf")


def test_group_zscore_accepts_integer_rewards_and_refuses_nan():
    assert group_zscore(torch.tensor([0, 1]), torch.tensor([3, 3])).tolist() == pytest.approx(
        [-math.sqrt(0.5), math.sqrt(0.5)], abs=1e-5
    )
    with pytest.raises(ValueError, match="finite"):
        group_zscore(torch.tensor([0.0, NAN]), torch.tensor([3, 3]))


def test_a_weighted_group_mean_is_the_lowest_reward_where_nothing_weighs():
    rewards, groups = torch.tensor([1.0, 4.0, 2.0, 5.0]), torch.tensor([3, 3, 8, 8])
    weights = torch.tensor([2, 1, 0, 0])
    assert group_centred(rewards, groups, weights).tolist() == [-1.0, 2.0, 0.0, 3.0]


def test_entropy_zscore_spans_the_masked_tokens_of_all_rows():
    entropies = torch.tensor([[0.5, NAN, 2.0], [1.0, INF, 0.1]], dtype=torch.float64)
    mask = torch.tensor([[True, False, True], [True, False, True]])
    kept = np.array([0.5, 2.0, 1.0, 0.1])
    expected = (kept - kept.mean()) / kept.std(ddof=1)
    z = entropy_zscore(entropies, mask)
    np.testing.assert_allclose(z[mask].numpy(), expected, atol=1e-12)
    assert torch.equal(z[~mask], torch.zeros(2, dtype=torch.float64))
    np.testing.assert_allclose(entropy_factor(entropies, mask, 0.2)[mask].numpy(), 1 + 0.2 * expected, atol=1e-12)


@pytest.mark.parametrize("entropies", [[1.3], [0.1, 0.1, 0.1]])
def test_entropy_factor_is_one_without_any_spread(entropies):
    entropies = torch.tensor([entropies])
    mask = torch.ones_like(entropies, dtype=torch.bool)
    assert torch.equal(entropy_factor(entropies, mask, 0.2), torch.ones_like(entropies))


def test_entropy_factor_is_not_clamped_and_turns_negative_below_minus_one_over_a():
    entropies = torch.cat([torch.zeros(1), torch.full((99,), 1.0)])[None]  # z of the outlier is about -9.9
    factor = entropy_factor(entropies, torch.ones_like(entropies, dtype=torch.bool), 0.2)
    assert factor[0, 0] < -0.9 and factor[0, 1] > 1.0


def test_token_ratio_is_bounded_and_ignores_what_is_masked_out():
    logps = torch.tensor([[-1.0, NAN, -500.0, -0.1]], requires_grad=True)
    old = torch.tensor([[-1.5, INF, -0.5, -300.0]])
    ratio = token_ratio(logps, old, torch.tensor([[True, False, True, True]]))
    assert ratio.value_BT[0].tolist() == pytest.approx([math.exp(0.5), 1.0, math.exp(-20), math.exp(20)], rel=1e-6)
    ratio.value_BT.sum().backward()
    assert logps.grad[0].tolist() == pytest.approx([math.exp(0.5), 0.0, 0.0, 0.0], rel=1e-6)


def test_k3_is_schulmans_estimator_and_unbiased_for_the_kl():
    p, q = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.1, 0.6, 0.3])
    assert (p * k3((q / p).log())).sum().item() == pytest.approx((p * (p / q).log()).sum().item(), abs=1e-6)


def test_reference_kl_gradient_and_mask():
    logps = torch.tensor([[-1.0, -2.0]], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([[-1.7, NAN]], dtype=torch.float64)
    values = reference_kl(logps, reference, torch.tensor([[True, False]]))
    assert values[0].tolist() == pytest.approx([math.exp(-0.7) + 0.7 - 1.0, 0.0])
    values.sum().backward()
    assert logps.grad[0].tolist() == pytest.approx([1.0 - math.exp(-0.7), 0.0])


@pytest.mark.parametrize("keep", [None, 1.0])
@pytest.mark.parametrize("dual_clip", [None, 3.0])
def test_ppo_min_has_the_forward_value_of_the_clipped_minimum(keep, dual_clip):
    grid = torch.linspace(-3.0, 3.0, 121, dtype=torch.float64)
    logps = grid.repeat(2, 1)
    advantages = torch.tensor([[0.7], [-1.3]], dtype=torch.float64).expand(2, 121)
    ratio = token_ratio(logps, torch.zeros_like(logps), torch.ones_like(logps, dtype=torch.bool))
    delta = grid.exp().numpy()
    expected = np.stack([np.minimum(delta * a, np.clip(delta, 0.8, 1.28) * a) for a in (0.7, -1.3)])
    if dual_clip is not None:
        expected[1] = np.maximum(expected[1], dual_clip * -1.3)
    ours = ppo_min(ratio, advantages, 0.2, 0.28, dual_clip, keep, keep)
    np.testing.assert_allclose(ours.objective_BT.numpy(), expected, atol=1e-12)


def test_ppo_min_reports_which_side_acts():
    log = torch.tensor([[0.5, 1.5, 4.0, 1.0]], dtype=torch.float64).log()
    ratio = token_ratio(log, torch.zeros_like(log), torch.ones_like(log, dtype=torch.bool))
    up, down = torch.ones_like(log), -torch.ones_like(log)
    kept = ppo_min(ratio, up, 0.2, 0.28, 3.0, keep_high=1.0)
    assert kept.high_BT[0].tolist() == kept.kept_BT[0].tolist() == [False, True, True, False]
    assert not kept.low_BT.any()
    dual = ppo_min(ratio, down, 0.2, 0.28, 3.0, keep_high=1.0)
    assert dual.low_BT[0].tolist() == [True, False, False, False]
    assert dual.high_BT[0].tolist() == [False, False, True, False] and not dual.kept_BT.any()
    both = ppo_min(ratio, down, 0.2, 0.28, 3.0, keep_low=0.75, keep_high=1.0)
    assert both.kept_BT[0].tolist() == both.low_BT[0].tolist() == [True, False, False, False]
    assert both.objective_BT[0, 0].item() == pytest.approx(-0.75 * 0.8)


def test_kept_bounds_have_a_gradient_where_the_ratio_over_or_underflows():
    logps = torch.tensor([[-0.1, -900.0, -900.0, -0.1]], requires_grad=True)
    old = torch.tensor([[-400.0, -0.1, -0.1, -400.0]])
    ratio = token_ratio(logps, old, torch.ones(1, 4, dtype=torch.bool))
    advantages = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    ppo_min(ratio, advantages, 0.2, 0.2, 3.0, 0.75, 1.0).objective_BT.sum().backward()
    assert logps.grad[0].tolist() == pytest.approx([1.2, 0.0, -0.6, 0.0])


def test_kept_bounds_are_finite_at_a_ratio_of_exactly_zero_or_infinity():
    logps = torch.tensor([[-INF, -0.1, -INF, -0.1]], requires_grad=True)
    old = torch.tensor([[-0.1, -INF, -0.1, -INF]])
    ratio = token_ratio(logps, old, torch.ones(1, 4, dtype=torch.bool))
    kept = ppo_min(ratio, torch.tensor([[-1.0, 1.0, 1.0, -1.0]]), 0.2, 0.2, 3.0, 1.0, 1.0)
    kept.objective_BT.sum().backward()
    assert kept.objective_BT[0].tolist() == pytest.approx([-0.8, 1.2, 0.0, -3.0], abs=1e-6)
    assert not logps.grad.any()


def test_clipped_weight_reports_capped_weights_of_either_sign_and_none_without_advantage():
    log = torch.tensor([[0.5, 1.0, 6.0, 6.0, 6.0]], dtype=torch.float64).log()
    ratio = token_ratio(log, torch.zeros_like(log), torch.ones_like(log, dtype=torch.bool))
    capped = clipped_weight(ratio, torch.tensor([[1.0, 1.0, 1.0, -1.0, 0.0]]), 1.0, 4.0)
    assert not capped.low_BT.any()
    assert capped.high_BT[0].tolist() == capped.kept_BT[0].tolist() == [False, False, True, True, False]
    assert capped.objective_BT[0, 2].item() == pytest.approx(5 * math.log(6))
    raised = clipped_weight(ratio, torch.ones_like(log), 0.2, 4.0)
    assert raised.low_BT[0].tolist() == [True] + [False] * 4
    assert raised.kept_BT[0].tolist() == [True, False, True, True, True]


def test_sequence_ratio_is_the_geometric_mean_over_the_rows_own_tokens():
    logps = torch.tensor([[-1.0, NAN, -0.2], [INF, NAN, -INF]], requires_grad=True)
    old = torch.tensor([[-1.5, INF, -0.1], [NAN, NAN, NAN]])
    ratio = sequence_ratio(logps, old, torch.tensor([[True, False, True], [False, False, False]]))
    mean = math.exp((0.5 - 0.1) / 2)
    assert ratio.value_BT.tolist() == [pytest.approx([mean, 1.0, mean]), [1.0, 1.0, 1.0]]
    ratio.value_BT.sum().backward()
    assert logps.grad[0].tolist() == pytest.approx([mean, 0.0, mean]) and not logps.grad[1].any()
    assert ratio.logps_BT[0].tolist() == pytest.approx([-1.0, 0.0, -0.2])


def test_aggregations_are_the_means_they_are_named_after():
    values = torch.tensor([[1.0, 2.0, 3.0], [10.0, NAN, NAN], [NAN, NAN, NAN]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    assert sequence_mean(values, mask).item() == pytest.approx((2.0 + 10.0 + 0.0) / 3)
    assert sequence_mean(values, mask, rows=6).item() == pytest.approx(2.0)
    assert token_mean(values, mask).item() == pytest.approx(4.0)
    assert token_mean(values, mask, normalizer=torch.tensor(32)).item() == pytest.approx(0.5)
    assert token_sum_const(values, mask, length=8).item() == pytest.approx(16 / 24)
    assert token_sum_const(values, mask, length=8, rows=4).item() == pytest.approx(0.5)
    full = torch.ones_like(mask)
    same = torch.arange(9, dtype=torch.float64).reshape(3, 3)
    means = [sequence_mean(same, full), token_mean(same, full), token_sum_const(same, full, length=3)]
    assert [mean.item() for mean in means] == pytest.approx([4.0] * 3)  # equal lengths: all three agree


@pytest.mark.parametrize("aggregate", [sequence_mean, token_mean])
def test_an_empty_mask_gives_zero_with_a_gradient_of_zero(aggregate):
    values = torch.ones(2, 3, requires_grad=True)
    loss = aggregate(values, torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(values.grad, torch.zeros(2, 3))


def test_overlong_penalty_falls_linearly_in_the_buffer():
    lengths = torch.tensor([0, 16384, 16385, 18432, 20480, 30000])
    penalty = overlong_penalty(lengths, max_length=20480, buffer=0.2)
    assert penalty.tolist() == pytest.approx([0.0, 0.0, -1 / 4096, -0.5, -1.0, -1.0], abs=1e-7)
    assert overlong_penalty(torch.tensor([100]), 100, buffer=0.2, factor=0.5).item() == pytest.approx(-0.5)


def test_varied_groups_keeps_only_groups_with_two_different_rewards():
    rewards = torch.tensor([1.1, 1.1, 0.0, 0.5, -1.0, -1.0, 0.3])
    groups = torch.tensor([5, 5, 9, 9, 2, 2, 7])
    assert varied_groups(rewards, groups).tolist() == [False, False, True, True, False, False, False]
