"""The entropy family's second group: bounds that move, regions of calls, entropy held at a target, averaged weights."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from reference_loss import RATIOS, case, check, clipped, loss_of
from trainers import config, trainer

from reproduce.algorithms import for_run, inert_at_one_update, load
from reproduce.algorithms.parts.anchor import Anchor
from reproduce.algorithms.parts.balanced_clip import BalancedClip, steps
from reproduce.algorithms.parts.merging import slerp, warp_layer
from reproduce.algorithms.parts.ratios import token_ratio
from reproduce.algorithms.parts.regions import ARGUMENTS, FORMAT, NAME, REASONING, RegionWeight
from reproduce.algorithms.parts.state import Sampling
from reproduce.errors import UserError
from reproduce.rollouts.regions import token_regions
from reproduce.training.own_forward import with_own_forward

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


def test_rests_regions_are_of_the_tokens_that_were_sampled(tmp_path):
    made = trainer(tmp_path, config("rest", steps=1))
    output, seen = made.collect_batch([0, 1]), set()
    for row, training_row in enumerate(made.batch.training_rows()):
        expected = token_regions(made.collector.grammar, training_row.path.completion)
        assert output["regions_BT"][row].tolist()[: len(expected)] == expected
        assert set(output["regions_BT"][row].tolist()[len(expected) :]) <= {-1}
        seen |= set(expected)
    assert {0, FORMAT} <= seen


# ---------------------------------------------------------------- entropy at a target


def controlled(name="arbitrary-entropy", entropy=0.4, target=0.5, **overrides):
    """(advantage part, its tensors: groups 0 and 1 are own rows, 2 and 3 side rows, each of four)."""
    part = load(name, **overrides).advantage
    rewards = torch.tensor([1.0, 0, 0, 0] + [1.0, 1, 0, 0] + [1.0, 1, 1, 0] + [1.0, 1, 1, 1]).double()
    groups = torch.arange(4).repeat_interleave(4)
    mask = torch.ones(16, 3).bool()
    mask[:, 1] = torch.arange(16) % 2 == 0
    sides = torch.where(mask, (groups >= 2).long()[:, None], -1)
    tensors = {"sides_BT": sides, "control_entropy": entropy, "control_target": target}
    return part, (rewards, groups, tensors, mask)


@pytest.mark.parametrize(
    ("most", "entropy", "count"),
    [(1.0, 0.4, 3), (1.0, 0.6, 1), (0.25, 0.4, 2), (0.25, 0.6, 1), (0.01, 0.4, 1), (0.01, 0.6, 0)],
)
def test_the_first_good_side_rows_take_the_place_of_the_first_own_rows(most, entropy, count):
    """Side rows 8 to 10 pass; those of a group of equal rewards do not, right as they are."""
    part, given = controlled(side_most=most, entropy=entropy)
    advantages, found = part(*given)
    assert found == {"control/side_rows": count, "control/candidates": 3}
    own = np.array([[1.5, -0.5, -0.5, -0.5], [0.866, 0.866, -0.866, -0.866]]).ravel()
    own[:count] = 0
    expected = [*own, *[1.0] * count, *[0.0] * (8 - count)]
    assert advantages[:, 0].tolist() == pytest.approx(expected, abs=1e-3)
    kept = [row >= count for row in range(8)] + [row < 8 + count for row in range(8, 16)]
    assert part.trained_rows(*given).tolist() == kept and sum(kept) == 8, "the batch keeps its size"


def test_side_rows_below_the_threshold_do_not_pass_and_none_may():
    part, given = controlled(side_most=1.0, side_threshold=2.0)
    advantages, found = part(*given)
    assert found["control/candidates"] == 0 and part.trained_rows(*given).tolist() == [True] * 8 + [False] * 8
    assert not advantages[8:].any(), "released code raises an exception here"


class Planned:
    """Services for a controller: log-probs of its own at any temperature."""

    def logps(self, tensors, model=None, temperature=1.0):
        return tensors["old_per_token_logps"] / temperature


def step_of(controller, logps, sides=None):
    """A step's batch and update of one row; (tensors, metrics) of the batch."""
    logps = torch.tensor([logps], dtype=torch.float64)
    mask = logps == logps
    tensors = {"old_per_token_logps": logps}
    if sides is not None:
        tensors["sides_BT"] = torch.tensor([sides])
    planned = controller.sampling(Sampling(1.0))
    made, metrics = controller.on_batch(SimpleNamespace(tensors=tensors, mask_BT=mask))
    controller.on_loss(logps, mask)
    controller.on_step_end()
    return planned, made, metrics


