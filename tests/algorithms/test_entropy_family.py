"""The entropy family: each method's loss in numpy from its formula, its gradient factors, its draws."""

import json
import math

import numpy as np
import pytest
import torch
from method_batch import loss_and_gradient
from reference_loss import RATIOS, case, check, clipped, loss_of
from trainers import config, trainer

from reproduce.algorithms import inert_at_one_update, load
from reproduce.algorithms.clip_cov import CovarianceDrop
from reproduce.algorithms.minpro import prefix_minimum
from reproduce.algorithms.parts.draws import Draws
from reproduce.algorithms.stapo import quantile


def test_dapo_on_forking_tokens():
    algorithm, data, advantages, ratio, a, mask = case("dapo-8020", top_entropy_fraction=0.3)
    kept = math.ceil(0.3 * mask.sum())
    chosen = np.zeros_like(mask)
    entropies = np.where(mask, data["entropies_BT"].numpy(), -np.inf)
    chosen.flat[np.argsort(-entropies, axis=None, kind="stable")[:kept]] = True
    value, gradient = clipped(ratio, a, 0.8, 1.28, 10.0)
    check(algorithm, data, advantages, chosen * value / kept, chosen * gradient / kept)


@pytest.mark.parametrize(("name", "keep"), [("erc", None), ("erc-gppo", True)])
def test_the_entropy_gate(name, keep):
    algorithm, data, advantages, ratio, a, mask = case(name, seed=3)
    old = data["old_entropies_BT"] = data["old_entropies_BT"].abs() + 0.1
    moved = 1 + 0.12 * torch.tanh(torch.randn(old.shape, generator=torch.Generator().manual_seed(1)).double())
    data["entropies_BT"] = old * moved
    gate = (0.95 < moved.numpy()) & (moved.numpy() < 1.05)
    assert 0.2 < gate[mask].mean() < 0.8
    high = 1.2 if keep else 1.28
    value, gradient = clipped(ratio, a, 0.8, high, 10.0)
    if keep:
        gradient = np.where((a > 0) & (ratio > high), high * a, np.where((a < 0) & (ratio < 0.8), 0.8 * a, gradient))
    check(algorithm, data, advantages, gate * value / mask.sum(), gate * gradient / mask.sum())
    _, metrics = loss_of(algorithm, data, advantages)
    assert metrics["erc/kept"] == pytest.approx(gate[mask].mean())
    tenths = [metrics[f"erc/kept_{i}"] for i in range(10)]
    order = np.argsort(old.numpy()[mask], kind="stable")
    assert tenths == pytest.approx([part.mean() for part in np.array_split(gate[mask][order].astype(float), 10)])


@pytest.mark.parametrize(("moved", "kept"), [(1.0, 1.0), (2.0, 0.0), (0.95, 0.0), (1.0499, 1.0)])
def test_the_gate_is_open_for_entropies_that_stayed_and_strict_at_its_ends(moved, kept):
    gate = load("erc", entropy_floor=1e-300).token_weight
    old = torch.full((1, 3), 0.5, dtype=torch.float64)
    weight, metrics = gate({"entropies_BT": old * moved, "old_entropies_BT": old}, torch.ones(1, 3).bool())
    assert weight.tolist() == [[kept] * 3] and metrics["erc/kept"] == kept


