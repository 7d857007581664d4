"""Two rows of a table under the same bootstrap draws: same seeds, same questions, so what they share cancels out."""

from functools import lru_cache

import numpy as np

from analysis import statistics
from analysis.load import Scores
from analysis.statistics import UNDEFINED, Estimate
from reproduce.seeding import stream


def draws_for(n_seeds: int, strata_Q: np.ndarray) -> statistics.Draws:
    """The bootstrap draws of every table and figure: root seed 0, stream "bootstrap"."""
    return _draws(n_seeds, tuple(np.asarray(strata_Q).tolist()))


@lru_cache(maxsize=8)
def _draws(n_seeds: int, strata: tuple) -> statistics.Draws:
    return statistics.draw(stream(0, "bootstrap"), n_seeds, np.array(strata))


def all_questions(scores: Scores) -> np.ndarray:
    """keep_Q for every question of the panel."""
    return np.ones(len(scores.questions), dtype=bool)


def common_seeds(a: Scores, b: Scores) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The seeds of `a` and of `b` that a paired difference uses.

    An evaluation that all seeds share (the warm start's) stands against every seed of the other one. Otherwise the
    seeds that both have; none: empty.
    """
    if a.shared or b.shared:
        return a.seeds, b.seeds
    both = tuple(s for s in a.seeds if s in b.seeds)
    return both, both


def scores_at(scores: Scores, seeds: tuple[int, ...], k: int = 1) -> np.ndarray:
    """pass@k of these seeds, S x Q."""
    places = [scores.seeds.index(s) for s in seeds]
    return statistics.pass_at_k_scores(scores.correct_SQN[places], k)


def draw_means(scores: Scores, seeds: tuple[int, ...], k: int, keep_Q: np.ndarray) -> np.ndarray:
    """Mean pass@k over `seeds` and the questions `keep_Q` in every draw, shape D; kept on `scores`, read-only."""
    key = (seeds, k, keep_Q.tobytes())
    if key not in scores.draw_means:
        scores_SQ = scores_at(scores, seeds, k)[:, keep_Q]
        draws = draws_for(len(seeds), scores.strata_Q).within(keep_Q)
        scores.draw_means[key] = statistics.seed_means(scores_SQ, draws).mean(axis=1)
    return scores.draw_means[key]


def estimate(scores: Scores, k: int = 1, keep_Q: np.ndarray | None = None) -> Estimate:
    """Mean pass@k over seeds and the questions `keep_Q`, with its stratified bootstrap interval."""
    keep_Q = all_questions(scores) if keep_Q is None else keep_Q
    means_D = draw_means(scores, scores.seeds, k, keep_Q)
    return statistics.interval(means_D, float(scores_at(scores, scores.seeds, k)[:, keep_Q].mean()))


def paired_draws(a: Scores, b: Scores, k: int = 1, keep_Q: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """The paired difference a - b of pass@k: its value and its bootstrap distribution (D); NaN and empty without seeds.

    The same draws for both, so this is `statistics.paired_difference`, computed once per row instead of per pair.
    """
    seeds_a, seeds_b = common_seeds(a, b)
    if not seeds_a:
        return float("nan"), np.empty(0)
    keep_Q = all_questions(a) if keep_Q is None else keep_Q
    value = scores_at(a, seeds_a, k)[:, keep_Q].mean() - scores_at(b, seeds_b, k)[:, keep_Q].mean()
    return float(value), draw_means(a, seeds_a, k, keep_Q) - draw_means(b, seeds_b, k, keep_Q)


def paired(a: Scores, b: Scores, k: int = 1, keep_Q: np.ndarray | None = None) -> Estimate:
    """The paired difference a - b of pass@k over the common seeds and the questions `keep_Q`, with its interval."""
    value, values_D = paired_draws(a, b, k, keep_Q)
    return statistics.interval(values_D, value) if values_D.size else UNDEFINED


def improvement(a: Scores, b: Scores) -> Estimate:
    """P(a run of `a` beats a run of `b` on the panel), over the common seeds; see `statistics`."""
    seeds_a, seeds_b = common_seeds(a, b)
    if not seeds_a:
        return UNDEFINED
    a_SQ, b_SQ = scores_at(a, seeds_a), scores_at(b, seeds_b)
    return statistics.probability_of_improvement(a_SQ, b_SQ, draws_for(len(a_SQ), a.strata_Q))