def test_the_controller_starts_hot_and_follows_the_surprise_of_the_last_updates():
    part = load("arbitrary-entropy").advantage
    controller = part.state(Planned())
    assert (controller.entropy, controller.temperature) == (0.0, 1.2), "blind before the first update"
    planned, _, metrics = step_of(controller, [-0.6, float("nan"), -0.8], [0, 0, 0])
    assert planned.side_rows.temperature == 1.2 and planned.side_rows.share == 0.25 and planned.temperature == 1.0
    assert metrics == {"control/entropy": 0.0, "control/target": 0.5, "control/temperature": 1.2}
    assert controller.entropy == pytest.approx(0.7) and controller.numbers()["control_entropy"] == controller.entropy
    assert step_of(controller, [-0.5], [0])[0].side_rows.temperature == 0.8
    assert controller.entropy == 0.5 and controller.temperature == 1.2, "at the target it is hot"
    again = part.state(Planned())
    again.load_state_dict(controller.state_dict())
    assert (again.entropy, again.target) == (0.5, 0.5)
    hot = part.state(Planned()).sampling(Sampling(0.5))
    assert hot.side_rows.temperature == 0.6, "factors of the run's temperature"


def test_the_entropy_of_a_step_is_over_the_tokens_of_all_its_updates():
    controller = load("arbitrary-entropy").advantage.state(Planned())
    for logps in ([[-1.0, -2.0, -3.0]], [[-8.0]]):
        logps = torch.tensor(logps)
        controller.on_loss(logps, torch.ones_like(logps).bool())
    controller.on_step_end()
    assert controller.entropy == pytest.approx(14 / 4)
    controller.on_step_end()
    assert controller.entropy == pytest.approx(14 / 4), "a step without updates changes nothing"


def test_a_target_may_be_a_share_of_the_start():
    controller = load("arbitrary-entropy", entropy_target=0.5, target_unit="start").advantage.state(Planned())
    assert controller.temperature == 1.2
    _, _, metrics = step_of(controller, [-0.6, -1.0, -9.0], [0, 0, 1])
    assert metrics["control/target"] == pytest.approx(0.4), "half of the own rows' 0.8"
    step_of(controller, [-5.0], [0])
    assert controller.target == pytest.approx(0.4), "the first batch alone counts"
    again = load("arbitrary-entropy", entropy_target=0.5, target_unit="start").advantage.state(Planned())
    again.load_state_dict(controller.state_dict())
    assert again.target == controller.target
    with pytest.raises(UserError, match="target_unit"):
        load("arbitrary-entropy", target_unit="bits")


@pytest.mark.parametrize(("entropy", "gap"), [(0.0, 0.1), (0.47, 0.03), (0.9, 0.1)])
def test_dcpo_adds_the_tilt_of_correct_rows(entropy, gap):
    algorithm = load("dcpo")
    rewards_B, groups_B, _, mask = controlled("dcpo", entropy)[1]
    correct = torch.tensor([1, 0, 0, 0] * 4)
    tilt = torch.randn(16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given = {"correct_BT": torch.where(mask, correct[:, None], -1), "tilt_BT": tilt.masked_fill(~mask, float("nan"))}
    numbers = {"control_entropy": entropy, "control_target": 0.5}
    found, metrics = algorithm.advantages_and_metrics(rewards_B, groups_B, mask, **given, **numbers)
    x = gap / 0.25
    alpha = x / (1 + x)
    rewards, expected = rewards_B.numpy().reshape(4, 4), np.zeros((16, 3))
    z = (rewards - rewards.mean(1, keepdims=True)) / (rewards.std(1, ddof=1, keepdims=True) + 1e-6)
    expected = (1 - alpha) * z.reshape(16, 1) + alpha * correct.numpy()[:, None] * np.exp(tilt.numpy())
    np.testing.assert_allclose(found.numpy(), np.where(mask.numpy(), expected, 0.0), atol=1e-12)
    assert metrics["control/alpha"] == pytest.approx(alpha)
    given["correct_BT"] = torch.zeros_like(given["correct_BT"])
    found, metrics = algorithm.advantages_and_metrics(rewards_B, groups_B, mask, **given, **numbers)
    assert metrics["control/alpha"] == 0 and torch.equal(found, load("grpo").advantages(rewards_B, groups_B, mask)), (
        "no row is correct"
    )


def test_the_tilt_is_the_same_logits_at_another_temperature():
    controller = load("dcpo").advantage.state(Planned())
    _, made, metrics = step_of(controller, [-0.6, -1.2])
    expected = torch.tensor([[-0.6, -1.2]]).double() * (1 / 1.2 - 1)
    torch.testing.assert_close(made["tilt_BT"], expected)
    assert metrics["control/temperature"] == 1.2 and "control/target" in metrics


def test_side_rows_reach_the_updates_and_own_rows_leave_them(tmp_path):
    """Of 16 own rows the first two leave, for the first two side rows that pass."""
    made = trainer(tmp_path, config("arbitrary-entropy", steps=3, prompts_per_step=4), side_most=2 / 16)
    batches, seen, collect, update = [], [], made.collector.collect, made.loss_on

    def keep(*arguments):
        batches.append(collect(*arguments))
        seen.append({})
        return batches[-1]

    def spy(lm, inputs):
        for row, mask in enumerate(made.loss_mask(inputs)):
            ids = inputs["completion_ids"][row][inputs["completion_mask"][row].bool()].tolist()
            if mask.any():
                seen[-1][tuple(ids)] = float(inputs["advantages"][row][mask][0])
        return update(lm, inputs)

    made.collector.collect, made.loss_on = keep, spy
    made.train()
    found = [json.loads(path.read_text())["metrics"] for path in sorted(made.run.parts.glob("*.steps.json"))]
    assert [step["control/entropy"] == 0 for step in found] == [True, False, False]
    assert found[0]["control/temperature"] == 1.2
    for batch, rows, step in zip(batches, seen, found, strict=True):
        groups = {side: [g for g in batch.groups if g.side == side] for side in (False, True)}
        assert [len(groups[side]) for side in (False, True)] == [4, 1]
        own = [tuple(t.path.completion) for g in groups[False] for t in g.trajectories]
        (side,) = groups[True]
        rewards = np.array(side.reward_values)
        zscores = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6)
        good = [tuple(t.path.completion) for t, z in zip(side.trajectories, zscores, strict=True) if z > 0.05]
        n = min(2, len(good)) // (2 if step["control/entropy"] > 0.5 else 1)
        assert step["control/side_rows"] == n and step["control/candidates"] == len(good)
        assert rows.keys() == {*own[n:], *good[:n]} and all(rows[ids] == 1.0 for ids in good[:n])
    assert found[2]["control/entropy"] != found[1]["control/entropy"]


