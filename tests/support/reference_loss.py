"""Compare a method's loss and gradient with those that a test computes in numpy, from the method's formula."""

import numpy as np
import pytest
from method_batch import advantages_of, loss_and_gradient, random_batch, ready

RATIOS = (0.5, 0.9, 1.0, 1.1, 1.5, 4.0)


def case(name, seed=0, **overrides):
    """(method, batch with everything it needs, advantages, and as float64 arrays: ratio, A, mask, log pi, H)."""
    algorithm = ready(name, **overrides)
    data = random_batch(algorithm, seed)
    advantages = advantages_of(algorithm, data)
    mask = data["mask_BT"].numpy()
    ratio = (data["logps_BT"] - data["old_logps_BT"]).exp().numpy()
    return algorithm, data, advantages, ratio, advantages.numpy(), mask


def clipped(ratio, a, low, high, dual=None):
    """PPO's objective and its gradient by log pi."""
    value = np.minimum(ratio * a, np.clip(ratio, low, high) * a)
    gradient = np.where((a > 0) & (ratio > high) | (a < 0) & (ratio < low), 0.0, ratio * a)
    if dual is not None:
        stopped = (a < 0) & (ratio > dual)
        value, gradient = np.where(stopped, dual * a, value), np.where(stopped, 0.0, gradient)
    return value, gradient


def check(algorithm, data, advantages, value, gradient):
    """value, gradient: of the objective per token, already divided."""
    loss, found = loss_and_gradient(algorithm, data, advantages)
    mask = data["mask_BT"].numpy()
    assert float(loss) == pytest.approx(-value[mask].sum(), abs=1e-12)
    np.testing.assert_allclose(-found.numpy(), np.where(mask, gradient, 0.0), atol=1e-12)


def loss_of(algorithm, data, advantages):
    needs = [name for name in algorithm.loss_needs if name not in ("logps_BT", "old_logps_BT", "advantages_BT")]
    given = {name: data[name] for name in needs}
    return algorithm.loss(data["logps_BT"], data["old_logps_BT"], advantages, data["mask_BT"], **given)
