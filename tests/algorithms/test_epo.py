"""EPO's entropy terms: the paper's mathematics, its ablations, and each quirk of the released code."""

import math

import numpy as np
import pytest
import torch

from reproduce.algorithms import load
from reproduce.algorithms.parts import epo_terms as epo
from reproduce.algorithms.parts import turn_means
from reproduce.algorithms.parts.entropy_history import EntropyHistory
from reproduce.algorithms.parts.released import epo as released_epo
from reproduce.errors import UserError

LAMBDA = 0.001


def batch(seed=0, rows=5, tokens=12, vocabulary=7):
    """Logits of trajectories with turns of many lengths (padding and tool results masked out), all in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, tokens, vocabulary, generator=generator, dtype=torch.float64)
    mask_BT = torch.rand(rows, tokens, generator=generator) < 0.75
    mask_BT[:, 0] = True
    starts = torch.rand(rows, tokens, generator=generator) < 0.3
    starts[:, 0] = False
    turns_BT = starts.cumsum(1)
    for row in range(rows):
        mask_BT[row, tokens - row :] = False
        turns_BT[row, tokens - row :] = -1
    return {"logits": logits, "mask_BT": mask_BT, "turns_BT": turns_BT, "rewards_B": torch.arange(rows).double()}


def entropy_of(logits):
    logps = torch.log_softmax(logits, -1)
    return -(logps.exp() * logps).sum(-1)


def loss_and_gradient(algorithm, data, advantages_BT=None, old=None, **extra):
    """Loss, its gradient with respect to the logits, and metrics; every token's action is the vocabulary's first."""
    logits = data["logits"].clone().requires_grad_()
    logps_BT = torch.log_softmax(logits, -1)[..., 0]
    old = logps_BT.detach() if old is None else old
    zeros = torch.zeros(data["mask_BT"].shape, dtype=torch.float64) if advantages_BT is None else advantages_BT
    loss, metrics = algorithm.loss(
        logps_BT,
        old,
        zeros,
        data["mask_BT"],
        entropies_BT=entropy_of(logits),
        turns_BT=data["turns_BT"],
        ref_logps_BT=old - 0.1,
        **extra,
    )
    loss.backward()
    return loss.item(), logits.grad, metrics


def nested_mean(values_BT, data):
    """Equation 2 by loops."""
    trajectories = []
    for values, mask, turns in zip(values_BT.numpy(), data["mask_BT"].numpy(), data["turns_BT"].numpy(), strict=True):
        means = [values[mask & (turns == turn)].mean() for turn in np.unique(turns[mask])]
        trajectories.append(np.mean(means) if means else 0.0)
    return np.mean(trajectories)


# ---------------------------------------------------------------- equation 2


def test_equation_2_is_the_mean_of_trajectory_turn_and_token_means():
    data = batch(1)
    heights = entropy_of(data["logits"])
    weights_BT = turn_means.turn_weights(data["mask_BT"], data["turns_BT"], dtype=torch.float64)
    assert (weights_BT * heights).sum().item() / 5 == pytest.approx(nested_mean(heights, data), abs=1e-12)
    loss, _, _ = loss_and_gradient(load("epo-base"), data)
    assert loss == pytest.approx(-LAMBDA * nested_mean(heights, data), abs=1e-12)
    tokens, _, _ = loss_and_gradient(load("epo-base", entropy_aggregation="tokens"), data)
    assert tokens == pytest.approx(-LAMBDA * heights[data["mask_BT"]].mean().item(), abs=1e-12) != loss


def test_the_length_of_a_turn_and_of_an_episode_changes_no_weight_of_another():
    turns = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    short, long = (torch.arange(6).expand(2, 6) < torch.tensor([[n], [6]]) for n in (3, 6))
    weights = [turn_means.turn_weights(mask, turns) for mask in (short, long)]
    assert weights[0][0].tolist() == pytest.approx([1 / 4, 1 / 4, 1 / 2, 0, 0, 0])
    assert weights[1][0].tolist() == pytest.approx([1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 8, 1 / 8])
    assert torch.equal(weights[0][1], weights[1][1]) and weights[0].sum() == weights[1].sum() == 2


def test_rows_of_single_turns_weigh_as_the_whole_trajectories_do():
    data = batch(2)
    values_BT, mask_BT, turns_BT = entropy_of(data["logits"]), data["mask_BT"], data["turns_BT"]
    rows = [(j, t) for j in range(5) for t in sorted(set(turns_BT[j][mask_BT[j]].tolist()))]
    masks = torch.stack([mask_BT[j] & (turns_BT[j] == t) for j, t in rows])
    turns = torch.tensor([t for _, t in rows])[:, None].expand(masks.shape)
    trajectories = torch.tensor([j for j, _ in rows])
    weights = turn_means.turn_weights(masks, turns, trajectories, dtype=torch.float64)
    mean = (weights * torch.stack([values_BT[j] for j, _ in rows])).sum().item() / len(rows)
    assert mean == pytest.approx(nested_mean(values_BT, data), abs=1e-12)
    counts = turn_means.trajectory_turns(mask_BT, turns_BT)
    assert turn_means.trajectory_turns(masks, turns, trajectories).tolist() == counts[trajectories].tolist()
    logps = torch.zeros(masks.shape, dtype=torch.float64)
    single = dict(entropies_BT=torch.stack([values_BT[j] for j, _ in rows]), turns_BT=turns)
    with pytest.raises(ValueError, match="turn_weights_BT"):
        load("epo-base").loss(logps, logps, logps, masks, **single)
    loss, _ = load("epo-base").loss(logps, logps, logps, masks, **single, turn_weights_BT=weights)
    assert loss.item() == pytest.approx(-LAMBDA * mean, abs=1e-12)


# ---------------------------------------------------------------- smoothing


@pytest.mark.parametrize(("step", "beta"), [(0, 2.000), (31, 1.223), (62, 1.050), (93, 1.011), (124, 1.002)])
def test_the_phase_weight_falls_from_2_as_equation_5_says(step, beta):
    assert epo.phase_weight(step, 125, 3.0) == pytest.approx(beta, abs=5e-4)


def factors(gradient, base):
    """What the second gradient's tokens were multiplied by to give the first; None where both are 0."""
    ratio = gradient / base
    assert torch.allclose(ratio, ratio[..., :1].expand_as(ratio), atol=1e-9), "one factor per token, not per logit"
    return ratio[..., 0]


