"""analysis.statistics: checked against SciPy, against hand-made cases, and on what it must leave undefined."""

import numpy as np
import pytest
import scipy.stats

from analysis import statistics
from reproduce.seeding import stream

LEVELS = np.repeat([1, 2, 3], 20)


def scores(seed, n_seeds=5, n_questions=60):
    return stream(seed, "test").random((n_seeds, n_questions))


def with_effects(seed, n_seeds=6, n_questions=60, runs=0.1, questions=0.3):
    rng = stream(seed, "test")
    effects = rng.normal(0, runs, (n_seeds, 1)) + rng.normal(0, questions, (1, n_questions))
    return 0.5 + effects + rng.normal(0, 0.2, (n_seeds, n_questions))


def test_mean_squares_are_those_of_the_analysis_of_variance():
    """By least squares on dummy variables: what each set of effects explains."""
    array = with_effects(1)
    s, q = array.shape
    rows, columns = np.repeat(np.eye(s), q, axis=0), np.tile(np.eye(q), (s, 1))
    level = np.tile(np.eye(3)[LEVELS - 1], (s, 1))
    inside = np.einsum("ri,rj->rij", rows, level).reshape(s * q, -1)  # a mean for every seed and level

    def left(design):
        y = array.ravel()
        return float(((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum())

    found = statistics.mean_squares(array, LEVELS)
    assert found.df == (s - 1, q - 3, (s - 1) * (q - 3))
    assert found.seeds * (s - 1) == pytest.approx(left(np.ones((s * q, 1))) - left(rows))
    assert found.questions * (q - 3) == pytest.approx(left(inside) - left(np.hstack([inside, columns])))
    assert found.rest * (s - 1) * (q - 3) == pytest.approx(left(np.hstack([inside, columns])))


def test_the_error_of_a_mean_is_the_sum_of_both_parts():
    array = with_effects(2)
    found, squares = statistics.crossed(array), statistics.mean_squares(array)
    assert squares.questions > squares.rest
    assert found.error**2 * array.size == pytest.approx(squares.seeds + squares.questions - squares.rest)
    parts = np.array([squares.seeds, squares.questions, squares.rest])
    assert found.df == pytest.approx((parts[0] + parts[1] - parts[2]) ** 2 / (parts**2 / squares.df).sum())
    assert found.value == pytest.approx(array.mean())


def test_without_question_effects_it_is_the_t_test_over_seeds():
    array = stream(4, "test").normal(0, 1, (5, 40))
    array += 0.02 - array.mean(axis=0) + np.arange(5)[:, None] / 10  # every question alike: its variance is 0
    found, theirs = statistics.crossed(array), scipy.stats.ttest_1samp(array.mean(axis=1), 0)
    assert found.df == 4 and found.p() == pytest.approx(theirs.pvalue)
    ends = theirs.confidence_interval()
    assert (found.interval().low, found.interval().high) == pytest.approx((ends.low, ends.high))


def test_one_seed_is_the_t_interval_over_questions():
    values = stream(3, "test").normal(0.4, 0.2, 40)
    found, ends = statistics.crossed(values[None]).interval(), scipy.stats.ttest_1samp(values, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))


def test_strata_remove_the_variance_between_levels():
    array = np.where(LEVELS == 1, 0.9, 0.1) + stream(1, "test").normal(0, 0.01, (4, 60))
    assert statistics.crossed(array, LEVELS).error < 0.1 * statistics.crossed(array).error
    with pytest.raises(ValueError, match="3 strata labels for 60 questions"):
        statistics.crossed(array, np.zeros(3))


def test_two_rows_are_welchs_t_where_questions_do_not_differ():
    a, b = (stream(seed, "test").normal(0, 1, (n, 30)) for seed, n in ((5, 3), (6, 8)))
    a, b = (x - x.mean(axis=0) + stream(9, "test", str(len(x))).normal(0, 1, (len(x), 1)) for x in (a, b))
    found = statistics.two_rows(a, b)
    theirs = scipy.stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False)
    assert (found.p(), found.df) == (pytest.approx(theirs.pvalue), pytest.approx(theirs.df))


def test_what_two_rows_share_cancels_and_what_questions_do_to_one_of_them_counts():
    shared, own = (stream(seed, "test").normal(0, 1, (1, 60)) for seed in (7, 8))
    a, b = (stream(seed, "test").normal(0, 0.1, (n, 60)) for seed, n in ((5, 4), (6, 8)))
    plain = statistics.two_rows(a, b)
    assert statistics.two_rows(a + shared, b + shared) == statistics.Effect(
        *(pytest.approx(x) for x in (plain.value, plain.error, plain.df))
    )
    assert statistics.two_rows(a + own, b).error == pytest.approx(own.std(ddof=1) / np.sqrt(60), rel=0.1)


def test_pairing_cancels_what_two_rows_share():
    array, noise = with_effects(2), stream(3, "test").normal(0, 0.01, (6, 60))
    assert statistics.crossed(array + 0.05 + noise - array).interval().excludes(0)
    assert not statistics.two_rows(array + 0.05 + noise, array).interval().excludes(0)


