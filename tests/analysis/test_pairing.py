"""Differences of rows whose runs begin at several warm starts."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import write_results

from analysis import load, pairing
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


def test_over_warm_starts_what_they_change_is_error():
    starts = [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    base = row(range(20), [0.5] * 20, starts)
    same = row(range(20), [0.7] * 20, starts)
    mixed = row(range(20), [0.9] * 5 + [0.5] * 5 + [0.8] * 5 + [0.6] * 5, starts)
    for better in (same, mixed):
        over, fixed = pairing.over_starts(better, base), pairing.difference(better, base)
        assert over.value == pytest.approx(fixed.value)
    low = {name: pairing.over_starts(a, base).interval().low for name, a in (("same", same), ("mixed", mixed))}
    assert low["same"] > 0 > low["mixed"]
    assert pairing.difference(mixed, base).interval().low > 0


def test_a_difference_at_each_warm_start_is_that_of_its_runs():
    starts = [0, 0, 1, 1, 2]
    a, b = row(range(5), [0.9, 0.9, 0.2, 0.2, 0.5], starts), row(range(4), [0.5] * 4, [0, 0, 1, 1])
    found = pairing.by_start(a, b)
    assert list(found) == [0, 1]
    assert found[1].value == pytest.approx(a.correct_SQN[2:4].mean() - b.correct_SQN[2:4].mean())
    assert pairing.by_start(a, b.begun_at({0})) == {} and pairing.over_starts(a, b.begun_at({0})) is None


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_over_warm_starts_an_interval_covers_the_mean_of_all_of_them(spread):
    """True effect 0, four warm starts of five runs, effects of warm starts with this standard deviation."""
    rng, covered, trials = stream(1, "starts", str(spread)), 0, 300
    starts = tuple(np.repeat(range(4), 5))
    labels = np.array(["a"] * len(QUESTIONS))
    for _ in range(trials):
        level = np.clip(0.5 + rng.normal(0, spread, 4).repeat(5), 0, 1)
        a, b = (
            Scores(
                tuple(range(20)),
                QUESTIONS,
                labels,
                labels,
                labels,
                rng.random((20, len(QUESTIONS), 4)) < p,
                False,
                starts,
            )
            for p in (level[:, None, None], 0.5)
        )
        found = pairing.over_starts(a, b).interval()
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / trials <= 1.0


def test_what_compares_rows_unpaired_sees_the_warm_starts_that_all_have(tmp_path):
    write_results(tmp_path, {"grpo": 0.4, "aepo": 0.6, "dapo": 0.5}, seeds=range(4))
    whole = load.load_source(data_root=tmp_path)
    assert whole.comparable is whole and whole.begun_note == ""
    several = replace(whole, config=whole.config | {"warm_start": {"seed": 0, "seeds_each": 2}})
    assert several.comparable is several, "all rows have both"
    fewer = replace(several, manifests=[m for m in several.manifests if m["method"] != "dapo" or m["seed"] < 2])
    found = fewer.comparable
    assert set(found.steps["seed"]) == set(found.evals.loc[found.evals["method"] == "grpo", "seed"]) == {0, 1}
    assert "warm start 0," in found.begun_note and found.scores["aepo"].starts == (0, 0)
