"""The entropy family's second group: bounds that move, regions of calls, entropy held at a target, averaged weights."""

import json

import numpy as np
import pytest
import torch
from reference_loss import RATIOS, case, check, clipped, loss_of
from trainers import config, trainer

from reproduce.algorithms import for_run, inert_at_one_update, load
from reproduce.algorithms.parts.balanced_clip import BalancedClip, steps
from reproduce.algorithms.parts.ratios import token_ratio
from reproduce.algorithms.parts.regions import ARGUMENTS, FORMAT, NAME, REASONING, RegionWeight
from reproduce.errors import UserError

# ---------------------------------------------------------------- BAPO


def searched(ratio, a, criterion, order, target, low, high, mass="value", dual=None):
    """(c_low, c_high) of the formulas. low, high: (start, end, step)."""
    lows, highs = ([*np.arange(start, end - 1e-9, step), end] for start, end, step in (low, high))
    pairs = [(c, highs[0]) for c in lows] + [(lows[-1], c) for c in highs[1:]]
    if order == "high_first":
        pairs = [(lows[0], c) for c in highs] + [(c, highs[-1]) for c in lows[1:]]
    for low_bound, high_bound in pairs:
        positive = np.minimum(ratio * a, np.clip(ratio, 0, high_bound) * a)[a > 0]
        everything = np.minimum(ratio * a, np.clip(ratio, low_bound, high_bound) * a)
        if mass == "gradient":
            positive = (ratio * a)[(a > 0) & (ratio <= high_bound)]
            learns = (a > 0) & (ratio <= high_bound) | (a < 0) & (ratio >= low_bound) & (ratio <= (dual or np.inf))
            everything = (ratio * a)[learns]
        positive, whole = np.abs(positive).sum(), np.abs(everything).sum()
        found = positive / (whole - positive) if criterion == "ratio" else positive / whole
        if found >= target:
            break
    return low_bound, high_bound


RELEASED = ("ratio", "low_first", 1.0, (0.6, 0.8, 0.05), (1.2, 2.0, 0.05))
PAPER = ("share", "high_first", 0.5, (0.6, 0.9, 0.02), (1.2, 3.0, 0.05))


@pytest.mark.parametrize(("name", "form", "dual"), [("bapo", RELEASED, 3.0), ("bapo-paper", PAPER, None)])
@pytest.mark.parametrize("factor", [0.5, 0.999, 1.03, 1.1, 2.0])
@pytest.mark.parametrize("mass", ["value", "gradient"])
def test_bapos_bounds_are_the_first_that_meet_the_target(name, form, dual, factor, mass):
    """Targets around what the start bounds give: searches end at once, on the way or at the end."""
    criterion, order, _, low, high = form
    algorithm, data, advantages, ratio, a, mask = case(name, seed=5, balance_mass=mass)
    advantages = data["advantages_BT"] = torch.where(advantages > 0, 0.7 * advantages, advantages)
    a = advantages.numpy()
    start = algorithm.surrogate.masses(as_ratio(data), advantages, 0.6, 1.2)
    target = factor * (start[0] / start[1] if criterion == "ratio" else start[0] / sum(start))
    algorithm = algorithm.with_overrides(balance_target=target)
    bounds = searched(ratio[mask], a[mask], criterion, order, target, low, high, mass, dual)
    value, gradient = clipped(ratio, a, *bounds, dual)
    check(algorithm, data, advantages, value / mask.sum(), gradient / mask.sum())
    _, metrics = loss_of(algorithm, data, advantages)
    assert (metrics["bapo/low"], metrics["bapo/high"]) == pytest.approx(bounds)


def as_ratio(data):
    return token_ratio(data["logps_BT"], data["old_logps_BT"], data["mask_BT"])


def test_the_searches_of_the_last_test_stop_at_the_start_on_the_way_and_at_the_end():
    _, data, advantages, *_ = case("bapo", seed=5)
    ratio = as_ratio(data)
    for part in (load("bapo").surrogate, load("bapo-paper").surrogate):
        found = {}
        for target in (
            np.linspace(0.05, 3.0, 400) if part.balance_criterion == "ratio" else np.linspace(0.02, 0.98, 400)
        ):
            found.setdefault(with_target(part, target).bounds(ratio, advantages), target)
        ends = {(part.low_start, part.high_start), (part.low_end, part.high_end)}
        assert ends < found.keys() and len(found) > 4
        ordered = list(found)
        assert ordered == sorted(ordered), "bounds rise with the target"