def test_a_single_run_tells_nothing_about_runs_unless_it_is_the_model_that_all_start_from():
    one, many = scores(1, 1), scores(2)
    assert np.isnan(statistics.two_rows(many, one).error) and np.isnan(statistics.two_rows(one, many).p())
    assert statistics.two_rows(many, one, b_is_fixed=True).error > 0
    assert np.isnan(statistics.two_rows(one, one, b_is_fixed=True).error)


def test_equal_runs_have_no_test_and_undefined_scores_no_interval():
    array = scores(1)
    same = statistics.crossed(array - array)
    assert same.value == same.error == 0 and np.isnan(same.p()) and not same.interval().excludes(0)
    undefined = statistics.crossed(np.full((2, 3), np.nan))
    assert np.isnan(undefined.value) and not undefined.interval().excludes(0)


def test_runs_that_tie_exactly_are_not_taken_for_certain():
    tied = np.array([[0.0, 0.5, 1.0, 0.5], [0.5, 1.0, 0.5, 0.0], [1.0, 0.0, 0.5, 0.5]])
    found, rest = statistics.crossed(tied), statistics.mean_squares(tied).rest
    assert statistics.mean_squares(tied).seeds == 0 and found.error == pytest.approx(np.sqrt(rest / 12))
    assert statistics.two_rows(tied, tied[::-1]).error > 0


def test_two_one_sided_tests_reject_where_the_smaller_interval_lies_inside_the_margin():
    found = statistics.Effect(0.5, 1.0, 9.0)
    inside = found.interval(0.9)  # 95 % one-sided on either end
    assert found.p_within(inside.high) == pytest.approx(0.05) and found.p_within(inside.high + 1) < 0.05
    assert found.p_above() + found.p_below() == pytest.approx(1)
    assert found.p() == pytest.approx(2 * found.p_above())


def test_over_seeds_is_students_interval_and_one_seed_has_none():
    found = statistics.over_seeds(np.array([np.nan, 2.0, 4.0, 9.0])).interval()
    ends = scipy.stats.ttest_1samp([2.0, 4.0, 9.0], 0).confidence_interval()
    assert (found.value, found.low, found.high) == (5.0, pytest.approx(ends.low), pytest.approx(ends.high))
    one = statistics.over_seeds(np.array([3.0])).interval()
    assert one.value == 3.0 and np.isnan(one.low) and np.isnan(one.high)
    assert np.isnan(statistics.over_seeds(np.array([np.nan])).value)


def test_iqm_drops_the_outer_quarters_and_ignores_an_outlier():
    values = np.array([0.5, 0.52, 0.48, 0.5, 0.51, 0.49, 0.5, 0.0])
    found = statistics.iqm_over_seeds(values)
    assert found.value == pytest.approx(scipy.stats.trim_mean(values, 0.25)) == pytest.approx(0.4975)
    assert 0.4 < found.low < found.value < found.high < 0.6 and statistics.over_seeds(values).interval().low < 0.4
    assert statistics.iqm_over_seeds(values[:3]) == statistics.over_seeds(values[:3]).interval()
    assert np.isnan(statistics.iqm_over_seeds(values[:1]).low)


def test_share_of_wins_counts_pairs_of_runs():
    assert statistics.share_of_wins([0.4, 0.6], [0.5, 0.4]) == (0 + 0.5 + 1 + 1) / 4
    assert statistics.share_of_wins([0.1 + 0.2], [0.3]) == 0.5, "ties do not hang on the order of a sum"


def test_holm_is_the_step_down_adjustment():
    assert statistics.holm([0.01, 0.04, 0.03, np.nan]) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
    assert statistics.holm([0.5, 0.9]).tolist() == [1.0, 1.0] and statistics.holm([]).size == 0


def test_discoveries_are_benjamini_and_hochbergs():
    assert statistics.discoveries([0.01, 0.04, np.nan, 0.03]) == pytest.approx([0.03, 0.04, np.nan, 0.04], nan_ok=True)
    assert statistics.discoveries([]).size == 0 and np.isnan(statistics.discoveries([np.nan])).all()


def test_rates_of_few_runs_are_exact():
    assert statistics.highest_rate(0, 3) == pytest.approx(1 - 0.05 ** (1 / 3)) == pytest.approx(0.632, abs=1e-3)
    assert statistics.rate(1, 8).low == pytest.approx(0.0032, abs=1e-4)
    assert statistics.same_rate(1, 8, 0, 8) == pytest.approx(1.0)
    assert statistics.same_rate(5, 5, 0, 5) == pytest.approx(2 / 252)


def test_pass_at_k_is_the_chance_that_a_subset_of_k_holds_a_success():
    from itertools import combinations

    correct = np.zeros((1, 3, 5), dtype=bool)
    correct[0, 1, :2] = True
    correct[0, 2] = True
    for k in (1, 2, 5):
        expected = [np.mean([row[list(c)].any() for c in combinations(range(5), k)]) for row in correct[0]]
        assert statistics.pass_at_k_scores(correct, k)[0] == pytest.approx(expected)
    assert np.isnan(statistics.pass_at_k_scores(correct, 6)).all()
