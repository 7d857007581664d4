"""d objective / d log pi of one token, divided by |A|, at given ratios: what each surrogate is, in literal numbers.

Inside the range it is the ratio (PPO, arXiv 1707.06347); the tables differ in what happens outside.
"""

import numpy as np
import pytest
import torch
from method_batch import SigmoidGate, needs, random_batch

from reproduce.algorithms import for_run, load, names
from reproduce.algorithms.parts import PARTS, part_name
from reproduce.algorithms.parts.token_weights import top_entropy

RATIOS = (0.5, 0.9, 1.0, 1.1, 1.5, 4.0)

# at A = +1, and at A = -1
PPO_MIN = (0.5, 0.9, 1, 1.1, 0, 0), (0, -0.9, -1, -1.1, -1.5, -4)
UPPER_KEPT_20 = (0.5, 0.9, 1, 1.1, 1.2, 1.2), (0, -0.9, -1, -1.1, -1.5, -4)
UPPER_KEPT_28 = (0.5, 0.9, 1, 1.1, 1.28, 1.28), (0, -0.9, -1, -1.1, -1.5, -4)
CAP_5 = (0.5, 0.9, 1, 1.1, 1.5, 4), (-0.5, -0.9, -1, -1.1, -1.5, -4)

PUBLISHED = {
    "grpo": PPO_MIN,
    "dr-grpo": PPO_MIN,
    "reinforce++": PPO_MIN,
    "reinforce++-baseline": PPO_MIN,
    "dapo": PPO_MIN,  # 1.28 lies between the ratios 1.1 and 1.5, as 1.2 does
    "arpo": PPO_MIN,
    "aepo": UPPER_KEPT_20,
    "gppo": ((0.5, 0.9, 1, 1.1, 1.28, 1.28), (-0.8, -0.9, -1, -1.1, -1.5, -4)),
    "ce-gppo": ((0.5, 0.9, 1, 1.1, 1.2, 1.2), (-0.6, -0.9, -1, -1.1, -1.5, -4)),
    "erc-gppo": ((0.5, 0.9, 1, 1.1, 1.2, 1.2), (-0.8, -0.9, -1, -1.1, -1.5, -4)),
    "clip-cov": ((0.5, 0.9, 1, 1.1, 1.5, 0), (-0.5, -0.9, -1, -1.1, -1.5, -4)),
    "cispo": CAP_5,
    "minpro": CAP_5,  # no ratio stands before the only token of a row
    "gspo": ((0.5, 0.9, 1, 0, 0, 0), (0, 0, -1, -1.1, -1.5, -4)),
    "rloo": ((1, 1, 1, 1, 1, 1), (-1, -1, -1, -1, -1, -1)),
    "warp": ((1, 1, 1, 1, 1, 1), (-1, -1, -1, -1, -1, -1)),
    "opo": ((0.5, 0.9, 1, 1.1, 1.5, 4), (-0.5, -0.9, -1, -1.1, -1.5, -4)),
}
# ratio, surrogate, 1 - clip_low, 1 + clip_high, dual clip, importance weight (of methods without a row above)
BY_SETTINGS = {
    ("token", "ppo_min", 0.8, 1.2, None, None): PPO_MIN,
    ("token", "ppo_min", 0.8, 1.28, None, None): PPO_MIN,
    ("token", "ppo_min", 0.8, 1.28, 10.0, None): PPO_MIN,
    ("token", "ppo_min", 0.8, 1.2, 3.0, None): (PPO_MIN[0], (0, -0.9, -1, -1.1, -1.5, 0)),
    ("token", "upper_gradient_keeping", 0.8, 1.2, None, None): UPPER_KEPT_20,
    ("token", "upper_gradient_keeping", 0.8, 1.2, 3.0, None): (UPPER_KEPT_20[0], (0, -0.9, -1, -1.1, -1.5, 0)),
    ("token", "policy_gradient", 0.0, float("inf"), None, True): PUBLISHED["opo"],
}
WIDE = {"clip_low": 0.2, "clip_high": 0.28}
DUAL = {"dual_clip": 3.0}
OVERRIDDEN = [
    ("grpo", WIDE | DUAL, (PPO_MIN[0], (0, -0.9, -1, -1.1, -1.5, 0))),
    ("gppo", {"clip_high": 0.2}, ((0.5, 0.9, 1, 1.1, 1.2, 1.2), (-0.8, -0.9, -1, -1.1, -1.5, -4))),
    ("gppo", WIDE | DUAL, ((0.5, 0.9, 1, 1.1, 1.28, 1.28), (-0.8, -0.9, -1, -1.1, -1.5, 0))),
    ("ce-gppo", WIDE, ((0.5, 0.9, 1, 1.1, 1.28, 1.28), (-0.6, -0.9, -1, -1.1, -1.5, -4))),
    ("ce-gppo", WIDE | {"beta_1": 0.25, "beta_2": 0.5}, ((0.5, 0.9, 1, 1.1, 0.64, 0.64), (-0.2, *PPO_MIN[1][1:]))),
    ("ce-gppo", WIDE | {"beta_1": 0.0, "beta_2": 0.0}, PPO_MIN),
    ("aepo", WIDE, UPPER_KEPT_28),
    ("aepo", WIDE | DUAL, (UPPER_KEPT_28[0], (0, -0.9, -1, -1.1, -1.5, 0))),
    ("aepo", {"gradient_keeping_clip": False}, PPO_MIN),
    ("aepo", {"surrogate": "ppo_min"}, PPO_MIN),
    ("cispo", WIDE, ((0.8, 0.9, 1, 1.1, 1.28, 1.28), (-0.8, -0.9, -1, -1.1, -1.28, -1.28))),
    ("cispo", {"clip_high": 0.28}, ((0.5, 0.9, 1, 1.1, 1.28, 1.28), (-0.5, -0.9, -1, -1.1, -1.28, -1.28))),
    ("gspo", WIDE | {"surrogate": "gradient_keeping"}, ((0.5, 0.9, 1, 1.1, 1.28, 1.28), (-0.8, *PPO_MIN[1][1:]))),
]


