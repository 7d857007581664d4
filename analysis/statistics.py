"""Statistics over an array of scores: seeds x questions.

Pure functions on NumPy arrays. Shape suffixes: S training seeds, Q questions, N samples of a question, D draws.
Scores are fractions in [0, 1]. Randomness comes in as a generator (the stream "bootstrap" of `reproduce.seeding`), so
the same data give the same interval.

The interval is the percentile interval of a bootstrap that resamples, in every draw, the seeds with replacement and,
inside each stratum (difficulty level), the questions with replacement. This is the stratified bootstrap of Agarwal
et al. 2021 (arXiv 2108.13264, `rliable`), with the questions resampled as well (Miller 2024, arXiv 2411.00640: they are
a sample too).
Two methods are compared under the same draws, so what they share (the panel, the seeds) cancels out.
With three seeds a percentile bootstrap is known to be too narrow on the seed axis; `analysis/README.md` says how much.
"""

from dataclasses import dataclass

import numpy as np

from reproduce.evaluation import pass_at_k

N_DRAWS = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A point estimate with the two ends of its interval, all in the unit of the scores."""

    value: float
    low: float
    high: float

    def excludes(self, number: float) -> bool:
        """True if `number` lies outside the interval; an undefined (NaN) interval excludes nothing."""
        return bool(self.low > number or self.high < number)


UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Draws:
    """The resampled indices of a bootstrap, shared by every method of a comparison.

    `seeds_DS` holds seed indices; `questions_DQ` holds how often each question was drawn (each stratum keeps its size).
    """

    seeds_DS: np.ndarray
    questions_DQ: np.ndarray

    def within(self, keep_Q: np.ndarray) -> "Draws":
        """The same draws on a subset of the questions; `keep_Q` (bool) must hold whole strata."""
        return Draws(self.seeds_DS, self.questions_DQ[:, keep_Q])


def draw(rng: np.random.Generator, n_seeds: int, strata_Q: np.ndarray, n_draws: int = N_DRAWS) -> Draws:
    """Resample `n_seeds` seeds and, inside each stratum of `strata_Q` (any labels), the questions, `n_draws` times.

    The questions are drawn first, so the same stream gives methods with fewer seeds the same questions.
    """
    strata_Q = np.asarray(strata_Q)
    if n_seeds < 1 or strata_Q.size < 1:
        raise ValueError("a bootstrap needs at least one seed and one question")
    questions_DQ = np.zeros((n_draws, strata_Q.size))
    for stratum in np.unique(strata_Q):
        members = np.flatnonzero(strata_Q == stratum)
        questions_DQ[:, members] = rng.multinomial(members.size, np.full(members.size, 1 / members.size), size=n_draws)
    seeds_DS = rng.integers(0, n_seeds, size=(n_draws, n_seeds))
    return Draws(seeds_DS, questions_DQ)


def pass_at_k_scores(correct_SQN: np.ndarray, k: int) -> np.ndarray:
    """The unbiased pass@k of every seed and question, S x Q, from N samples of each; NaN everywhere if k > N.

    Estimator of Chen et al. 2021 (arXiv 2107.03374, equation 1): 1 - C(N - c, k) / C(N, k) with c correct samples.
    """
    correct_SQN = np.asarray(correct_SQN, dtype=bool)
    n_samples = correct_SQN.shape[2]
    if k > n_samples:
        return np.full(correct_SQN.shape[:2], np.nan)
    return pass_at_k(n_samples, correct_SQN.sum(axis=2), k)


def seed_means(scores_SQ: np.ndarray, draws: Draws) -> np.ndarray:
    """D x S: in every draw, the panel mean (resampled questions) of every resampled seed."""
    scores_SQ = np.asarray(scores_SQ, dtype=float)
    if scores_SQ.shape != (draws.seeds_DS.shape[1], draws.questions_DQ.shape[1]):
        raise ValueError(
            f"scores of shape {scores_SQ.shape} do not fit draws of {draws.seeds_DS.shape[1]} seeds and "
            f"{draws.questions_DQ.shape[1]} questions"
        )
    means_DS = draws.questions_DQ @ scores_SQ.T / scores_SQ.shape[1]
    return np.take_along_axis(means_DS, draws.seeds_DS, axis=1)


def interval(values_D: np.ndarray, value: float, confidence: float = CONFIDENCE) -> Estimate:
    """`value` with the percentile interval of its bootstrap distribution `values_D`."""
    if not np.isfinite(value):
        return UNDEFINED
    low, high = np.quantile(values_D, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(value), float(low), float(high))


def mean(scores_SQ: np.ndarray, draws: Draws) -> Estimate:
    """The mean over seeds and questions, with its stratified bootstrap interval."""
    return interval(seed_means(scores_SQ, draws).mean(axis=1), np.mean(scores_SQ))


def paired_difference(scores_SQ: np.ndarray, baseline_SQ: np.ndarray, draws: Draws) -> Estimate:
    """Mean of `scores - baseline`: row s and column q of both arrays are the same seed and the same question."""
    difference_SQ = np.asarray(scores_SQ, dtype=float) - np.asarray(baseline_SQ, dtype=float)
    return mean(difference_SQ, draws)


def two_sided_p(values_D: np.ndarray) -> float:
    """Bootstrap p-value of "the difference is 0" from the bootstrap distribution of that difference.

    Twice the smaller share of draws on the far side of 0, each share counted as (draws + 1) / (D + 1) so that no p is 0
    (Davison & Hinkley 1997, section 4.2). Below 0.05 exactly where the percentile interval excludes 0, ties aside.
    """
    values_D = np.asarray(values_D)
    smaller = min((values_D <= 0).sum(), (values_D >= 0).sum())
    return float(min(1.0, 2 * (smaller + 1) / (values_D.size + 1)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment (Holm 1979): p-values that hold together for the whole family; NaN stays NaN.

    The i-th smallest of n is multiplied by n - i + 1, capped at 1, and never below the one before it.
    """
    p_values = np.asarray(p_values, dtype=float)
    adjusted = np.full(p_values.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors)) if len(order) else []
    return adjusted


