"""The rows of a table as estimates: means, differences between two rows, and the shares of runs that win."""

from dataclasses import replace

import numpy as np

from analysis import statistics
from analysis.load import Scores
from analysis.statistics import Effect, Estimate


def _kept(scores: Scores, keep_Q: np.ndarray | None) -> np.ndarray:
    return np.ones(len(scores.questions), dtype=bool) if keep_Q is None else keep_Q


def scores_at(scores: Scores, k: int = 1, keep_Q: np.ndarray | None = None) -> np.ndarray:
    """pass@k of every seed and question.

    Args:
        k: samples of which one must be correct.
        keep_Q: True at the questions that count; None: all.

    Returns:
        Shares (S, kept questions) from 0 to 1; NaN where k is larger than the number of samples.
    """
    return statistics.pass_at_k_scores(scores.correct_SQN, k)[:, _kept(scores, keep_Q)]


def _strata(scores: Scores, keep_Q: np.ndarray | None) -> np.ndarray:
    return scores.strata_Q[_kept(scores, keep_Q)]


def estimate(scores: Scores, k: int = 1, keep_Q: np.ndarray | None = None) -> Estimate:
    """Mean pass@k over seeds and questions, from 0 to 1, with its interval (one seed: over questions only).

    Args:
        k, keep_Q: as of `scores_at`.
    """
    return statistics.crossed(scores_at(scores, k, keep_Q), _strata(scores, keep_Q)).interval().within(0, 1)


def difference(a: Scores, b: Scores, k: int = 1, keep_Q: np.ndarray | None = None) -> Effect:
    """The difference a - b of pass@k.

    Only runs of warm starts that both have count. Rows of the same seeds are paired run by run. Otherwise all of them
    count, as independent ones. The warm starts are fixed models, and their mean is one.

    Args:
        a, b: two rows that were evaluated on the same panel.
        k, keep_Q: as of `scores_at`.

    Returns:
        The difference of shares, from -1 to 1. Its error is NaN where a trained row has a single run.
    """
    if set(a.starts) != set(b.starts):
        common = set(a.starts) & set(b.starts)
        a, b = a.begun_at(common), b.begun_at(common)
    a_SQ, b_SQ = (_of_runs(row, scores_at(row, k, keep_Q)) for row in (a, b))
    strata_Q = _strata(a, keep_Q)
    if a.shared:
        found = statistics.two_rows(b_SQ, a_SQ, strata_Q, b_is_fixed=True)
    elif not b.shared and a.seeds == b.seeds and len(a.seeds) > 1:
        found = statistics.crossed(a_SQ - b_SQ, strata_Q)
    else:
        found = statistics.two_rows(a_SQ, b_SQ, strata_Q, b_is_fixed=b.shared)
    return replace(found, value=float(a_SQ.mean() - b_SQ.mean()))


def by_start(a: Scores, b: Scores) -> dict[int, Effect]:
    """The difference a - b of pass@1 at each warm start that both rows have, in order; empty where they have one."""
    starts = sorted(set(a.starts) & set(b.starts))
    return {start: difference(a.begun_at({start}), b.begun_at({start})) for start in starts} if len(starts) > 1 else {}


def over_starts(a: Scores, b: Scores) -> Effect | None:
    """The difference a - b of pass@1 over warm starts as a sample; None where both rows have fewer than two of them.

    Each warm start counts once, with the mean over its runs of either row: the analysis of `statistics.crossed` on an
    array warm starts x questions, so that what warm starts change in the difference is part of its error.
    """
    starts = sorted(set(a.starts) & set(b.starts))
    if len(starts) < 2:
        return None
    means = [[scores_at(row.begun_at({start})).mean(axis=0) for start in starts] for row in (a, b)]
    return statistics.crossed(np.array(means[0]) - np.array(means[1]), _strata(a, None))


def _of_runs(row: Scores, scores_SQ: np.ndarray) -> np.ndarray:
    return scores_SQ.mean(axis=0, keepdims=True) if row.shared else scores_SQ


def share_of_wins(a: Scores, b: Scores) -> float:
    """Share of the pairs of a run of `a` and a run of `b` in which that of `a` has the higher pass@1."""
    return statistics.share_of_wins(*(scores_at(row).mean(axis=1) for row in (a, b)))