def factors(algorithm, sign: float) -> np.ndarray:
    """-rows * d loss / d log pi: a row of one token for each ratio, so that every aggregation divides by the rows."""
    algorithm = for_run(algorithm, max_completion_tokens=1, updates_per_rollout=2)
    data = random_batch(algorithm, 0, rows=len(RATIOS), tokens=1)
    old = torch.full((len(RATIOS), 1), -6.0, dtype=torch.float64)
    logps = (old + torch.tensor(RATIOS, dtype=torch.float64).log()[:, None]).requires_grad_()
    advantages = torch.full_like(old, sign)
    extra = {name: data[name] for name in needs(algorithm) & set(algorithm.loss_needs)}
    loss, _ = algorithm.loss(
        logps, old, advantages, torch.ones_like(old), normalizer=len(RATIOS), rows=len(RATIOS), **extra
    )
    loss.backward()
    return -len(RATIOS) * logps.grad[:, 0].numpy()


def settings_key(algorithm) -> tuple:
    chosen = algorithm.settings
    low, high = algorithm.clip_range
    return (
        chosen["ratio"],
        chosen["surrogate"],
        round(low, 9),
        round(high, 9),
        chosen.get("dual_clip"),
        chosen.get("importance_weight"),
    )


@pytest.mark.parametrize("name", names())
def test_every_method_has_its_published_factors(name):
    """Of tokens that a weight of the method's own keeps; which they are its own tests say."""
    algorithm = load(name, regularisers="none")
    if part_name("token_weight", algorithm.token_weight) != "current_entropy_factor":
        algorithm = algorithm.with_overrides(token_weight="none")
    expected = PUBLISHED.get(name) or BY_SETTINGS.get(settings_key(algorithm))
    if expected is None and part_name("surrogate", algorithm.surrogate) not in PARTS["surrogate"]:
        return  # a surrogate of the method's own, which its own tests hold to its paper
    assert expected, f"{name}: the table has no row for {settings_key(algorithm)}"
    for sign, row in zip((1.0, -1.0), expected, strict=True):
        np.testing.assert_allclose(factors(algorithm, sign), row, atol=1e-12)