def iqm(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Interquartile mean: the mean after dropping the lowest and the highest quarter (rounded down) of the values.

    Agarwal et al. 2021 (arXiv 2108.13264, section 4.3); equal to scipy.stats.trim_mean(values, 0.25).
    Below four values nothing is dropped.
    """
    ordered = np.sort(np.asarray(values, dtype=float), axis=axis)
    n = ordered.shape[axis]
    cut = n // 4
    return np.take(ordered, np.arange(cut, n - cut), axis=axis).mean(axis=axis)


def iqm_over_seeds(scores_SQ: np.ndarray, draws: Draws) -> Estimate:
    """Interquartile mean over seeds of the panel mean, with its stratified bootstrap interval."""
    return interval(iqm(seed_means(scores_SQ, draws)), float(iqm(np.mean(scores_SQ, axis=1))))


def _share_of_wins(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    difference = a[..., :, None] - b[..., None, :]
    tie = np.abs(difference) < 1e-9  # equal counts, whatever the order in which they were added up
    return ((difference > 0) & ~tie).mean(axis=(-2, -1)) + 0.5 * tie.mean(axis=(-2, -1))


def probability_of_improvement(scores_SQ: np.ndarray, baseline_SQ: np.ndarray, draws: Draws) -> Estimate:
    """P(a training run of the method beats a training run of the baseline on the panel); ties count one half.

    Over all pairs of seeds (Mann-Whitney), as in Agarwal et al. 2021 (arXiv 2108.13264, section 4.3) with one task, the
    panel. Both arrays S x Q; the interval resamples seeds and questions with the same draws for both.
    """
    value = _share_of_wins(np.mean(scores_SQ, axis=1), np.mean(baseline_SQ, axis=1))
    return interval(_share_of_wins(seed_means(scores_SQ, draws), seed_means(baseline_SQ, draws)), float(value))


def over_seeds(values_S: np.ndarray, rng: np.random.Generator, n_draws: int = N_DRAWS) -> Estimate:
    """Mean of one number per seed with its bootstrap interval over seeds; NaN seeds are left out.

    One seed says nothing about others: its interval is undefined (NaN), not a point.
    """
    values_S = np.asarray(values_S, dtype=float)
    values_S = values_S[np.isfinite(values_S)]
    if values_S.size == 0:
        return UNDEFINED
    if values_S.size == 1:
        return Estimate(float(values_S[0]), float("nan"), float("nan"))
    return interval(
        values_S[rng.integers(0, values_S.size, size=(n_draws, values_S.size))].mean(axis=1), values_S.mean()
    )