@pytest.mark.parametrize("name", ["grpo+epo", "ppo+epo"])
def test_entropy_gradients_are_scaled_by_1_and_1_plus_minus_alpha_beta(name):
    data, reference = batch(3), 1.0
    mask_BT, heights = data["mask_BT"], entropy_of(data["logits"])
    bonus = load("epo-base")  # at advantage 0 only the entropy terms have a gradient
    _, plain, _ = loss_and_gradient(bonus, data)
    for alpha, k in ((0.1, 5), (0.05, 60), (3.0, 40)):  # the last reverses the bonus above the corridor
        algorithm = load(name, smoothing_weight=alpha, corridor_low=0.7, corridor_high=1.3)
        extra = {"entropy_reference": reference, "rl_step": k, "rl_steps": 125}
        loss, gradient, metrics = loss_and_gradient(algorithm, data, **extra)
        beta = 1 + math.exp(-3 * k / 62)
        side = (heights > 1.3).double() - (heights < 0.7).double()
        expected = 1 - alpha * beta * side
        found = factors(gradient[mask_BT], plain[mask_BT])
        torch.testing.assert_close(found, expected[mask_BT], atol=1e-9, rtol=0)
        assert len(set(expected[mask_BT].tolist())) == 3
        assert metrics["epo_factor_above"] == pytest.approx(1 - alpha * beta)
        assert metrics["epo_factor_below"] == pytest.approx(1 + alpha * beta)
        assert metrics["epo_share_above"] == pytest.approx((heights > 1.3)[mask_BT].double().mean().item())
        assert metrics["epo_share_below"] == pytest.approx((heights < 0.7)[mask_BT].double().mean().item())
        assert metrics["epo_phase_weight"] == pytest.approx(beta) and metrics["epo_reference_entropy"] == reference
        penalty = (0.7 - heights).clamp(min=0) + (heights - 1.3).clamp(min=0)
        smoothing = beta * alpha * nested_mean(penalty, data)
        assert metrics["epo_smoothing_loss"] == pytest.approx(smoothing)
        assert loss == pytest.approx(-LAMBDA * (nested_mean(heights, data) - smoothing), abs=1e-12)
    assert gradient[mask_BT].abs().max() > 0 and (found < 0).any(), "alpha beta > 1 pushes entropy down"


