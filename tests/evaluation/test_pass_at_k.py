"""The unbiased pass@k estimator against enumeration."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from reproduce.errors import UserError
from reproduce.evaluation import pass_at_k


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_equals_the_share_of_subsets_with_a_success(n):
    for c in range(n + 1):
        for k in range(1, n + 1):
            subsets = list(combinations([1] * c + [0] * (n - c), k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-12)


def test_pass_at_1_is_the_success_rate():
    assert pass_at_k(10, 3, 1) == pytest.approx(0.3)


def test_large_numbers_neither_overflow_nor_lose_digits():
    n, c, k = 20000, 3, 1000
    exact = 1 - comb(n - c, k) / comb(n, k)
    assert pass_at_k(n, c, k) == pytest.approx(exact, rel=1e-9)
    assert pass_at_k(200, 1, 200) == 1.0


def test_arrays_broadcast():
    result = pass_at_k(5, np.array([[0, 1], [4, 5]]), 2)
    assert result.shape == (2, 2)
    assert result == pytest.approx(np.array([[0.0, 0.4], [1.0, 1.0]]))
    assert pass_at_k(np.array([2, 4]), np.array([1, 1]), 2) == pytest.approx([1.0, 0.5])
    assert isinstance(pass_at_k(5, 2, 2), float)
    assert pass_at_k(np.array([], dtype=int), np.array([], dtype=int), 5).shape == (0,)


def test_is_unbiased():
    rng = np.random.default_rng(0)
    successes = rng.binomial(8, 0.3, size=200_000)
    assert np.mean(pass_at_k(8, successes, 5)) == pytest.approx(1 - 0.7**5, abs=2e-3)


@pytest.mark.parametrize(
    ("n", "c", "k", "message"),
    [
        (4, 1, 5, "n = 4"),
        (np.array([8, 3]), np.array([1, 1]), 5, "n = 3"),
        (4, 1, 0, "1 <= k"),
        (4, 5, 2, "between 0 and n"),
        (4, -1, 2, "between 0 and n"),
        (4.0, 1, 2, "whole numbers"),
    ],
)
def test_impossible_requests(n, c, k, message):
    with pytest.raises(UserError, match=message):
        pass_at_k(n, c, k)
