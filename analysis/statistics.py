"""Statistics over an array of scores: seeds x questions. Pure functions on NumPy arrays; nothing here is random.

Shape suffixes: S training seeds, Q questions, N samples of a question. Scores are fractions in [0, 1].

A score of seed s and question q is read as mu + a_s + b_q + e_sq: a run effect, a question effect, and what is left
(their interaction and the sampled answers). Seeds and questions are both random samples, the questions inside strata of
fixed size (level, family, split). `crossed` estimates the variance of the mean by analysis of variance and gives it the
t distribution whose degrees of freedom are Satterthwaite's (1946, Biometrics Bulletin 2, 110-114). `two_rows` does the
same for two rows with different numbers of seeds. `tests/analysis/test_calibration.py` holds both to their level on
simulated data and on committed runs.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from reproduce.evaluation import pass_at_k

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

    def within(self, low: float, high: float) -> "Estimate":
        """The same with its ends cut to the range that the quantity can have."""
        return Estimate(self.value, float(np.maximum(self.low, low)), float(np.minimum(self.high, high)))


UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Effect:
    """A mean or a difference of means, its standard error, and the degrees of freedom of its t distribution.

    NaN for what is not known: a single run has no standard error over runs.
    """

    value: float
    error: float
    df: float

    def in_points(self) -> "Effect":
        """The same in hundredths: percent, or percentage points."""
        return Effect(100 * self.value, 100 * self.error, self.df)

    def interval(self, confidence: float = CONFIDENCE) -> Estimate:
        """The t interval."""
        half = float(stats.t.ppf((1 + confidence) / 2, self.df)) * self.error
        return Estimate(self.value, self.value - half, self.value + half)

    def p(self) -> float:
        """Two-sided p-value of "it is 0"."""
        return float(2 * stats.t.sf(abs(self._t(0.0)), self.df))

    def p_above(self, bound: float = 0.0) -> float:
        """One-sided p-value of "it is at most `bound`"; small where it lies above."""
        return float(stats.t.sf(self._t(bound), self.df))

    def p_below(self, bound: float = 0.0) -> float:
        """One-sided p-value of "it is at least `bound`"; small where it lies below."""
        return float(stats.t.cdf(self._t(bound), self.df))

    def p_within(self, margin: float) -> float:
        """p-value of "it is at least `margin` away from 0": two one-sided tests (Schuirmann 1987)."""
        return max(self.p_above(-margin), self.p_below(margin))

    def _t(self, bound: float) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.float64(self.value - bound) / self.error)


NO_EFFECT = Effect(float("nan"), float("nan"), float("nan"))


def pass_at_k_scores(correct_SQN: np.ndarray, k: int) -> np.ndarray:
    """The unbiased pass@k of every seed and question.

    Estimator of Chen et al. 2021 (arXiv 2107.03374, equation 1): 1 - C(N - c, k) / C(N, k) with c correct samples.

    Args:
        correct_SQN: whether each of the N samples of a seed and question is correct.
        k: samples of which one must be correct.

    Returns:
        Shares (S, Q) from 0 to 1; NaN everywhere if k > N.
    """
    correct_SQN = np.asarray(correct_SQN, dtype=bool)
    n_samples = correct_SQN.shape[2]
    if k > n_samples:
        return np.full(correct_SQN.shape[:2], np.nan)
    return pass_at_k(n_samples, correct_SQN.sum(axis=2), k)


@dataclass(frozen=True)
class MeanSquares:
    """Analysis of variance of an S x Q array: mean squares between seeds, between questions of a stratum, and of what
    is left; their degrees of freedom S - 1, Q - H and (S - 1)(Q - H) for H strata. One seed: only questions."""

    seeds: float
    questions: float
    rest: float
    n_seeds: int
    n_questions: int
    n_strata: int

    @property
    def between_runs(self) -> float:
        """`seeds`, or where the runs tie, as few discrete scores can, `rest`, below which its mean never lies."""
        return self.rest if self.seeds <= 1e-12 * self.rest else self.seeds

    @property
    def df(self) -> tuple[int, int, int]:
        """Degrees of freedom of the three, in order."""
        s, q = self.n_seeds - 1, self.n_questions - self.n_strata
        return s, q, s * q


def mean_squares(scores_SQ: np.ndarray, strata_Q: np.ndarray | None = None) -> MeanSquares:
    """The mean squares of an array.

    Args:
        scores_SQ: a number for each seed and question.
        strata_Q: a label for each question, of any type; None: one stratum.

    Raises:
        ValueError: the labels are not as many as the questions.
    """
    scores_SQ = np.asarray(scores_SQ, dtype=float)
    n_seeds, n_questions = scores_SQ.shape
    strata = np.zeros(n_questions) if strata_Q is None else np.asarray(strata_Q)
    if strata.shape != (n_questions,):
        raise ValueError(f"{strata.size} strata labels for {n_questions} questions")
    labels, of_Q = np.unique(strata, return_inverse=True)
    share_QH = np.eye(len(labels))[of_Q] / np.bincount(of_Q)
    inside_SQ = scores_SQ - (scores_SQ @ share_QH)[:, of_Q]  # without run and stratum effects
    question_Q = inside_SQ.mean(axis=0)
    df = n_questions - len(labels)
    questions = n_seeds * float(question_Q @ question_Q) / df if df else float("nan")
    if n_seeds == 1:
        return MeanSquares(float("nan"), questions, float("nan"), 1, n_questions, len(labels))
    seeds = n_questions * float(scores_SQ.mean(axis=1).var(ddof=1))
    rest = float(((inside_SQ - question_Q) ** 2).sum()) / ((n_seeds - 1) * df) if df else float("nan")
    return MeanSquares(seeds, questions, rest, n_seeds, n_questions, len(labels))


def satterthwaite(terms: list[tuple[float, int]]) -> tuple[float, float]:
    """(variance, degrees of freedom) of a sum of independent mean squares times constants: (term, its own df) each."""
    variance = sum(term for term, _ in terms)
    spread = sum(term**2 / df for term, df in terms if df)
    return variance, variance**2 / spread if spread else float("nan")


def crossed(scores_SQ: np.ndarray, strata_Q: np.ndarray | None = None) -> Effect:
    """The mean of an S x Q array of scores, or of paired differences, over random seeds and random questions.

    With variances s, b, e of run, question and rest, the mean has the variance s/S + b/Q + e/(S Q). The mean squares
    expect Q s + e, S b + e and e, so (MS_seeds + MS_questions - MS_rest) / (S Q) estimates it. Where MS_questions lies
    below MS_rest the question variance is taken as 0, which leaves MS_seeds / (S Q) with S - 1 degrees of freedom: the
    ordinary t interval over seeds. One seed: MS_questions / Q, over questions alone.

    Args:
        scores_SQ: a score, or a paired difference, for each seed and question.
        strata_Q: as of `mean_squares`.

    Returns:
        The mean in the unit of the scores, with its standard error and degrees of freedom.
    """
    found = mean_squares(scores_SQ, strata_Q)
    size, (df_seeds, df_questions, df_rest) = found.n_seeds * found.n_questions, found.df
    questions = [(found.questions / size, df_questions), (-found.rest / size, df_rest)]
    if found.n_seeds == 1:
        terms = questions[:1]
    elif found.questions < found.rest or not df_questions:
        terms = [(found.between_runs / size, df_seeds)]
    else:
        terms = [(found.between_runs / size, df_seeds), *questions]
    variance, df = satterthwaite(terms)
    return Effect(float(np.mean(scores_SQ)), float(np.sqrt(variance)), df)


def two_rows(
    a_SQ: np.ndarray, b_SQ: np.ndarray, strata_Q: np.ndarray | None = None, b_is_fixed: bool = False
) -> Effect:
    """Mean of `a` minus mean of `b`, whose runs are other seeds, as many as each has, on the same questions (Welch).

    Row m has S_m runs: y_msq = mu_m + a_ms + b_q + c_mq + e_msq, with variances s_m of its runs and e_m of its rest.
    b_q cancels in the difference d_q of the rows' means at question q, and the mean of the d_q has the variance
    sum_m (s_m / S_m + e_m / (S_m Q)) + v / Q, where v is the variance of c_aq - c_bq over questions.
    MS_seeds of row m expects Q s_m + e_m, so MS_seeds / (S_m Q) stands for the row's own part. The variance of the d_q
    inside a stratum expects v + sum_m e_m / S_m, so subtracting every MS_rest / S_m leaves v; below 0 it is taken as 0,
    which leaves Welch's t over the runs' means (Welch 1947). The degrees of freedom are Satterthwaite's of this sum.
    Runs of equal seeds that share their first rollouts are taken as independent, which errs to the careful side.

    Args:
        a_SQ, b_SQ: scores of the two rows, each over seeds of its own, at the same questions.
        strata_Q: as of `mean_squares`.
        b_is_fixed: `b` is a single model that every run of `a` starts from, the warm start; what the difference says
            holds for this model, so it adds no variance between runs.

    Returns:
        The difference in the unit of the scores. Its error is NaN where a row that is not fixed has one run.
    """
    a_SQ, b_SQ = np.asarray(a_SQ, dtype=float), np.asarray(b_SQ, dtype=float)
    runs = [mean_squares(y_SQ, strata_Q) for y_SQ in ((a_SQ,) if b_is_fixed else (a_SQ, b_SQ))]
    value = float(a_SQ.mean() - b_SQ.mean())
    if any(found.n_seeds == 1 for found in runs):
        return Effect(value, float("nan"), float("nan"))
    between = mean_squares((a_SQ.mean(axis=0) - b_SQ.mean(axis=0))[None], strata_Q)
    terms = [(found.between_runs / (found.n_seeds * found.n_questions), found.df[0]) for found in runs]
    questions = [(between.questions / between.n_questions, between.df[1])]
    questions += [(-found.rest / (found.n_seeds * found.n_questions), found.df[2]) for found in runs]
    if sum(term for term, _ in questions) > 0:
        terms += questions
    variance, df = satterthwaite(terms)
    return Effect(value, float(np.sqrt(variance)), df)


def over_seeds(values_S: np.ndarray) -> Effect:
    """Mean of one number per seed, t with n - 1 degrees of freedom; NaN seeds are left out.

    One seed says nothing about others: its error is undefined (NaN), not 0.
    """
    values_S = np.asarray(values_S, dtype=float)
    values_S = values_S[np.isfinite(values_S)]
    if values_S.size < 2:
        return Effect(float(values_S[0]) if values_S.size else float("nan"), float("nan"), float("nan"))
    error = values_S.std(ddof=1) / np.sqrt(values_S.size)
    return Effect(float(values_S.mean()), float(error), values_S.size - 1)


def unpaired(a_S: np.ndarray, b_S: np.ndarray) -> Effect:
    """Mean of `a` minus mean of `b`, one number per seed each, with Welch's degrees of freedom."""
    a, b = over_seeds(a_S), over_seeds(b_S)
    variance, df = satterthwaite([(a.error**2, len(a_S) - 1), (b.error**2, len(b_S) - 1)])
    return Effect(a.value - b.value, float(np.sqrt(variance)), df)


