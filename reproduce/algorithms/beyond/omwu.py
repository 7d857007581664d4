"""OMWU in a two-player zero-sum Markov game (arXiv 2210.01050): `python -m reproduce.algorithms.beyond.omwu`.

All states in parallel, from uniform policies mu (maximises) and nu (minimises), Q = V = 0; Q(s) is a matrix, a by b:
1. mu_bar(a) ~ mu(a)^(1 - eta tau) exp(eta [Q nu_bar]_a), nu_bar(b) ~ nu(b)^(1 - eta tau) exp(-eta [Q^T mu_bar]_b),
   with the mu_bar and nu_bar of the iteration before on the right
2. Q = r + gamma E V(s'), V <- (1 - alpha) V + alpha [mu_bar^T Q nu_bar + tau H(mu_bar) - tau H(nu_bar)],
   alpha = eta tau
3. mu(a) ~ mu(a)^(1 - eta tau) exp(eta [Q nu_bar]_a), nu likewise
The last iterate goes to the quantal response equilibrium, mu ~ exp(Q nu / tau) and nu ~ exp(-Q^T mu / tau). Without
the optimistic step (`optimistic=False`: mu_bar = mu) and without entropy (tau 0) it goes round in circles.

Source: the abstract and the standard form of entropy-regularised OMWU; the paper's own box of the algorithm was not
read again. eta 0.5 and tau 0.1 are ours (assumed): the theorem asks for far smaller steps.
"""

from typing import NamedTuple

import numpy as np

REWARDS = np.array([[[1.0, -1.0], [-1.0, 1.0]], [[0.5, 0.0], [0.2, 0.4]]])
"""r(s, a, b) of the example's two states (ours): matching pennies, and a game with a better side."""
TRANSITIONS = np.array([[[[0.8, 0.2], [0.3, 0.7]], [[0.5, 0.5], [0.9, 0.1]]], [[[0.1, 0.9], [0.6, 0.4]]] * 2])
"""P(s, a, b, s') of the example (ours)."""


class Play(NamedTuple):
    """mu, nu and their bars (S, A or B), values V (S,) and Q (S, A, B)."""

    mu: np.ndarray
    nu: np.ndarray
    mu_bar: np.ndarray
    nu_bar: np.ndarray
    values: np.ndarray
    q: np.ndarray


def start(rewards: np.ndarray) -> Play:
    """Uniform policies, and values of 0, for rewards (S, A, B)."""
    states, a, b = rewards.shape
    mu, nu = np.full((states, a), 1 / a), np.full((states, b), 1 / b)
    return Play(mu, nu, mu, nu, np.zeros(states), np.zeros_like(rewards))


def iteration(play: Play, rewards, transitions, *, discount, eta, tau, optimistic=True) -> Play:
    """One iteration of all states. transitions: (S, A, B, S)."""

    def moved(old, gains):
        return _softmax((1 - eta * tau) * np.log(old) + eta * gains)

    gains, losses = _gains(play.q, play.mu_bar, play.nu_bar)
    bars = (moved(play.mu, gains), moved(play.nu, losses)) if optimistic else (play.mu, play.nu)
    q = rewards + discount * transitions @ play.values
    gain = np.einsum("sa,sab,sb->s", bars[0], q, bars[1]) + tau * (_entropy(bars[0]) - _entropy(bars[1]))
    alpha = eta * tau if tau else eta
    values = (1 - alpha) * play.values + alpha * gain
    gains, losses = _gains(q, *bars)
    return Play(moved(play.mu, gains), moved(play.nu, losses), *bars, values, q)


def distance(play: Play, tau: float) -> float:
    """The largest difference between a policy and its answer in the quantal response equilibrium."""
    policies, gains = (play.mu, play.nu), _gains(play.q, play.mu, play.nu)
    return max(float(abs(policy - _softmax(x / tau)).max()) for policy, x in zip(policies, gains, strict=True))


def gap(play: Play) -> float:
    """The duality gap of the policies in the matrix games Q(s), the largest over states; at least 0."""
    gains, losses = _gains(play.q, play.mu, play.nu)
    return float((gains.max(1) + losses.max(1)).max())


def _gains(q, mu, nu):
    """The average gain of each action of either player against the other's policy: (S, A) and (S, B)."""
    return np.einsum("sab,sb->sa", q, nu), -np.einsum("sab,sa->sb", q, mu)


def _softmax(x):
    weights = np.exp(x - x.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def _entropy(policy):
    return -(policy * np.log(policy)).sum(1)


def main() -> None:
    """Print the last iterate's distance and gap, with optimism and entropy and without either."""
    for name, tau, optimistic in (("OMWU", 0.1, True), ("MWU, no entropy", 0.0, False)):
        play = start(REWARDS)
        play = play._replace(mu=np.array([[0.7, 0.3]] * 2), nu=np.array([[0.4, 0.6]] * 2))
        for step in range(1, 1001):
            play = iteration(play, REWARDS, TRANSITIONS, discount=0.8, eta=0.5, tau=tau, optimistic=optimistic)
            if step in (1, 10, 100, 1000):
                away = f", distance to the fixed point {distance(play, tau):.1e}" if tau else ""
                print(f"{name}: iteration {step}: duality gap {gap(play):.4f}{away}")


if __name__ == "__main__":
    main()