def test_published_constants_only_weaken_the_bonus_above_twice_the_reference():
    chosen = load("grpo+epo").settings
    assert (chosen["entropy_bonus"], chosen["smoothing_weight"], chosen["phase_decay"]) == (0.001, 0.1, 3.0)
    assert (chosen["corridor_low"], chosen["corridor_high"]) == (0.0, 2.0)
    data = batch(4)
    extra = {"entropy_reference": 0.4, "rl_step": 1, "rl_steps": 125}
    _, gradient, _ = loss_and_gradient(load("grpo+epo"), data, **extra)
    _, plain, _ = loss_and_gradient(load("epo-base"), data)
    found = factors(gradient[data["mask_BT"]], plain[data["mask_BT"]])
    assert found.min() == pytest.approx(1 - 0.1 * epo.phase_weight(1, 125)) and found.max() == pytest.approx(1.0)


def test_nothing_is_smoothed_in_the_first_step_and_a_lost_history_is_an_error():
    data, first = batch(5), {"entropy_reference": math.nan, "rl_step": 0, "rl_steps": 10}
    loss, gradient, metrics = loss_and_gradient(load("ppo+epo"), data, **first)
    base_loss, base_gradient, _ = loss_and_gradient(load("epo-base"), data)
    assert loss == base_loss and torch.equal(gradient, base_gradient) and "epo_phase_weight" not in metrics
    with pytest.raises(ValueError, match="entropy_reference is NaN at step 3"):
        loss_and_gradient(load("ppo+epo"), data, **{**first, "rl_step": 3})
    with pytest.raises(ValueError, match="'epo' needs entropy_reference"):
        loss_and_gradient(load("ppo+epo"), data, rl_step=3, rl_steps=10)


def test_a_reference_for_each_turn_leaves_turns_alone_that_no_step_has_reached():
    data = batch(6)
    algorithm = load("grpo+epo", smoothing_reference="turn", corridor_low=0.9, corridor_high=1.1, smoothing_weight=0.3)
    reference = torch.tensor([0.5, 1.5, math.nan])
    extra = {"turn_entropy_reference": reference, "rl_step": 2, "rl_steps": 10}
    _, gradient, metrics = loss_and_gradient(algorithm, data, **extra)
    _, plain, _ = loss_and_gradient(load("epo-base"), data)
    mask_BT, heights = data["mask_BT"], entropy_of(data["logits"])
    own = torch.tensor([0.5, 1.5, math.nan, math.nan, math.nan, math.nan, math.nan])[data["turns_BT"].clamp(min=0)]
    side = (heights > 1.1 * own).double() - (heights < 0.9 * own).double()
    expected = (1 - 0.3 * epo.phase_weight(2, 10) * side)[mask_BT]
    torch.testing.assert_close(factors(gradient[mask_BT], plain[mask_BT]), expected, atol=1e-9, rtol=0)
    assert (side[mask_BT & (data["turns_BT"] > 1)] == 0).all() and (side[mask_BT] != 0).any()
    assert gradient.isfinite().all() and 0.5 < metrics["epo_reference_entropy"] < 1.5


def test_without_dynamic_weight_the_phase_is_constant():
    algorithm = load("epo-no-dw", corridor_high=0.5)
    assert "rl_steps" not in algorithm.loss_needs
    found = [
        loss_and_gradient(algorithm, batch(7), entropy_reference=1.0, rl_step=k)[2]["epo_phase_weight"] for k in (1, 99)
    ]
    assert found == [1.0, 1.0]


# ---------------------------------------------------------------- EPO-Decay