def gap(a_S: np.ndarray, b_S: np.ndarray) -> Estimate:
    """Mean of `a` minus mean of `b` with Welch's t interval.

    Args:
        a_S, b_S: a number for each seed; those that are not finite are left out.

    Returns:
        The difference. It has no interval (NaN) where a row has fewer than two seeds, and is undefined where one has
        none.
    """
    a_S, b_S = (np.asarray(x, dtype=float)[np.isfinite(x)] for x in (a_S, b_S))
    if not len(a_S) or not len(b_S):
        return UNDEFINED
    value = float(a_S.mean() - b_S.mean())
    if min(len(a_S), len(b_S)) < 2:
        return Estimate(value, np.nan, np.nan)
    if not a_S.var() and not b_S.var():
        return Estimate(value, value, value)
    ends = stats.ttest_ind(a_S, b_S, equal_var=False).confidence_interval(CONFIDENCE)
    return Estimate(value, float(ends.low), float(ends.high))


def iqm(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Interquartile mean: the mean after dropping the lowest and the highest quarter (rounded down) of the values.

    Agarwal et al. 2021 (arXiv 2108.13264, section 4.3); equal to scipy.stats.trim_mean(values, 0.25).
    Below four values nothing is dropped.

    Args:
        values: any shape.
        axis: that the mean is over; it is gone in what is returned.
    """
    return stats.trim_mean(np.asarray(values, dtype=float), 0.25, axis=axis)


def iqm_over_seeds(values_S: np.ndarray) -> Estimate:
    """Interquartile mean of one number per seed with its interval over seeds: t on the winsorised variance.

    Tukey & McLaughlin 1963, as scipy.stats.mstats.trimmed_mean_ci has it. One seed: no interval.
    """
    values_S = np.asarray(values_S, dtype=float)
    if values_S.size < 4:
        return over_seeds(values_S).interval()
    low, high = stats.mstats.trimmed_mean_ci(values_S, (0.25, 0.25), alpha=1 - CONFIDENCE)
    return Estimate(float(iqm(values_S)), float(low), float(high))


def share_of_wins(a_S: np.ndarray, b_S: np.ndarray) -> float:
    """Share of the pairs (a run of `a`, a run of `b`) in which that of `a` is higher; ties count one half.

    The Mann-Whitney estimate of the probability of improvement (Agarwal et al. 2021, arXiv 2108.13264, section 4.3).

    Args:
        a_S, b_S: a score for each run. Scores closer than 1e-9 are a tie.
    """
    difference = np.subtract.outer(np.asarray(a_S, dtype=float), np.asarray(b_S, dtype=float))
    tie = np.abs(difference) < 1e-9  # equal counts, whatever the order in which they were added up
    return float(((difference > 0) & ~tie).mean() + 0.5 * tie.mean())


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


def discoveries(p_values: np.ndarray) -> np.ndarray:
    """p-values adjusted for the false discovery rate of the family (Benjamini & Hochberg 1995); NaN stays NaN."""
    p_values = np.asarray(p_values, dtype=float)
    adjusted, known = np.full(p_values.shape, np.nan), np.isfinite(p_values)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p_values[known])
    return adjusted


def highest_rate(count: int, n: int, confidence: float = CONFIDENCE) -> float:
    """The highest rate that `count` of `n` runs leave possible: the one-sided bound of Clopper & Pearson (1934).

    Args:
        confidence: of the bound, from 0 to 1.
    """
    return float(stats.binomtest(count, n, alternative="less").proportion_ci(confidence, method="exact").high)


def rate(count: int, n: int) -> Estimate:
    """`count` of `n` runs as a rate with the exact interval of Clopper & Pearson (1934)."""
    ends = stats.binomtest(count, n).proportion_ci(CONFIDENCE, method="exact")
    return Estimate(count / n, float(ends.low), float(ends.high))


def same_rate(count_a: int, n_a: int, count_b: int, n_b: int) -> float:
    """Two-sided p-value of "both rows' runs have the same rate" (Fisher's exact test)."""
    return float(stats.fisher_exact([[count_a, n_a - count_a], [count_b, n_b - count_b]]).pvalue)


def over_samples(scores_QN: np.ndarray) -> Effect:
    """The mean of N samples of each of Q questions, over other samples of the same questions.

    The questions are fixed, so only the variance inside a question counts: MS_within / (Q N), with Q (N - 1) degrees of
    freedom, pooled over questions. `crossed` on the questions' means is its counterpart for other questions, too: their
    variance between questions holds that of the samples. One sample: NaN.
    """
    scores_QN = np.asarray(scores_QN, dtype=float)
    n_questions, n_samples = scores_QN.shape
    if n_samples == 1:
        return Effect(float(scores_QN.mean()), float("nan"), float("nan"))
    within = float(scores_QN.var(axis=1, ddof=1).mean())
    return Effect(float(scores_QN.mean()), float(np.sqrt(within / scores_QN.size)), n_questions * (n_samples - 1))