def test_stapo_silences_rare_rewarded_tokens_below_the_quantile():
    algorithm, data, advantages, ratio, a, mask = case("stapo", seed=1, spurious_probability=0.35)
    entropies, probability = data["entropies_BT"].numpy(), data["logps_BT"].exp().numpy()
    threshold = np.quantile(entropies[mask], 0.8)
    silent = mask & (a > 0) & (probability < 0.35) & (entropies < threshold)
    rare = mask & (a > 0) & (probability < 0.35)
    assert 0 < silent.sum() < rare.sum()
    value, gradient = clipped(ratio, a, 0.8, 1.28)
    kept = (mask & ~silent).sum()
    check(algorithm, data, advantages, ~silent * value / kept, ~silent * gradient / kept)
    _, metrics = loss_of(algorithm, data, advantages)
    found = [metrics[f"stapo/{name}"] for name in ("silenced", "rare", "entropy_threshold")]
    assert found == pytest.approx([silent.sum() / mask.sum(), rare.sum() / mask.sum(), threshold])
    punished = loss_of(algorithm, data, -advantages.abs())[1]
    assert punished["stapo/silenced"] == 0, "tokens with A <= 0 are never silenced"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_quantile_is_numpys(count, share):
    values = torch.randn(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    assert float(quantile(values, share)) == pytest.approx(float(np.quantile(values.numpy(), share)), abs=1e-15)


@pytest.mark.parametrize("bounds", [{}, {"clip_low": 0.2, "clip_high": 0.28}])
def test_minpro_weighs_by_the_smallest_ratio_before(bounds):
    algorithm, data, advantages, ratio, a, mask = case("minpro", seed=2, **bounds)
    weight = np.zeros_like(ratio)
    for i, row in enumerate(mask):
        smallest = 1.0
        seen = []
        for t in np.flatnonzero(row):
            weight[i, t] = (min(seen) if seen else smallest) * ratio[i, t]
            seen.append(ratio[i, t])
    low, high = (0.8, 1.28) if bounds else (0.0, 5.0)
    weight = np.clip(weight, low, high)
    logps = data["logps_BT"].numpy()
    check(algorithm, data, advantages, weight * a * logps / mask.sum(), weight * a / mask.sum())


def test_the_prefix_minimum_is_exclusive_skips_what_is_masked_and_ignores_what_follows():
    nan = float("nan")
    logs = torch.tensor([[0.3, nan, -0.2, 0.1, nan, 0.0], [nan, nan, 0.4, 0.5, 0.1, 9.0]])
    mask = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 0, 1, 1, 1, 0]]).bool()
    found = prefix_minimum(logs, mask)
    expected = torch.tensor([[0.0, 0.3, 0.3, -0.2, -0.2, -0.2], [0.0, 0.0, 0.0, 0.4, 0.4, 0.1]])
    assert torch.equal(found, expected), "above 0 too: a first ratio of 1.35 is a minimum of 1.35"
    logs = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    later, everything = torch.cat([logs[:, :4], logs[:, 4:].flip(1)], dim=1), torch.ones(3, 8).bool()
    assert torch.equal(prefix_minimum(later, everything)[:, :5], prefix_minimum(logs, everything)[:, :5])
    assert prefix_minimum(torch.zeros(2, 0), torch.zeros(2, 0).bool()).shape == (2, 0)