def test_the_decaying_bonus_falls_with_the_turn_or_with_the_step():
    data = batch(8)
    _, plain, _ = loss_and_gradient(load("epo-base"), data)
    _, gradient, _ = loss_and_gradient(load("epo-decay"), data)
    mask_BT, turns_BT = data["mask_BT"], data["turns_BT"]
    counts = turn_means.trajectory_turns(mask_BT, turns_BT)
    expected = 1 + torch.exp(-3.0 * turns_BT / (counts - 1).clamp(min=1)[:, None].double())
    torch.testing.assert_close(factors(gradient[mask_BT], plain[mask_BT]), expected[mask_BT], atol=1e-9, rtol=0)
    assert expected[mask_BT].max() == 2.0
    _, gradient, _ = loss_and_gradient(load("epo-decay", decay_by="step"), data, rl_step=9, rl_steps=10)
    found = factors(gradient[mask_BT], plain[mask_BT])
    torch.testing.assert_close(found, torch.full_like(found, 1 + math.exp(-3.0)), atol=1e-9, rtol=0)
    assert load("epo-decay").settings["decay_by"] == "turn"


# ---------------------------------------------------------------- the released form

REFERENCE = {"turn_entropy_reference_with_current_left_padded": torch.full((40,), 0.6)}


def late(data):
    """The same batch with its last turn at index 25, so that the gate opens."""
    turns_BT = data["turns_BT"].clone()
    turns_BT[0][turns_BT[0] == turns_BT[0][data["mask_BT"][0]].max()] = 25
    return data | {"turns_BT": turns_BT}


def test_released_smoothing_changes_the_loss_and_not_one_bit_of_the_gradient():
    data = late(batch(9))
    generator = torch.Generator().manual_seed(1)
    advantages = torch.randn(data["mask_BT"].shape, generator=generator, dtype=torch.float64)
    old = torch.log_softmax(data["logits"], -1)[..., 0] + 0.3 * advantages.roll(1)
    loss, gradient, metrics = loss_and_gradient(load("epo-released"), data, advantages, old, rl_step=0, **REFERENCE)
    off_loss, off_gradient, _ = loss_and_gradient(load("epo-released", smoothing=False), data, advantages, old)
    assert torch.equal(gradient, off_gradient) and gradient.abs().max() > 0
    heights, mask_BT = entropy_of(data["logits"]), data["mask_BT"]
    outside = (heights >= 2 * 0.6)[mask_BT].double().mean().item()
    assert loss - off_loss == pytest.approx(LAMBDA * 0.1 * outside, rel=1e-6) and outside > 0.2
    assert metrics["epo_factor_above"] == metrics["epo_factor_below"] == 1.0
    base = load(
        "epo-base",
        advantage="turn_row_zscore",
        critic="none",
        dual_clip=3.0,
        aggregation="token_mean",
        regularisers=["bounded_reference_kl", "entropy_bonus"],
        kl_coefficient=0.01,
        entropy_aggregation="tokens",
    )
    _, base_gradient, _ = loss_and_gradient(base, data, advantages, old)
    assert torch.equal(gradient, base_gradient), "what is called EPO learns as EPO-Base on the same base"
    relu = load("epo-released", penalty_form="relu")
    _, relu_gradient, _ = loss_and_gradient(relu, data, advantages, old, rl_step=0, **REFERENCE)
    assert not torch.allclose(relu_gradient, gradient, atol=1e-9)


def test_the_released_launcher_forwards_the_smoothing_flags_on_grpo_only():
    ppo, grpo = load("ppo+epo-released").settings, load("epo-released").settings
    assert ppo["smoothing"] is False and grpo["smoothing"] is True
    assert {k: v for k, v in ppo.items() if k in grpo and k not in ("smoothing", "advantage", "critic")} == {
        k: v for k, v in grpo.items() if k in ppo and k not in ("smoothing", "advantage", "critic")
    }
    assert not any("reference" in name for name in load("ppo+epo-released").loss_needs if name != "ref_logps_BT")
    with pytest.raises(UserError, match="smoothing_weight .* smoothing=False"):
        load("ppo+epo-released", smoothing_weight=0.05)
    forwarded = load("ppo+epo-released", smoothing=True, smoothing_weight=0.05)
    assert forwarded.settings["turn_gate"] == 25 and "turns_BT" in forwarded.loss_needs


