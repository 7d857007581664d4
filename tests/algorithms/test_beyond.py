"""The examples of other domains: OMWU at its fixed point, RPO beside PPO, Pendulum's dynamics; and what is refused."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from analysis import style
from reproduce.algorithms import REFUSED, load, names
from reproduce.algorithms.beyond import omwu, pendulum, rpo
from reproduce.errors import UserError

GAME = {"discount": 0.8, "eta": 0.5, "tau": 0.1}


def after(iterations, play=None, **changes):
    play = omwu.start(omwu.REWARDS) if play is None else play
    for _ in range(iterations):
        play = omwu.iteration(play, omwu.REWARDS, omwu.TRANSITIONS, **GAME | changes)
    return play


def test_omwu_goes_to_the_quantal_response_equilibrium_and_does_not_move_there():
    far, near, there = (after(n) for n in (2, 100, 4000))
    assert omwu.distance(far, 0.1) > 0.01 > omwu.distance(near, 0.1) > 1e-5 > omwu.distance(there, 0.1)
    once_more = after(1, there)
    for name in ("mu", "nu", "values", "q"):
        np.testing.assert_allclose(getattr(once_more, name), getattr(there, name), atol=1e-12)
    mu, nu, v, q = there.mu, there.nu, there.values, there.q
    for s in range(2):  # the fixed point's equations, written out
        answer = np.exp(q[s] @ nu[s] / 0.1)
        np.testing.assert_allclose(mu[s], answer / answer.sum(), atol=1e-9)
        answer = np.exp(-q[s].T @ mu[s] / 0.1)
        np.testing.assert_allclose(nu[s], answer / answer.sum(), atol=1e-9)
        entropies = -(mu[s] * np.log(mu[s])).sum() + (nu[s] * np.log(nu[s])).sum()
        assert v[s] == pytest.approx(mu[s] @ q[s] @ nu[s] + 0.1 * entropies, abs=1e-9)
        for a in range(2):
            for b in range(2):
                expected = omwu.REWARDS[s, a, b] + 0.8 * omwu.TRANSITIONS[s, a, b] @ v
                assert q[s, a, b] == pytest.approx(expected, abs=1e-9)


def test_omwus_first_iteration_by_hand():
    play = after(1)
    assert (play.mu_bar == 0.5).all() and (play.q == omwu.REWARDS).all(), "Q was 0"
    gains = omwu.REWARDS[1] @ [0.5, 0.5]  # 0.25, 0.3
    expected = np.exp(0.5 * gains) / np.exp(0.5 * gains).sum()
    np.testing.assert_allclose(play.mu[1], expected, atol=1e-12)
    np.testing.assert_allclose(play.values, [0.0, 0.05 * 0.275], atol=1e-12)


def test_without_entropy_and_optimism_the_last_iterate_goes_away_from_the_equilibrium():
    tilted = omwu.start(omwu.REWARDS)._replace(mu=np.array([[0.7, 0.3]] * 2), nu=np.array([[0.4, 0.6]] * 2))
    plain = [omwu.gap(after(n, tilted, tau=0.0, optimistic=False)) for n in (10, 300)]
    assert plain[1] > plain[0] > 0.5 > 0.1 > omwu.gap(after(300, tilted))


def test_a_pendulums_step_by_hand():
    states = torch.tensor([[math.pi / 2, 1.0], [3.5, -7.9], [0.0, 0.0]])
    found, rewards = pendulum.played(states, torch.tensor([1.0, -9.0, 0.0]))
    speed = 1.0 + (15.0 + 3.0) * 0.05
    assert found[0].tolist() == pytest.approx([math.pi / 2 + 0.05 * speed, speed])
    assert rewards[0] == pytest.approx(-((math.pi / 2) ** 2 + 0.1 + 0.001))
    assert found[1, 1] == -8.0, "speed is bounded"
    assert rewards[1] == pytest.approx(-((3.5 - 2 * math.pi) ** 2 + 0.1 * 7.9**2 + 0.001 * 4), rel=1e-5), "torque too"
    assert found[2].tolist() == [0.0, 0.0] and rewards[2] == 0.0
    assert pendulum.observed(states)[0].tolist() == pytest.approx([0.0, 1.0, 1.0], abs=1e-6)


def log_probs(alpha, seed=0):
    torch.manual_seed(1)
    agent = rpo.Agent()
    observations, torques = torch.randn(50, 3), torch.randn(50)
    found = agent.log_probs(observations, torques, alpha, torch.Generator().manual_seed(seed))
    return agent, observations, torques, found


def test_rpo_moves_the_mean_within_alpha_when_actions_are_evaluated_again():
    agent, observations, torques, plain = log_probs(0.0)
    mean = agent.mean(observations)[:, 0]
    torch.testing.assert_close(plain, -0.5 * (torques - mean) ** 2 - 0.5 * math.log(2 * math.pi))
    agent, *_, moved = log_probs(0.5)
    mean = agent.mean(observations)[:, 0]
    noise = 0.5 * (2 * torch.rand(50, generator=torch.Generator().manual_seed(0)) - 1)
    torch.testing.assert_close(moved, -0.5 * (torques - mean - noise) ** 2 - 0.5 * math.log(2 * math.pi))
    assert not torch.equal(moved, log_probs(0.5, seed=1)[-1]), "drawn in every evaluation"
    (slope,) = torch.autograd.grad(moved.sum(), agent.mean[-1].bias)
    assert float(slope) == pytest.approx(float((torques - mean - noise).detach().sum()), rel=1e-4), (
        "(a - mean - z) / sigma^2"
    )


def test_ratios_differ_from_1_in_the_first_mini_batch_of_rpo_alone():
    torch.manual_seed(0)
    agent = rpo.Agent()
    batch = rpo.World(torch.Generator().manual_seed(0)).collect(agent)
    assert batch.observations.shape == (2048, 3) and abs(float(batch.observations[:, 2].abs().max())) <= 1
    for alpha, off in ((0.0, False), (0.5, True)):
        logs = agent.log_probs(batch.observations, batch.torques, alpha, torch.Generator().manual_seed(0))
        assert (float((logs - batch.old).detach().abs().max()) > 0.1) == off


def test_rpo_trains_and_keeps_sigma_higher_than_ppo(monkeypatch):
    monkeypatch.setattr(rpo, "EPOCHS", 2)
    trained = {alpha: rpo.train(alpha, iterations=2, seed=1) for alpha in (0.0, 0.5)}
    assert trained[0.5][1][-1] > trained[0.0][1][-1]
    assert len(trained[0.0][2]) == 16 and max(trained[0.0][2]) < 0


def test_examples_are_imported_by_nobody():
    code = "import sys, reproduce.algorithms; print([m for m in sys.modules if 'beyond' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# ---------------------------------------------------------------- what is refused, and what is ours


@pytest.mark.parametrize("name", REFUSED)
def test_a_method_that_is_not_here_is_refused_with_the_reason(name):
    with pytest.raises(UserError, match=f"method '{name}' is refused: .*arXiv"):
        load(name)
    assert name not in names()


def test_haepos_core_has_no_gradient_on_long_rows():
    """Core: L = -sum w R, w = softmax of the rows' log-likelihoods; d L / d logL_k = -w_k (R_k - sum w R)."""

    def core(likelihoods, returns):
        weights = np.exp(likelihoods - np.max(likelihoods))
        weights /= weights.sum()
        return weights, -weights * (returns - weights @ returns)

    weights, gradient = core(np.array([0.0, -1.0, -0.5]), np.array([1.0, -1.0, 0.0]))
    np.testing.assert_allclose(weights, [0.506480, 0.186324, 0.307196], atol=1e-6)
    np.testing.assert_allclose(gradient, [-0.344327, 0.245977, 0.098351], atol=1e-6)
    rows = np.random.default_rng(0).exponential(size=(16, 500))  # -log pi of 500 tokens, a nat each
    weights, gradient = core(-rows.sum(1), np.arange(16) % 2 - 0.5)
    assert weights.max() > 0.999 and abs(gradient).max() < 1e-3


def test_what_is_ours_says_so_wherever_a_method_is_named():
    ours = {name for name in names() if load(name).citation.startswith("ours")}
    assert ours == {"sibling-grpo", "linear-entropy-gate", "difficulty-entropy"}
    assert ours == {name for name in names() if style.name(name).endswith("(ours)")}
