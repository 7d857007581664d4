"""The released losses of ARPO and AEPO: what each switch does, and that without the switches they are the papers'."""

import math

import numpy as np
import pytest
import torch
from method_batch import loss_and_gradient, random_batch

from reproduce.algorithms import load
from reproduce.algorithms.parts.released.packing import micro_batches
from reproduce.errors import UserError

PAPER_LOSS = {"dual_clip": None, "token_weight": "none", "aggregation": "token_mean"}


def batch(seed=0, **changes):
    return random_batch(load("aepo"), seed) | changes


def advantages_of(algorithm, data):
    extra = {name: data[name] for name in algorithm.advantage_needs}
    return algorithm.advantages(data["rewards_B"], data["groups_B"], data["mask_BT"], **extra)


def updated(name, data, advantages=None, sizes=None, **overrides):
    """(loss, gradient) of `name` with overrides on a batch."""
    algorithm = load(name, **overrides)
    advantages = advantages_of(algorithm, data) if advantages is None else advantages
    return loss_and_gradient(algorithm, data, advantages, **(sizes or {}))


# ---------------------------------------------------------------- off means the paper


def test_with_every_switch_off_the_losses_are_those_of_the_papers():
    data = batch()
    arpo = updated("arpo-released", data, dual_clip=None, aggregation="sequence_mean")
    aepo = updated("aepo-released", data, advantage="entropy_aware", **PAPER_LOSS)
    for ours, paper in ((arpo, updated("arpo", data)), (aepo, updated("aepo", data))):
        assert torch.equal(ours[0], paper[0]) and torch.equal(ours[1], paper[1])
    for name in ("arpo-released", "aepo-released"):
        assert not torch.allclose(updated(name, data)[1], updated(name.removesuffix("-released"), data)[1])


def test_aepos_components_each_change_something_and_without_all_of_them_it_is_arpo():
    """On tokens off the ratio 1: the two loss components. The two of the rollout: the policy's decisions."""
    components = ("dynamic_budget", "branch_penalty", "entropy_advantage", "gradient_keeping_clip")
    data, full = batch(1), load("aepo")
    for component in components:
        alone = load("aepo", **{component: False})
        same_loss = torch.equal(updated("aepo", data)[1], updated("aepo", data, **{component: False})[1])
        assert same_loss == (component in components[:2])
        budgets = [policy.initial(16, 3.0, 0.5) for policy in (full.rollout, alone.rollout)]
        assert (budgets[0] == budgets[1]) == (component != "dynamic_budget")
        chances = [policy.branch_probability(0.5, 4) for policy in (full.rollout, alone.rollout)]
        assert (chances[0] == chances[1]) == (component != "branch_penalty")
    none = load("aepo", **dict.fromkeys(components, False))
    arpo, plain = load("arpo"), updated("aepo", data, **dict.fromkeys(components, False))
    assert torch.equal(advantages_of(none, data), advantages_of(arpo, data))
    expected = updated("arpo", data, aggregation="token_mean")
    assert torch.equal(plain[0], expected[0]) and torch.equal(plain[1], expected[1])
    for change in (-1.0, 0.0, 0.4):
        assert none.rollout.branch_probability(change, 7) == arpo.rollout.branch_probability(change, 7)
    assert none.rollout.initial(16) == arpo.rollout.initial(16) and not none.rollout.needs_pilot


# ---------------------------------------------------------------- dual clip


@pytest.mark.parametrize(("name", "above"), [("arpo-released", 0.0), ("aepo-released", 1.2)])
def test_gradients_of_the_released_surrogates(name, above):
    ratios = torch.tensor([[0.5, 1.0, 1.1, 1.5, 4.0]], dtype=torch.float64)
    for sign, expected in ((1.0, [0.5, 1.0, 1.1, above, above]), (-1.0, [0.0, -1.0, -1.1, -1.5, 0.0])):
        logps = ratios.log().requires_grad_()
        old, mask = torch.zeros_like(ratios), torch.ones_like(ratios)
        load(name).loss(logps, old, torch.full_like(ratios, sign), mask)[0].backward()
        np.testing.assert_allclose(-5 * logps.grad[0].numpy(), expected, atol=1e-12)
    data = batch(2)
    data["logps_BT"] = data["old_logps_BT"] + 1.5  # ratio 4.5
    assert updated(name, data)[1][advantages_of(load(name), data) < 0].eq(0).all()
    assert updated(name, data, dual_clip=None)[1][(advantages_of(load(name), data) < 0) & data["mask_BT"]].ne(0).all()


# ---------------------------------------------------------------- micro-batches


