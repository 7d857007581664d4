"""The audit's rows on the entropy family: each claim on the committed batch."""

from functools import cache

import pytest
import torch
from places import ROOT

from analysis import fidelity
from analysis.fidelity import family
from analysis.fidelity.batch import Batch, advantages, gradient
from reproduce.algorithms import for_run, inert_at_one_update, load, names
from reproduce.errors import UserError


@cache
def batch() -> Batch:
    return fidelity.load_batch(ROOT / "data" / "fidelity")


@cache
def value(name: str) -> float:
    of = fidelity.MEASURES[name].of
    return float(fidelity.MEASURES[name].compute(*([batch()] if of == "batch" else [])))


def test_the_low_bound_takes_from_rewarded_mass_on_the_real_batch():
    assert value("low_bound_value") < 0 < value("low_bound_gradient")
    clipped = (batch().ratios < 0.9) & (advantages(batch(), load("bapo"))[batch().mask_BT] < 0)
    assert 10 < clipped.sum() < 1000, "few tokens are below the bound"


def test_bapos_value_sets_are_other_gradients():
    assert value("bapo_launcher") > 1 and value("bapo_ends") > 1
    low_end, high_end = 0.8, 2.0
    _, ends = loss(load("bapo", balance_target=1e9))
    assert (ends["bapo/low"], ends["bapo/high"], ends["bapo/met"]) == (low_end, high_end, 0.0)
    _, launcher = loss(load("bapo", **family.LAUNCHER))
    assert launcher["bapo/low"] >= 0.8 and load("bapo").surrogate.low_start == 0.6


def loss(algorithm):
    t = batch().tensors
    return algorithm.loss(t["logps_BT"], t["old_logps_BT"], advantages(batch(), algorithm), batch().mask_BT)


def test_both_readings_of_stapos_bound_are_far_apart():
    assert value("rare_tokens") > 10 and value("silenced_tokens") <= value("rare_tokens")
    assert value("entropy_bounds") > 10
    entropies = batch().tensors["entropies_BT"][batch().mask_BT]
    bounds = [family.gated(batch(), q)["stapo/entropy_threshold"] for q in (0.8, 0.2)]
    assert bounds == pytest.approx([float(entropies.quantile(q)) for q in (0.8, 0.2)])


def test_the_covariance_methods_have_no_dual_clip():
    assert load("clip-cov").settings["dual_clip"] is None and "dual_clip" not in load("kl-cov").settings
    assert value("clip_cov_dual_clip") == 0.0, "no token of the batch has A < 0 and a ratio above 3"
    logps = torch.tensor([[2.0, 2.4]], dtype=torch.float64).requires_grad_()  # ratios of 7.4 and 11, A < 0
    given = (torch.zeros_like(logps), torch.tensor([-1.0]), torch.ones_like(logps))
    for name, numbers in (("clip-cov", {"draw_seed": 0}), ("kl-cov", {})):
        (found,) = torch.autograd.grad(load(name, regularisers="none").loss(logps, *given, **numbers)[0], logps)
        torch.testing.assert_close(found, logps.detach().exp() / 2)


def test_a_percentage_read_as_a_share_is_another_method():
    assert value("kl_cov_percentage") > 10
    counts = []
    for fraction in (0.002, 0.2):
        _, metrics = loss(load("kl-cov", covariance_fraction=fraction))
        counts.append(metrics["kl_cov/tokens"])
    assert counts == [int(0.002 * batch().tokens), int(0.2 * batch().tokens)]


def test_minpros_assumed_bounds_matter():
    assert value("minpro_bounds") > 10
    assert "assumed" in load("minpro").sources["clip_low"] and "assumed" in load("minpro").sources["clip_high"]


def test_the_inert_ones_of_the_family_are_their_base_at_one_update():
    assert value("family_inert_at_ratio_one") < 1e-9 and value("family_inert_off_ratio_one") > 10
    assert set(family.INERT) <= {name for name in names() if inert_at_one_update(load(name))}
    for name in family.INERT:
        with pytest.raises(UserError, match=f"{name}: .* would change nothing with one update"):
            for_run(load(name), max_completion_tokens=9, updates_per_rollout=1)
    start, other = gradient(family.on_policy(batch()), "erc"), gradient(batch(), "erc")
    assert not torch.equal(start.logp_BT, other.logp_BT)