@pytest.mark.parametrize(("name", "overrides", "expected"), OVERRIDDEN)
def test_factors_follow_the_settings(name, overrides, expected):
    for sign, row in zip((1.0, -1.0), expected, strict=True):
        np.testing.assert_allclose(factors(load(name, **overrides), sign), row, atol=1e-12)


@pytest.mark.parametrize("name", names())
def test_factors_are_proportional_to_the_advantage(name):
    algorithm = load(name, regularisers="none")
    np.testing.assert_allclose(factors(algorithm, 2.5), 2.5 * factors(algorithm, 1.0), atol=1e-12)
    np.testing.assert_allclose(factors(algorithm, 0.0), 0.0, atol=1e-15)


def test_gspo_gives_every_token_of_a_row_the_ratio_of_the_row():
    logps = torch.tensor([[0.5, 2.0, 1.0, 4.0], [0.9, 0.9, 0.9, 0.0]], dtype=torch.float64).log()
    logps[1, 3] = float("nan")
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    logps.requires_grad_()
    advantages = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    loss, metrics = load("gspo").loss(logps, torch.zeros_like(logps), advantages, mask)
    loss.backward()
    root = 4 ** (1 / 4)  # (0.5 * 2 * 1 * 4)^(1/4), above the range, at A < 0: kept
    assert loss.item() == pytest.approx(root / 2 - 0.9 / 2)
    np.testing.assert_allclose(logps.grad.numpy(), [[root / 8] * 4, [-0.9 / 6] * 3 + [0.0]], atol=1e-12)
    assert metrics["ratio_max"] == pytest.approx(root)


def test_a_surrogate_of_ones_own_has_the_factors_of_its_paper():
    sapo = load("grpo", surrogate=SigmoidGate())
    expected = (0.470, 0.898, 1, 1.097, 1.410, 0.723), (-0.467, -0.898, -1, -1.097, -1.401, -0.630)
    for sign, row in zip((1.0, -1.0), expected, strict=True):
        np.testing.assert_allclose(factors(sapo, sign), row, atol=5e-4)


# ---------------------------------------------------------------- which tokens learn


def top_entropy_gradient(**overrides):
    algorithm = load("dapo", token_weight="top_entropy", **overrides)
    logps = torch.zeros(2, 8, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1] * 8, [1] * 7 + [0]])
    entropies = torch.arange(16, dtype=torch.float64).reshape(2, 8)  # the highest is masked out
    loss, _ = algorithm.loss(logps, logps.detach(), torch.ones(2), mask, entropies_BT=entropies, normalizer=mask.sum())
    loss.backward()
    return -logps.grad


def test_the_kept_denominator_of_the_80_20_rule_is_a_larger_gradient_by_all_over_kept():
    kept = top_entropy_gradient()
    every = top_entropy_gradient(top_entropy_denominator="all")
    expected = torch.zeros(2, 8, dtype=torch.float64)
    expected[1, 4:7] = 1 / 3  # ceil(0.2 * 15) = 3 tokens learn
    torch.testing.assert_close(kept, expected)
    torch.testing.assert_close(every, expected * 3 / 15)
    torch.testing.assert_close(kept, every * 5)


def test_top_entropy_keeps_exactly_its_share_whatever_the_ties_and_nothing_of_an_empty_mask():
    algorithm = load("grpo", token_weight="top_entropy", top_entropy_fraction=0.5)
    tied, mask = torch.ones(2, 5), torch.ones(2, 5, dtype=torch.bool)
    assert algorithm.token_weight({"entropies_BT": tied}, mask).tolist() == [[2.0] * 5, [0.0] * 5]
    assert not algorithm.token_weight({"entropies_BT": tied}, ~mask).any()
    assert top_entropy(torch.rand(10, 10), torch.ones(10, 10, dtype=torch.bool), 0.07).sum() == 7
    with pytest.raises(ValueError, match="'top_entropy' needs entropies_BT"):
        algorithm.loss(tied, tied, torch.ones(2), mask)