@pytest.mark.parametrize(
    ("smallest", "bounds", "factors"),
    [
        (1.0, {"clip_low": 0.2, "clip_high": 0.28}, (0.8, 0.9, 1.0, 1.1, 1.28, 1.28)),
        (0.5, {"clip_low": 0.2, "clip_high": 0.28}, (0.8, 0.8, 0.8, 0.8, 0.8, 1.28)),
        (0.5, {}, (0.25, 0.45, 0.5, 0.55, 0.75, 2.0)),
    ],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_minpros_gradient_factors_after_a_smaller_ratio(smallest, bounds, factors, sign):
    """Rows of two tokens, the first of which has the smallest ratio."""
    algorithm = load("minpro", **bounds)
    old = torch.full((len(RATIOS), 2), -6.0, dtype=torch.float64)
    ratios = torch.tensor([[smallest, ratio] for ratio in RATIOS], dtype=torch.float64)
    logps = (old + ratios.log()).requires_grad_()
    loss, _ = algorithm.loss(logps, old, torch.full_like(old, sign), torch.ones_like(old), normalizer=1.0)
    loss.backward()
    assert (-logps.grad[:, 1]).tolist() == pytest.approx([sign * factor for factor in factors])


def test_minirl_weighs_by_the_sampler_up_to_its_cap_and_masks_by_the_trainer():
    algorithm, data, advantages, ratio, a, mask = case("minirl", seed=4)
    sampler = data["sampler_logps_BT"] = data["old_logps_BT"] - 1.2 * torch.rand(
        data["old_logps_BT"].shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    weight = np.minimum((data["logps_BT"] - sampler).exp().numpy(), 5.0)
    assert (weight[mask] == 5.0).any()
    learns = ~((a > 0) & (ratio > 1.27) | (a < 0) & (ratio < 0.8))
    rows = len(mask)
    value, gradient = learns * weight * a * data["logps_BT"].numpy() / rows, learns * weight * a / rows
    check(algorithm, data, advantages, value, gradient)
    _, metrics = loss_of(algorithm, data, advantages)
    assert metrics["minirl/capped"] == pytest.approx((weight[mask] == 5.0).mean())
    given = {"sampler_logps_BT": sampler, "sampler_weights_BT": torch.full_like(sampler, 0.5)}
    corrected, _ = algorithm.loss(data["logps_BT"], data["old_logps_BT"], advantages, data["mask_BT"], **given)
    assert float(corrected) == float(loss_of(algorithm, data, advantages)[0]), "no second correction"


def test_minirl_has_ppos_gradient_where_the_sampler_is_the_trainer():
    algorithm, data, advantages, *_ = case("minirl", seed=4)
    data["sampler_logps_BT"] = data["old_logps_BT"]
    plain = load("dr-grpo", clip_low=0.2, clip_high=0.27, length_constant=1)
    pairs = [loss_and_gradient(method, data, advantages)[1] for method in (algorithm, plain)]
    torch.testing.assert_close(*pairs, atol=1e-12, rtol=0)


def covariances(cov, old=None):
    """Tensors of one row whose covariances are `cov` (advantages of ±1 with mean 0, log pi to fit), all ratios 1."""
    half = len(cov)
    logps = torch.tensor([*cov, *[-c for c in cov]], dtype=torch.float64)[None]
    advantages = torch.tensor([1.0] * half + [-1.0] * half, dtype=torch.float64)[None]
    return {"logps_BT": logps, "old_logps_BT": logps if old is None else old, "advantages_BT": advantages}


def test_clip_cov_drops_among_tokens_of_middling_covariance():
    """Log pi of mean 0 and advantages of ±1: cov is A log pi, so 0.5, 2, 3, 4.9, 6 twice each."""
    tensors = covariances((0.5, 2.0, 3.0, 4.9, 6.0)) | {"clip_range": (0.0, 2.0), "draw_seed": 1}
    mask = torch.ones(1, 10).bool()
    weight, metrics = CovarianceDrop(covariance_drop=0.25)(tensors, mask)
    assert metrics == {"clip_cov/dropped": 2.0, "clip_cov/candidates": 6.0}
    assert (weight == 0).sum() == 2 and not (weight[0, [0, 4, 5, 9]] == 0).any()
    everything, metrics = CovarianceDrop(covariance_drop=1.0)(tensors, mask)
    assert (everything == 0).sum() == 6, "all of them where there are fewer"
    one, _ = CovarianceDrop()(tensors, mask)
    assert (one == 0).sum() == 1, "at least one"
    seen = {tuple(CovarianceDrop()(tensors | {"draw_seed": s}, mask)[0][0].tolist()) for s in range(60)}
    assert len(seen) == 6, "each of them may be drawn"
    none, metrics = CovarianceDrop()(covariances((0.1, 0.2)) | {"clip_range": (0.0, 2.0), "draw_seed": 1}, mask[:, :4])
    assert (none == 1).all() and metrics["clip_cov/candidates"] == 0


def test_clip_cov_never_draws_a_token_that_the_ratio_bound_stops():
    tensors = covariances((2.0, 3.0)) | {"clip_range": (0.0, 2.0), "draw_seed": 1}
    tensors["old_logps_BT"] = tensors["logps_BT"] - torch.tensor([[1.0, 0.0, 1.0, 0.0]])  # ratios of e: 2 stops A > 0
    weight, metrics = CovarianceDrop(covariance_drop=1.0)(tensors, torch.ones(1, 4).bool())
    assert weight.tolist() == [[1, 0, 0, 0]] and metrics["clip_cov/candidates"] == 3


def test_draws_differ_from_update_to_update_and_continue_after_a_restart():
    draws = Draws(5, "clip-cov")
    seen = []
    for _ in range(4):
        draws.on_minibatch({}, None)
        seen.append(draws.numbers()["draw_seed"])
    assert len(set(seen)) == 4
    again = Draws(5, "clip-cov")
    again.load_state_dict({"updates": 2})
    again.on_minibatch({}, None)
    assert again.numbers()["draw_seed"] == seen[2] != Draws(6, "clip-cov").numbers()["draw_seed"]


@pytest.mark.parametrize(
    ("name", "inert"),
    [
        ("clip-cov", ()),
        ("stapo", ()),
        ("dapo-8020", ()),
        ("minirl", ()),
        ("erc", ("token_weight EntropyRatioGate",)),
        ("minpro", ("ratio PrefixMinimum", "surrogate clipped_weight")),
    ],
)
def test_which_of_them_need_several_updates(name, inert):
    assert inert_at_one_update(load(name)) == inert


@pytest.mark.parametrize("name", ["clip-cov", "erc", "erc-gppo", "stapo", "minirl", "minpro", "dapo-8020"])
def test_a_run_trains_and_records_what_the_method_did(tmp_path, capsys, name):
    made = trainer(tmp_path, config(name))
    made.train()
    steps = [json.loads(path.read_text())["metrics"] for path in sorted(made.run.parts.glob("*.steps.json"))]
    assert len(steps) == 2
    for metric in made.algorithm.metrics:
        assert all(metric in step for step in steps)
    warned = "minirl weights by the sampler's" in capsys.readouterr().out
    assert warned == (name == "minirl")
    if name.startswith("erc"):
        assert 0 < steps[1]["erc/kept"] < 1, "entropies move within the updates of a step"
