"""KL-Cov: which tokens it chooses, the gradient of its penalty, and its metrics, in numbers computed by hand."""

import json
import math

import pytest
import torch
from trainers import config, trainer

from reproduce.algorithms import for_run, inert_at_one_update, load
from reproduce.algorithms.kl_cov import CovariancePenalty, covariance
from reproduce.errors import UserError

NAN = math.nan
MASK = torch.tensor([[1, 1, 1, 1, 0], [0, 1, 0, 1, 0]]).bool()
LOGPS = torch.tensor([[-0.5, -4, -1, -2.5, NAN], [1e9, -3.5, NAN, -0.5, -1e9]], dtype=torch.float64)
LOG_RATIOS = torch.tensor([[0.3, -0.2, 0, 0.1, NAN], [5, -0.4, NAN, 0.5, 9]], dtype=torch.float64)
OLD = LOGPS - LOG_RATIOS
ADVANTAGES = torch.tensor([[1, 1, 1, 1, 1e9], [1e9, -1, NAN, -1, NAN]], dtype=torch.float64)
# the six tokens: mean advantage 1/3 (not 0, which rows would give), mean log pi -2
COVARIANCE = torch.tensor([[1, -4 / 3, 2 / 3, -1 / 3, 0], [0, 2, 0, -2, 0]], dtype=torch.float64)


def loss(algorithm, logps=LOGPS, old=OLD, mask=MASK, advantages=ADVANTAGES):
    """Loss, gradient with respect to log pi, metrics."""
    logps = logps.clone().requires_grad_()
    value, metrics = algorithm.loss(logps, old, advantages, mask)
    value.backward()
    return value.item(), logps.grad, metrics


def test_the_covariance_is_taken_over_tokens():
    torch.testing.assert_close(covariance(ADVANTAGES, LOGPS, MASK), COVARIANCE)


def test_loss_and_gradient_of_two_penalised_tokens_of_six():
    value, gradient, metrics = loss(load("kl-cov", covariance_fraction=0.34))
    assert value == pytest.approx(-0.209120, abs=1e-6)
    expected = [
        [(-1.349859 + 1) / 6, -0.818731 / 6, -1 / 6, -1.105171 / 6, 0],  # the first: log ratio 0.3, pushed down
        [0, (0.670320 - 1) / 6, 0, 1.648721 / 6, 0],  # the first: log ratio -0.4, pushed up
    ]
    torch.testing.assert_close(gradient, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)
    found = [metrics[f"kl_cov/{name}"] for name in ("tokens", "share", "covariance", "log_ratio")]
    assert found == pytest.approx([2, 1 / 3, 1.5, 0.35])


def test_the_coefficient_scales_the_penalty_alone():
    plain, _, none = loss(load("kl-cov", penalty_coefficient=0.0))
    single, _, _ = loss(load("kl-cov", covariance_fraction=0.34))
    double, _, _ = loss(load("kl-cov", covariance_fraction=0.34, penalty_coefficient=2.0))
    assert (plain, single - plain, double - plain) == pytest.approx((-1.954720 / 6, 0.7 / 6, 1.4 / 6), abs=1e-6)
    assert none["regulariser_loss"] == 0 and "kl_cov/tokens" not in none


@pytest.mark.parametrize(
    ("advantage", "factors"), [(1.0, (1.5, 1.9, 1.0, 0.1, 0.5, 3.0)), (-1.0, (0.5, 0.1, -1.0, -2.1, -2.5, -5.0))]
)
def test_gradient_factors_of_a_penalised_token(advantage, factors):
    ratios = torch.tensor([[0.5, 0.9, 1.0, 1.1, 1.5, 4.0]], dtype=torch.float64)
    old, mask = torch.full((1, 6), -6.0, dtype=torch.float64), torch.ones(1, 6)
    _, gradient, _ = loss(load("kl-cov", covariance_fraction=1.0), old + ratios.log(), old, mask, mask * advantage)
    assert (-6 * gradient[0]).tolist() == pytest.approx(factors)


@pytest.mark.parametrize(
    ("tokens", "fraction", "chosen"),
    [(0, 0.002, 0), (1, 0.002, 1), (499, 0.002, 1), (999, 0.002, 1), (1000, 0.002, 2), (5, 0.5, 2), (7, 1.0, 7)],
)
def test_the_share_is_rounded_down_to_at_least_one_token(tokens, fraction, chosen):
    mask = (torch.arange(1000) < tokens)[None]
    logps = -torch.rand(1, 1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tensors = {"logps_BT": logps, "old_logps_BT": logps + 1, "advantages_BT": logps.square()}
    penalty, metrics = CovariancePenalty(covariance_fraction=fraction)(tensors, mask)
    assert (penalty != 0).sum() == chosen == metrics["kl_cov/tokens"] and not penalty[~mask].any()
    assert metrics["kl_cov/share"] == (chosen / tokens if tokens else 0.0)


def test_each_call_chooses_among_its_own_tokens():
    algorithm = load("kl-cov")
    assert loss(algorithm)[2]["kl_cov/tokens"] == 1
    halves = [loss(algorithm, *(x[rows] for x in (LOGPS, OLD, MASK, ADVANTAGES))) for rows in ([0], [1])]
    assert [metrics["kl_cov/tokens"] for _, _, metrics in halves] == [1, 1]


def test_equal_advantages_choose_the_first_token():
    logps = torch.tensor([[-1.0, -2.0, -3.0]])
    penalty, metrics = CovariancePenalty()(
        {"logps_BT": logps, "old_logps_BT": logps - 0.5, "advantages_BT": torch.ones(1, 3)}, torch.ones(1, 3).bool()
    )
    assert penalty.tolist() == [[0.5, 0.0, 0.0]] and metrics["kl_cov/covariance"] == 0


def test_it_is_reinforce_where_the_policy_has_not_moved_and_one_update_is_refused():
    still, plain = load("kl-cov"), load("kl-cov", regularisers="none")
    assert torch.equal(loss(still, old=LOGPS)[1], loss(plain, old=LOGPS)[1])
    assert inert_at_one_update(still) == ("regularisers CovariancePenalty",)
    with pytest.raises(UserError, match="kl-cov: regularisers CovariancePenalty would change nothing with one update"):
        for_run(still, max_completion_tokens=9, updates_per_rollout=1)
    assert for_run(still, max_completion_tokens=9, updates_per_rollout=2) == still
    off = load("kl-cov", penalty_coefficient=0.0)
    assert for_run(off, max_completion_tokens=9, updates_per_rollout=1) == off


def test_values_out_of_range_are_refused():
    for value in (0.0, 1.5):
        with pytest.raises(UserError, match="kl-cov: covariance_fraction must be a number above 0 to 1"):
            load("kl-cov", covariance_fraction=value)
    with pytest.raises(UserError, match="kl-cov: penalty_coefficient must be a number from 0 up"):
        load("kl-cov", penalty_coefficient=-1.0)


def test_a_run_records_how_much_the_penalty_did(tmp_path):
    made = trainer(tmp_path, config("kl-cov"), covariance_fraction=0.1)
    made.train()
    steps = [json.loads(path.read_text())["metrics"] for path in sorted(made.run.parts.glob("*.steps.json"))]
    assert len(steps) == 2
    for step in steps:
        assert 0.09 < step["kl_cov/share"] <= 0.1 and step["kl_cov/tokens"] > 1
        assert step["kl_cov/covariance"] > 0 and step["kl_cov/log_ratio"] > 0 and step["regulariser_loss"] > 0