def with_target(part, target):
    return BalancedClip(**{**vars(part), "balance_target": float(target)})


def test_a_higher_low_bound_takes_from_the_share_it_should_add_to():
    """The specification's first finding; with the mass that carries gradient it is the other way round."""
    for seed in range(5):
        _, data, advantages, *_ = case("bapo", seed=seed)
        ratio = as_ratio(data)
        for mass, sign in (("value", -1), ("gradient", 1)):
            part = load("bapo", balance_mass=mass).surrogate
            shares = []
            for low in (0.6, 0.7, 0.8, 0.9):
                positive, negative = part.masses(ratio, advantages, low, 1.2)
                shares.append(positive / (positive + negative))
            assert (np.diff(shares) * sign >= 0).all() and (shares[-1] - shares[0]) * sign > 0
            _, metrics = loss_of(load("bapo", balance_mass=mass), data, advantages)
            assert metrics["bapo/low_bound_effect"] * sign > 0


def test_half_of_the_mass_is_a_ratio_of_one():
    _, data, advantages, *_ = case("bapo", seed=2)
    half = load("bapo", balance_criterion="share", balance_target=0.5)
    assert loss_of(half, data, advantages)[1] == loss_of(load("bapo"), data, advantages)[1]


@pytest.mark.parametrize(
    ("bounds", "dual", "positive", "negative"),
    [
        ((0.6, 1.2), None, (0.5, 0.9, 1, 1.1, 0, 0), (0, -0.9, -1, -1.1, -1.5, -4)),
        ((0.9, 3.0), None, (0.5, 0.9, 1, 1.1, 1.5, 0), (0, -0.9, -1, -1.1, -1.5, -4)),
        ((0.8, 2.0), 3.0, (0.5, 0.9, 1, 1.1, 1.5, 0), (0, -0.9, -1, -1.1, -1.5, 0)),
    ],
)
@pytest.mark.parametrize("name", ["bapo", "bapo-paper"])
def test_bapos_gradient_factors_at_given_bounds(name, bounds, dual, positive, negative):
    fixed = {
        f"{side}_{end}": bound for side, bound in zip(("low", "high"), bounds, strict=True) for end in ("start", "end")
    }
    algorithm = load(name, dual_clip=dual, **fixed)
    for sign, expected in ((1.0, positive), (-1.0, negative)):
        old = torch.zeros(len(RATIOS), 1, dtype=torch.float64)
        logps = torch.tensor(RATIOS, dtype=torch.float64).log()[:, None].requires_grad_()
        algorithm.loss(logps, old, torch.full_like(old, sign), torch.ones_like(old), normalizer=1.0)[0].backward()
        assert (-logps.grad[:, 0]).tolist() == pytest.approx(expected)


def test_a_search_takes_whole_steps_and_ends_at_its_end():
    assert steps(0.6, 0.8, 0.05) == pytest.approx([0.6, 0.65, 0.7, 0.75, 0.8])
    assert steps(1.2, 1.5, 0.2) == pytest.approx([1.2, 1.4, 1.5]) and steps(0.6, 0.6, 0.1) == [0.6]
    _, data, advantages, *_ = case("bapo")
    _, metrics = loss_of(load("bapo"), data, torch.zeros_like(advantages))
    assert metrics["bapo/met"] == 1 and metrics["bapo/low"] == 0.6, "without advantages nothing moves"
    _, metrics = loss_of(load("bapo"), data, -advantages.abs())
    assert (metrics["bapo/met"], metrics["bapo/low"], metrics["bapo/high"], metrics["bapo/share"]) == (0, 0.8, 2.0, 0.0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"balance_order": "both"}, "balance_order"),
        ({"low_end": 0.5}, "bapo: low_end must be at least low_start, 0.6, not 0.5"),
        ({"high_start": 0.9}, "bapo: high_start must be a number from 1 up"),
        ({"low_step": 0.0}, "bapo: low_step must be a number above 0"),
    ],
)
def test_bad_bounds_are_named(overrides, message):
    with pytest.raises(UserError, match=message):
        load("bapo", **overrides)


# ---------------------------------------------------------------- ResT


