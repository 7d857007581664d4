"""The bootstrap over seeds x questions that the tables had before: kept as the contrast of the calibration tests.

A draw resamples the seeds with replacement and, inside each stratum, the questions with replacement ("pigeonhole"
bootstrap, Owen 2007). It counts the residual variance about three times and the variance of runs (S - 1)/S times.
"""

import numpy as np

from reproduce.seeding import stream


def draws(n_seeds: int, strata_Q: np.ndarray, n_draws: int) -> tuple[np.ndarray, np.ndarray]:
    """(seed indices D x S, how often each question was drawn D x Q), from the stream that the tables took."""
    rng = stream(0, "bootstrap")
    questions_DQ = np.zeros((n_draws, len(strata_Q)))
    for stratum in np.unique(strata_Q):
        members = np.flatnonzero(strata_Q == stratum)
        questions_DQ[:, members] = rng.multinomial(members.size, np.full(members.size, 1 / members.size), size=n_draws)
    return rng.integers(0, n_seeds, size=(n_draws, n_seeds)), questions_DQ


def means(scores_RSQ: np.ndarray, seeds_DS: np.ndarray, questions_DQ: np.ndarray) -> np.ndarray:
    """R x D: the mean of every array of R (seeds x questions) in every draw."""
    means_RSD = scores_RSQ @ questions_DQ.T / scores_RSQ.shape[2]
    columns = np.arange(len(seeds_DS))[:, None]
    return np.stack([means_SD[seeds_DS, columns].mean(axis=1) for means_SD in means_RSD])


def covers(means_RD: np.ndarray, number: float = 0.0) -> np.ndarray:
    """Whether the 95 % percentile interval of each row of draws holds `number`."""
    low, high = np.quantile(means_RD, [0.025, 0.975], axis=1)
    return (low <= number) & (number <= high)


def p_value(means_D: np.ndarray) -> float:
    """Twice the smaller share of draws on the far side of 0, counted as (draws + 1) / (D + 1)."""
    smaller = min((means_D <= 0).sum(), (means_D >= 0).sum())
    return float(min(1.0, 2 * (smaller + 1) / (means_D.size + 1)))