def test_rows_are_packed_by_tokens():
    mask = torch.zeros(5, 10, dtype=torch.bool)
    for row, length in enumerate((10, 2, 9, 4, 3)):
        mask[row, 0 if length < 4 else 1 : length] = True
    packs = micro_batches(mask, 2.0)  # 28 tokens, about 20 in each: two
    loads = [sum((10, 2, 9, 4, 3)[row] for row in range(5) if packs[row] == pack) for pack in range(2)]
    assert loads == [10 + 3 + 2, 9 + 4], "longest first, each to the emptiest"
    assert not micro_batches(mask, None).any() and not micro_batches(mask, 3.0).any()
    assert micro_batches(mask, 1.0).max() == 2 and micro_batches(torch.zeros(2, 3, dtype=torch.bool), 2.0).max() == 0


@pytest.mark.parametrize("name", ["arpo-released", "aepo-released"])
def test_token_means_are_of_micro_batches_and_depend_on_the_packing(name):
    data = batch(3)
    algorithm = load(name)
    advantages = advantages_of(algorithm, data)
    values = -algorithm.surrogate(algorithm.ratio(data, data["mask_BT"]), advantages).objective_BT
    packs = micro_batches(data["mask_BT"], 2.0)
    expected = 0.0
    for pack in packs.unique():
        rows = packs == pack
        expected += int(rows.sum()) / 6 * values[rows][data["mask_BT"][rows]].mean()
    assert packs.max() > 0
    released, _ = updated(name, data)
    assert released.item() == pytest.approx(expected.item(), abs=1e-12)
    one, _ = updated(name, data, micro_batch_sequences=None)
    paper, _ = updated(name, data, aggregation="token_mean")
    assert one.item() == pytest.approx(paper.item(), abs=1e-12), "one micro-batch is the token mean over all"
    others = {round(updated(name, data, micro_batch_sequences=n)[0].item(), 6) for n in (1.0, 2.0, 3.0)}
    assert len(others | {round(one.item(), 6)}) == 4, "each packing has another loss"
    # a caller that splits for itself: each part is a micro-batch, weighted by its share of the rows
    parts = [
        updated(
            name,
            {key: value[rows] for key, value in data.items()},
            advantages[rows],
            {"rows": 6, "normalizer": 1},
            micro_batch_sequences=None,
        )[0]
        for rows in (packs == pack for pack in packs.unique())
    ]
    assert sum(parts).item() == pytest.approx(released.item(), abs=1e-12)


# ---------------------------------------------------------------- the entropy factor


def test_the_released_entropy_advantage_does_nothing():
    data, released = batch(4), load("aepo-released")
    assert released.settings["entropy_advantage"] is True and "entropies_BT" not in released.loss_needs
    for off in ({"entropy_advantage": False}, {"token_weight": "none"}):
        assert torch.equal(updated("aepo-released", data)[1], updated("aepo-released", data, **off)[1])
    acting = load("aepo-released", factor_silently_off=False)
    assert acting.loss_needs.count("entropies_BT") == 1
    assert not torch.allclose(
        updated("aepo-released", data)[1], loss_and_gradient(acting, data, advantages_of(acting, data))[1]
    )
    same = updated("aepo-released", data, factor_silently_off=False, entropy_coefficient=0.0)
    assert torch.equal(same[1], updated("aepo-released", data)[1])


def test_the_factor_uses_current_entropies_of_the_micro_batch():
    data = batch(5)
    on = {"factor_silently_off": False}
    packs, mask, entropies = micro_batches(data["mask_BT"], 2.0), data["mask_BT"], data["entropies_BT"]
    factor = torch.ones_like(entropies)
    for pack in packs.unique():
        chosen = mask & (packs == pack)[:, None]
        kept = entropies[chosen].numpy()
        factor[chosen] += 0.2 * torch.from_numpy((kept - kept.mean()) / kept.std(ddof=1))
    assert (factor > 0).all() and packs.max() > 0
    plain = load("aepo-released")
    modulated = advantages_of(plain, data) * factor  # in the released code the factor multiplies the advantage
    expected = loss_and_gradient(plain, data, modulated)
    ours = updated("aepo-released", data, **on)
    torch.testing.assert_close(ours[0], expected[0], atol=1e-12, rtol=0)
    torch.testing.assert_close(ours[1], expected[1], atol=1e-12, rtol=0)
    whole = updated("aepo-released", data, **on, statistics_sequences=None)
    assert not torch.allclose(whole[1], ours[1]), "the statistics depend on the packing"
    # over one micro-batch and at the entropies of the rollout, the factor is the paper's
    paper = updated("aepo", data, dual_clip=3.0)
    one = updated("aepo-released", data, **on, statistics_sequences=None, micro_batch_sequences=None)
    torch.testing.assert_close(one[1], paper[1], atol=1e-12, rtol=0)
    moved = data | {"entropies_BT": data["entropies_BT"].flip(1)}
    assert not torch.allclose(updated("aepo-released", moved, **on)[1], ours[1]), "entropies are the current policy's"