def test_dcpos_tilt_is_of_the_policy_that_sampled(tmp_path):
    job = config("dcpo", steps=1)
    made = trainer(tmp_path, job)
    start = with_own_forward(copy.deepcopy(made.model)).eval()
    output = made.collect_batch([0, 1])
    checked = 0
    for row, training_row in enumerate(made.batch.training_rows()):
        path = training_row.path
        sampled = torch.tensor(path.sampled)
        own, hot = (tiny.full_forward(start, path.prompt, path.completion, temperature=t)[0] for t in (1.0, 1.2))
        torch.testing.assert_close(
            output["tilt_BT"][row][: path.length][sampled], (hot - own)[sampled], atol=1e-4, rtol=0
        )
        checked += int(sampled.sum())
        correct = training_row.trajectory in [
            t for g in made.batch.groups for t, r in zip(g.trajectories, g.rewards, strict=True) if r.correct
        ]
        assert (output["correct_BT"][row][: path.length] == int(correct)).all()
    assert checked > 50


# ---------------------------------------------------------------- WARP


def test_warps_reward_is_less_the_distance_from_the_anchor():
    algorithm, data, advantages, ratio, a, mask = case("warp", seed=3)
    gap = np.where(mask, data["anchor_gap_BT"].numpy(), 0.0).sum(1)
    shaped, groups = data["rewards_B"].numpy() - 0.1 * gap, data["groups_B"].numpy()
    rows = np.arange(len(shaped))
    expected = [shaped[i] - shaped[(groups == groups[i]) & (rows != i)].mean() for i in rows]
    np.testing.assert_allclose(a, np.where(mask, np.array(expected)[:, None], 0.0), atol=1e-12)
    logps, count = data["logps_BT"].numpy(), len(mask)
    check(algorithm, data, advantages, a * logps / count, a / count)
    plain = case("warp", seed=3, anchor_baseline="none")[2]
    np.testing.assert_allclose(plain.numpy(), np.where(mask, shaped[:, None], 0.0), atol=1e-12)
    assert not load("warp", anchor_baseline="none").advantage_compares_groups