def test_released_indicator_counts_the_edges_of_the_corridor_as_outside():
    heights = torch.tensor([0.0, 0.1, 1.0, 2.0, 2.1], dtype=torch.float64, requires_grad=True)
    penalty = released_epo.indicator_penalty(heights, torch.tensor(1.0), 0.0, 2.0)
    assert penalty.tolist() == [1.0, 0.0, 0.0, 1.0, 1.0] and not penalty.requires_grad
    assert epo.corridor_penalty(heights, torch.tensor(1.0), 0.0, 2.0).tolist() == pytest.approx([0, 0, 0, 0, 0.1])


@pytest.mark.parametrize(
    ("step", "weight"), [(0, 1.0), (30, 0.890), (75, 0.827), (76, 0.769), (100, 0.294), (125, 0.108), (150, 0.040)]
)
def test_released_schedule(step, weight):
    assert released_epo.phase_weight(step) == pytest.approx(weight, abs=5e-4)
    assert released_epo.phase_weight(step + 151) == released_epo.phase_weight(150), "clamped at its 150 epochs"


def test_released_schedule_runs_to_150_whatever_the_number_of_steps_and_can_be_the_papers():
    extra = {"rl_step": 100, **REFERENCE}
    _, _, metrics = loss_and_gradient(load("epo-released"), late(batch(10)), **extra)
    assert metrics["epo_phase_weight"] == pytest.approx(0.294, abs=5e-4)
    paper = load("epo-released", phase_schedule="paper")
    _, _, metrics = loss_and_gradient(paper, late(batch(10)), **extra, rl_steps=125)
    assert metrics["epo_phase_weight"] == pytest.approx(epo.phase_weight(100, 125))


def test_released_gate_smooths_a_batch_with_a_late_turn_and_no_other():
    extra = {"rl_step": 3, **REFERENCE}
    early, open_ = batch(11), late(batch(11))
    bonus = loss_and_gradient(load("epo-released", smoothing=False), early)[0]
    assert loss_and_gradient(load("epo-released"), early, **extra)[0] == bonus
    assert loss_and_gradient(load("epo-released"), open_, **extra)[0] > bonus
    assert loss_and_gradient(load("epo-released", turn_gate=None), early, **extra)[0] > bonus


def test_released_reference_is_asked_for_with_its_quirks():
    assert load("epo-released").regularisers[1].reference_name == "turn_entropy_reference_with_current_left_padded"
    names = {
        "entropy_reference": dict(smoothing_reference="step", include_current_step=False),
        "entropy_reference_with_current": dict(smoothing_reference="step"),
        "turn_entropy_reference": dict(include_current_step=False, left_padded_history=False),
        "turn_entropy_reference_with_current": dict(left_padded_history=False),
        "turn_entropy_reference_left_padded": dict(include_current_step=False),
    }
    for name, switches in names.items():
        assert load("epo-released", **switches).regularisers[1].reference_name == name
        assert name in EntropyHistory(4).numbers()


def test_released_grpo_counts_turns_not_trajectories():
    rewards, groups = torch.tensor([10.0, 0.0]), torch.tensor([0, 0])
    turns_BT = torch.tensor([[0, 1, 1], [0, 1, 2]])
    found = load("grpo-released").advantages(rewards, groups, torch.ones(2, 3), turns_BT=turns_BT)
    torch.testing.assert_close(found[:, 0], torch.tensor([1.0954, -0.7303]), atol=1e-4, rtol=0)
    plain = load("grpo").advantages(rewards, groups, torch.ones(2, 3))
    torch.testing.assert_close(plain[:, 0], torch.tensor([0.7071, -0.7071]), atol=1e-4, rtol=0)
    rows = torch.tensor([10.0, 10.0, 0.0, 0.0, 0.0])  # the same trajectories as rows of one turn
    ones, zeros = torch.ones(5, 1, dtype=torch.bool), torch.zeros(5, 1, dtype=torch.int64)
    by_rows = released_epo.turn_row_zscore(rows, zeros[:, 0], ones, zeros)
    torch.testing.assert_close(by_rows[[0, 2]], found[:, 0])
    groups = torch.tensor([4, 7, 7])
    lone = released_epo.turn_row_zscore(torch.tensor([3.0, 1.0, 1.0]), groups, ones[:3], zeros[:3])
    torch.testing.assert_close(lone, torch.tensor([3.0, 0.0, 0.0]), atol=1e-5, rtol=0)