def test_the_factor_carries_no_gradient_and_needs_entropies():
    data = batch(6)
    algorithm = load("aepo-released", factor_silently_off=False)
    entropies = data["entropies_BT"].clone().requires_grad_()
    logps = data["logps_BT"].clone().requires_grad_()
    arguments = (logps, data["old_logps_BT"], advantages_of(algorithm, data), data["mask_BT"])
    algorithm.loss(*arguments, entropies_BT=entropies)[0].backward()
    assert entropies.grad is None and logps.grad.any()
    with pytest.raises(ValueError, match="'current_entropy_factor' needs entropies_BT"):
        algorithm.loss(*arguments)


# ---------------------------------------------------------------- where the released code gives NaN


def test_the_released_clip_is_nan_at_underflow_and_overflow_and_ours_is_not():
    high = 1.2
    for log_ratio in (-200.0, 200.0):  # 0 and inf in float32
        logps = torch.tensor([log_ratio, 0.0], requires_grad=True)
        delta = logps.exp()
        clipped = torch.min(delta, torch.minimum(delta.clamp(min=0.8), high / delta.detach() * delta))
        assert torch.isnan(clipped[0]) and torch.isnan((clipped * torch.tensor([0.0, 1.0])).sum()), "masked as well"
        for masked in (False, True):
            ours = torch.tensor([[log_ratio, 0.0]], requires_grad=True)
            mask = torch.tensor([[not masked, True]])
            for sign in (1.0, -1.0):
                loss, _ = load("aepo-released").loss(ours, torch.zeros(1, 2), torch.full((1, 2), sign), mask)
                loss.backward()
                assert loss.isfinite() and ours.grad.isfinite().all()


def test_the_released_factor_is_nan_for_a_single_token_and_ours_is_one():
    entropy = torch.tensor([0.7])
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert torch.isnan((entropy - entropy.mean()) / entropy.std())
    data = {name: torch.tensor([[value]]) for name, value in (("logps_BT", -1.0), ("old_logps_BT", -1.1))}
    data |= {"mask_BT": torch.ones(1, 1, dtype=torch.bool), "entropies_BT": torch.tensor([[0.7]])}
    on, off = (updated("aepo-released", data, torch.ones(1, 1), factor_silently_off=silent) for silent in (False, True))
    assert math.isfinite(on[0]) and torch.equal(on[1], off[1])


# ---------------------------------------------------------------- refusals

BAD = [
    ({"entropy_coefficient": 0.4}, "entropy_coefficient has no effect with factor_silently_off=True"),
    ({"statistics_sequences": 3.0}, "statistics_sequences has no effect with factor_silently_off=True"),
    ({"entropy_advantage": False, "factor_silently_off": False}, "factor_silently_off has no effect"),
    ({"micro_batch_sequences": 0.5}, "micro_batch_sequences must be a number from 1"),
    ({"gradient_keeping": False}, "did you mean 'gradient_keeping_clip'"),
]


@pytest.mark.parametrize(("overrides", "message"), BAD)
def test_settings_without_effect_or_out_of_range_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        load("aepo-released", **overrides)


def test_the_released_settings_are_chosen_by_name_alone():
    arpo, aepo = load("arpo-released").settings, load("aepo-released").settings
    for chosen in (arpo, aepo):
        assert (chosen["dual_clip"], chosen["clip_low"], chosen["clip_high"]) == (3.0, 0.2, 0.2)
        assert (chosen["decision"], chosen["initial_fraction"], chosen["kl_coefficient"]) == ("bernoulli", 0.5, 0.0)
        assert (chosen["advantage"], chosen["aggregation"]) == ("group_zscore", "micro_batch_token_mean")
        switches = (
            "late_test",
            "stale_baseline",
            "child_own_baseline",
            "lockstep",
            "single_fill_up",
            "eos_at_call_limit",
        )
        assert all(chosen[switch] is True for switch in switches)
    assert (arpo["surrogate"], aepo["surrogate"]) == ("ppo_min", "upper_gradient_keeping")
    assert (aepo["dynamic_budget"], aepo["branch_penalty"], aepo["factor_silently_off"]) == (False, True, True)