def test_warps_anchor_moves_by_mu_after_every_step_and_is_kept_in_checkpoints(tmp_path):
    """Rewards do not see the anchor in the first step, where it is the policy."""
    job = config("warp", steps=3, learning_rate=1e-2, checkpoint_every=1)
    made = trainer(tmp_path, job, anchor_rate=0.25)
    anchor, weights, outputs, collect = made.states[0], [], [], made.collect_batch

    def keep(indices):
        weights.append({name: value.detach().clone() for name, value in made.model.named_parameters()})
        outputs.append((collect(indices), copy.deepcopy(anchor.average), made.batch))
        return outputs[-1][0]

    made.collect_batch = keep
    made.train()
    weights.append({name: value.detach().clone() for name, value in made.model.named_parameters()})
    expected = weights[0]
    for after in weights[1:]:
        expected = {name: 0.75 * value + 0.25 * after[name] for name, value in expected.items()}
    for name, value in anchor.average.named_parameters():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-6)
    steps = [json.loads(path.read_text())["metrics"] for path in sorted(made.run.parts.glob("*.steps.json"))]
    assert abs(steps[0]["warp/anchor_kl"]) < 1e-3 < abs(steps[2]["warp/anchor_kl"])
    output, average, batch = outputs[2]
    for row, training_row in enumerate(batch.training_rows()):
        path = training_row.path
        sampled = torch.tensor(path.sampled)
        other = tiny.full_forward(average, path.prompt, path.completion)[0]
        gap = torch.tensor(path.logps) - other
        torch.testing.assert_close(
            output["anchor_gap_BT"][row][: path.length][sampled], gap[sampled], atol=1e-3, rtol=0
        )
    again = trainer(tmp_path, job, anchor_rate=0.25)
    again.load_checkpoint(again.run.checkpoints / f"checkpoint-{3 * again.updates_per_step}")
    kept, found = (which.states[0].average.state_dict() for which in (made, again))
    assert all(torch.equal(kept[name], found[name]) for name in kept)


class Weights:
    """Services for an anchor of one linear layer."""

    def __init__(self, dtype=torch.float32, name="weight"):
        self.layer = torch.nn.Linear(2, 2, bias=False, dtype=dtype)
        self.layer.weight.data.fill_(1.0)
        if name != "weight":
            self.layer.register_parameter(name, torch.nn.Parameter(torch.zeros(1)))

    def policy(self):
        return self.layer

    def policy_copy(self):
        return copy.deepcopy(self.layer).requires_grad_(False)


def test_an_anchor_of_bfloat16_weights_moves_in_float32_and_adapters_are_refused():
    run = Weights(torch.bfloat16)
    anchor = Anchor(run, 0.001)
    run.layer.weight.data.fill_(1.5)
    for _ in range(10):
        anchor.on_step_end()
    expected = 1.5 - 0.5 * 0.999**10
    assert anchor.average.weight.flatten().tolist() == pytest.approx([expected] * 4, abs=1e-6)
    assert run.layer.weight.dtype == torch.bfloat16
    with pytest.raises(UserError, match="training.lora"):
        Anchor(Weights(name="lora_A"), 0.01)


def test_slerp_and_the_move_of_the_start_are_those_of_the_specification():
    start = torch.ones(2, dtype=torch.float64)
    runs = [start + torch.tensor([1.0, 0.0]).double(), start + torch.tensor([0.0, 2.0]).double()]
    assert warp_layer(start, runs, 1.0).tolist() == pytest.approx([1.707107, 2.414214], abs=1e-6)
    assert warp_layer(start, runs, 0.3).tolist() == pytest.approx([1.212132, 1.424264], abs=1e-6)


def test_slerp_of_parallel_vectors_is_the_linear_merge_and_zero_vectors_are_allowed():
    vector = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    zero = torch.zeros_like(vector)
    for other, weight in ((2 * vector, 0.5), (vector, 0.3), (-vector, 0.25), (zero, 0.5)):
        torch.testing.assert_close(slerp(vector, other, weight), (1 - weight) * vector + weight * other)
    assert torch.equal(slerp(zero, zero, 0.5), zero)
    near = vector + 1e-4 * torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(slerp(vector, near, 0.5), (vector + near) / 2, atol=1e-7, rtol=0)


def test_slerp_of_equal_lengths_keeps_the_length_and_more_runs_are_merged_one_after_another():
    a, b, c = torch.eye(3, dtype=torch.float64)
    for weight in (0.0, 0.25, 0.5, 1.0):
        assert float(slerp(a, b, weight).norm()) == pytest.approx(1.0)
    merged = slerp(slerp(a, b, 0.5), c, 1 / 3)
    torch.testing.assert_close(warp_layer(torch.zeros(3).double(), [a, b, c], 1.0), merged)
    assert warp_layer(torch.zeros(3), [a.float(), b.float()], 0.5).dtype == torch.float32


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize(
    ("name", "inert"),
    [
        ("bapo", ("surrogate BalancedClip",)),
        ("bapo-paper", ("surrogate BalancedClip",)),
        ("rest", ()),
        ("arbitrary-entropy", ()),
        ("dcpo", ()),
        ("warp", ()),
    ],
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


@pytest.mark.parametrize("name", ["bapo", "bapo-paper", "rest", "arbitrary-entropy", "dcpo", "warp"])
def test_a_run_trains_and_records_what_the_method_did(tmp_path, name):
    made, found = trained(tmp_path, name)
    assert len(found) == 2
    assert all(np.isfinite(step[metric]) for metric in made.algorithm.metrics for step in found)