def region_row(*bits, step=0, **settings):
    """The weights of one row of tokens in these regions."""
    tensors = {"regions_BT": torch.tensor([bits]), "advantages_BT": torch.zeros(1, len(bits)).double(), "rl_step": step}
    weight, metrics = RegionWeight(**settings)(tensors, torch.ones(1, len(bits)).bool())
    return weight[0].tolist(), metrics


def test_rests_weights_are_those_of_the_specification():
    """Three tags, four tokens at 0.6 and a name: a mean of 0.825."""
    weights, metrics = region_row(FORMAT, REASONING, REASONING, FORMAT, FORMAT, NAME, ARGUMENTS, ARGUMENTS)
    expected = (1.2121, 0.7273, 0.7273, 1.2121, 1.2121, 1.4545, 0.7273, 0.7273)
    assert weights == pytest.approx(expected, abs=5e-5)
    assert metrics == {"rest/in_regions": 1.0, "rest/arguments_weight": 0.6}


@pytest.mark.parametrize(
    ("step", "reasoning", "arguments"),
    [(0, 0.6, 0.6), (100, 0.8, 0.8), (200, 1.0, 1.0), (300, 1.0, 1.2), (900, 1.0, 1.2)],
)
def test_rests_schedule_rises_and_ends_while_tags_and_names_stay(step, reasoning, arguments):
    found = RegionWeight().of_regions(step)
    expected = {FORMAT: 1.0, NAME: 1.2, ARGUMENTS: arguments, REASONING: reasoning}
    assert found == pytest.approx(expected)


def test_rest_gives_tokens_outside_its_regions_nothing_and_overlaps_the_largest():
    weights, metrics = region_row(0, FORMAT | REASONING, FORMAT | NAME, 0)
    assert weights == pytest.approx([0, 2 * 2 / 2.2, 2 * 2.4 / 2.2, 0]) and metrics["rest/in_regions"] == 0.5
    assert region_row(0, 0)[0] == [0, 0]
    weights, _ = region_row(FORMAT, NAME, region_most=1.0, region_name=9.0, region_format=0.5)
    assert weights == pytest.approx([0.5 / 0.75, 1 / 0.75]), "bounded before the mean"


@pytest.mark.parametrize("step", [0, 250])
def test_rest_divides_by_the_sum_of_its_weights(step):
    algorithm, data, advantages, ratio, a, mask = case("rest", seed=7)
    data["rl_step"] = step
    risen = 0.6 + 0.002 * step
    values = {FORMAT: 1.0, NAME: 1.2, ARGUMENTS: min(risen, 1.2), REASONING: min(risen, 1.0)}
    weight = np.zeros_like(ratio)
    for i, t in zip(*np.nonzero(mask), strict=True):
        inside = [value for bit, value in values.items() if int(data["regions_BT"][i, t]) & bit]
        weight[i, t] = max(inside, default=0.0)
    for row in weight:
        if row.any():
            row /= row[row > 0].mean()
    value, gradient = clipped(ratio, a, 0.8, 1.2, 3.0)
    check(algorithm, data, advantages, weight * value / weight.sum(), weight * gradient / weight.sum())


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize(
    ("name", "inert"),
    [("bapo", ("surrogate BalancedClip",)), ("bapo-paper", ("surrogate BalancedClip",)), ("rest", ())],
)
def test_which_of_them_need_several_updates(name, inert):
    assert inert_at_one_update(load(name)) == inert
    if inert:
        with pytest.raises(UserError, match=f"{name}: {inert[0]} would change nothing with one update"):
            for_run(load(name), max_completion_tokens=9, updates_per_rollout=1)


def trained(tmp_path, name, *, model=None, overrides=None, **training):
    """(trainer after its run, metrics of its steps)."""
    made = trainer(tmp_path, config(name, **training), model, **(overrides or {}))
    made.train()
    return made, [json.loads(path.read_text())["metrics"] for path in sorted(made.run.parts.glob("*.steps.json"))]


@pytest.mark.parametrize("name", ["bapo", "bapo-paper", "rest"])
def test_a_run_trains_and_records_what_the_method_did(tmp_path, name):
    made, found = trained(tmp_path, name)
    assert len(found) == 2
    assert all(np.isfinite(step[metric]) for metric in made.algorithm.metrics for step in found)
