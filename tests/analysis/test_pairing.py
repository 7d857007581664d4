"""Differences of rows whose runs begin at several warm starts."""

import numpy as np
import pytest

from analysis import pairing
from analysis.load import Scores
from reproduce.seeding import stream

QUESTIONS = tuple(f"q{i}" for i in range(40))


def row(seeds, shares, starts, shared=False):
    """Scores of runs that answer these shares of the questions right."""
    rng = stream(0, "pairing", *map(str, seeds), str(shared))
    correct = np.stack([rng.random((len(QUESTIONS), 8)) < share for share in shares])
    labels = np.array(["a"] * len(QUESTIONS))
    return Scores(tuple(seeds), QUESTIONS, labels, labels, labels, correct, shared, tuple(starts))


def test_only_runs_of_common_warm_starts_are_compared():
    good = row(range(6), [0.3, 0.3, 0.6, 0.6, 0.9, 0.9], [0, 0, 1, 1, 2, 2])
    few = row([0, 1], [0.4, 0.4], [0, 0])
    found = pairing.difference(few, good)
    expected = few.correct_SQN.mean() - good.correct_SQN[:2].mean()
    assert found.value == pytest.approx(expected) and found.value > 0 > few.correct_SQN.mean() - good.correct_SQN.mean()
    assert found.interval() == pairing.difference(few, good.begun_at({0})).interval()


def test_all_warm_starts_that_a_row_has_are_one_fixed_model():
    starts = row([0, 1, 2], [0.2, 0.4, 0.1], [0, 1, 2], shared=True)
    trained = row(range(4), [0.5] * 4, [0, 0, 1, 1])
    found = pairing.difference(trained, starts)
    assert found.value == pytest.approx(trained.correct_SQN.mean() - starts.correct_SQN[:2].mean())
    assert np.isfinite(found.interval().low)


def test_rows_without_warm_starts_of_their_own_are_compared_as_a_whole():
    a, b = row(range(3), [0.5] * 3, ()), row(range(5), [0.4] * 5, ())
    assert pairing.difference(a, b).value == pytest.approx(a.correct_SQN.mean() - b.correct_SQN.mean())
