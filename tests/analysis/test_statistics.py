"""analysis.statistics: checked against SciPy, against hand-made cases, and by simulation."""

import numpy as np
import pytest
import scipy.stats

from analysis import statistics
from reproduce.seeding import stream

ONE_LEVEL = np.zeros(60, dtype=int)


def scores(seed, n_seeds=5, n_questions=60):
    return stream(seed, "test").random((n_seeds, n_questions))


def test_draws_keep_the_size_of_every_stratum_and_the_same_stream_gives_the_same_draws():
    levels = np.array([1] * 10 + [2] * 7 + [3] * 3)
    draws = statistics.draw(stream(0, "bootstrap"), 4, levels, 50)
    for level, size in ((1, 10), (2, 7), (3, 3)):
        assert (draws.questions_DQ[:, levels == level].sum(axis=1) == size).all()
    assert draws.questions_DQ.std(axis=0).min() > 0
    assert set(np.unique(draws.seeds_DS)) == {0, 1, 2, 3}
    again = statistics.draw(stream(0, "bootstrap"), 4, levels, 50)
    assert (again.seeds_DS == draws.seeds_DS).all() and (again.questions_DQ == draws.questions_DQ).all()


def test_methods_with_fewer_seeds_get_the_same_questions():
    many, few = (statistics.draw(stream(0, "bootstrap"), n, ONE_LEVEL, 20) for n in (8, 3))
    assert (many.questions_DQ == few.questions_DQ).all()


@pytest.mark.parametrize("axis", ["questions", "seeds"])
def test_one_axis_interval_equals_scipy(axis):
    values = stream(3, "test").normal(0.4, 0.2, size=40)
    array = values[None, :] if axis == "questions" else values[:, None]
    draws = statistics.draw(stream(0, "bootstrap"), array.shape[0], np.zeros(array.shape[1]), 20_000)
    ours = statistics.mean(array, draws)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=stream(1, "test")
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.05 * values.std())


def test_strata_remove_the_variance_between_levels():
    levels = np.repeat([1, 2], 30)
    array = np.tile(np.where(levels == 1, 0.9, 0.1), (4, 1))
    stratified = statistics.mean(array, statistics.draw(stream(0, "bootstrap"), 4, levels, 500))
    plain = statistics.mean(array, statistics.draw(stream(0, "bootstrap"), 4, ONE_LEVEL, 500))
    assert stratified.low == pytest.approx(0.5) and stratified.high == pytest.approx(0.5)
    assert plain.high - plain.low > 0.1


def test_paired_difference_of_equal_arrays_is_exactly_zero():
    array = scores(1)
    draws = statistics.draw(stream(0, "bootstrap"), 5, ONE_LEVEL)
    assert statistics.paired_difference(array, array.copy(), draws) == statistics.Estimate(0.0, 0.0, 0.0)
    improvement = statistics.probability_of_improvement(array, array.copy(), draws)
    assert improvement.value == 0.5


def test_pairing_cancels_what_two_methods_share():
    array = scores(2)
    draws = statistics.draw(stream(0, "bootstrap"), 5, ONE_LEVEL)
    better = statistics.paired_difference(array + 0.01, array, draws)
    assert better.value == pytest.approx(0.01) and better.excludes(0)
    alone = statistics.mean(array, draws)
    assert not statistics.Estimate(0, alone.low - alone.value, alone.high - alone.value).excludes(0.01)


def test_interval_covers_seeds_and_questions():
    """With a seed effect and a question effect the interval must be wider than with either alone."""
    rng = stream(5, "test")
    seed_effect, question_effect = rng.normal(0, 0.1, (8, 1)), rng.normal(0, 0.4, (1, 60))
    draws = statistics.draw(stream(0, "bootstrap"), 8, ONE_LEVEL, 4000)

    def width(array):
        e = statistics.mean(array, draws)
        return e.high - e.low

    both = width(0.5 + seed_effect + question_effect)
    only_seeds, only_questions = width(seed_effect + np.zeros((8, 60))), width(question_effect + np.zeros((8, 60)))
    assert both == pytest.approx(np.hypot(only_seeds, only_questions), rel=0.1)


def test_coverage_is_near_nominal():
    """The true mean lies in the 95 % interval in about 95 % of simulated tables (8 seeds, 60 questions, two levels)."""
    levels = np.repeat([1, 2], 30)
    draws = statistics.draw(stream(0, "bootstrap"), 8, levels, 400)
    rng = stream(7, "test")
    hits = 0
    for _ in range(300):
        p = np.where(levels == 1, 0.6, 0.3) + rng.normal(0, 0.1, 60) + rng.normal(0, 0.06, (8, 1))
        array = rng.binomial(5, np.clip(p, 0.0, 1.0)) / 5
        e = statistics.mean(array, draws)
        hits += e.low <= 0.45 <= e.high
    assert 0.88 <= hits / 300 <= 0.99


def test_iqm_equals_scipy_trim_mean_and_ignores_an_outlier():
    values = stream(9, "test").random((3, 11))
    assert statistics.iqm(values) == pytest.approx(scipy.stats.trim_mean(values, 0.25, axis=1))
    assert statistics.iqm(np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.0])) == 0.5
    array = np.full((8, 60), 0.5)
    array[0] = 0.0
    e = statistics.iqm_over_seeds(array, statistics.draw(stream(0, "bootstrap"), 8, ONE_LEVEL))
    assert e.value == 0.5 and e.low < 0.5


def test_probability_of_improvement_counts_pairs_of_runs():
    a, b = np.array([[0.4], [0.6]]), np.array([[0.5], [0.4]])
    draws = statistics.draw(stream(0, "bootstrap"), 2, np.zeros(1), 100)
    assert statistics.probability_of_improvement(a, b, draws).value == (0 + 0.5 + 1 + 1) / 4


def test_pass_at_k_is_the_chance_that_a_subset_of_k_holds_a_success():
    from itertools import combinations

    correct = np.zeros((1, 3, 5), dtype=bool)
    correct[0, 1, :2] = True
    correct[0, 2] = True
    for k in (1, 2, 5):
        expected = [np.mean([row[list(c)].any() for c in combinations(range(5), k)]) for row in correct[0]]
        assert statistics.pass_at_k_scores(correct, k)[0] == pytest.approx(expected)
    assert np.isnan(statistics.pass_at_k_scores(correct, 6)).all()


def test_undefined_scores_give_an_undefined_interval_that_excludes_nothing():
    draws = statistics.draw(stream(0, "bootstrap"), 2, np.zeros(3), 10)
    e = statistics.mean(np.full((2, 3), np.nan), draws)
    assert np.isnan(e.value) and not e.excludes(0)
    assert np.isnan(statistics.over_seeds(np.array([np.nan]), stream(0, "bootstrap")).value)
    assert statistics.over_seeds(np.array([np.nan, 2.0, 4.0]), stream(0, "bootstrap")).value == 3.0


def test_scores_that_do_not_fit_the_draws_are_refused():
    draws = statistics.draw(stream(0, "bootstrap"), 2, np.zeros(3), 10)
    with pytest.raises(ValueError, match="do not fit"):
        statistics.mean(np.zeros((3, 3)), draws)