def test_bounded_kl_has_no_gradient_beyond_its_bound():
    logps = torch.tensor([[-8.0, -1.0]], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([[-1.0, -2.0]], dtype=torch.float64)
    zeros = torch.zeros(1, 2, dtype=torch.float64)
    algorithm = load("grpo", regularisers="bounded_reference_kl", kl_coefficient=1.0)
    loss, _ = algorithm.loss(logps, logps.detach(), zeros, torch.ones(1, 2), ref_logps_BT=reference)
    loss.backward()
    assert loss.item() == pytest.approx((10.0 + math.exp(-1)) / 2) and logps.grad[0, 0] == 0 != logps.grad[0, 1]


# ---------------------------------------------------------------- the history


def test_the_history_holds_past_steps_only_until_the_open_one_is_closed():
    history = EntropyHistory(turns=3)
    mask_BT = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 1]], dtype=torch.bool)
    turns_BT = torch.tensor([[0, 0, 1, -1], [0, 0, 1, 1]])
    first = torch.tensor([[1.0, 2.0, 3.0, 99.0], [4.0, 99.0, 5.0, 6.0]])
    assert math.isnan(history.numbers()["entropy_reference"])
    history.measure(first, turns_BT, mask_BT)
    found = history.numbers()
    assert math.isnan(found["entropy_reference"]) and found["entropy_reference_with_current"] == pytest.approx(3.5)
    assert found["turn_entropy_reference"].numel() == 0
    assert found["turn_entropy_reference_with_current"].tolist() == pytest.approx([7 / 3, 14 / 3])
    assert found["turn_entropy_reference_with_current_left_padded"].tolist() == pytest.approx([0.0, 7 / 3, 14 / 3])
    history.append()
    history.measure(2 * first[:, :2], turns_BT[:, :2], mask_BT[:, :2])  # only turn 0: its mean is 14 / 3
    found = history.numbers()
    assert found["entropy_reference"] == pytest.approx(3.5)
    assert found["entropy_reference_with_current"] == pytest.approx((3.5 + 14 / 3) / 2)
    assert found["turn_entropy_reference_with_current"].tolist() == pytest.approx([3.5, 14 / 3])
    padded = found["turn_entropy_reference_with_current_left_padded"].tolist()
    assert padded == pytest.approx([0.0, 7 / 6, 14 / 3]), "turn 0 of the short step stands in the last turn's place"
    history.append()
    again = EntropyHistory(turns=3)
    again.load_state_dict(history.state_dict())
    for name, value in history.numbers().items():
        torch.testing.assert_close(again.numbers()[name], value, rtol=0, atol=0, equal_nan=True)
    with pytest.raises(ValueError, match="3 turns, .* 5"):
        EntropyHistory(turns=5).load_state_dict(history.state_dict())
    with pytest.raises(RuntimeError, match="no step was measured"):
        history.append()


BAD = [
    ("grpo+epo", {"corridor_low": 1.5, "corridor_high": 1.0}, "corridor_low must not exceed corridor_high"),
    ("grpo+epo", {"phase_schedule": "released"}, "phase_schedule must be one of 'paper', 'constant', not 'released'"),
    ("grpo+epo", {"smoothing_reference": "token"}, "smoothing_reference must be one of 'step', 'turn'"),
    ("grpo+epo", {"phase_weight": 2.0}, "phase_weight has no effect with phase_schedule=paper"),
    ("epo-base", {"entropy_aggregation": "rows"}, "entropy_aggregation must be one of 'turns', 'tokens'"),
    ("epo-base", {"entropy_bonus": -1}, "entropy_bonus must be a number from 0 up"),
    ("epo-decay", {"decay_by": "time"}, "decay_by must be one of 'turn', 'step'"),
    ("epo-released", {"penalty_form": "square"}, "penalty_form must be one of 'indicator', 'relu'"),
    ("epo-released", {"turn_gate": 2.5}, "turn_gate must be an integer from 0 up"),
]


@pytest.mark.parametrize(("name", "overrides", "message"), BAD)
def test_bad_settings_are_refused(name, overrides, message):
    with pytest.raises(UserError) as error:
        load(name, **overrides)
    assert message in str(error.value)
