"""How often a test rejects where nothing differs, how often an interval covers: on committed and on simulated runs."""

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pigeonhole
from scipy import stats

from analysis import load, pairing, power, statistics, training_steps, write

TABLES = ("1", "2", "3")
DRAWS = 500
SPLITS = 100  # of the eight seeds of a method, where there are more
FALLING = "gppo"
"""Collapses in table 1 and falls in table 2: no method whose runs could pass for normally distributed."""


@cache
def source(table: str) -> load.Source:
    """The committed results of a table; of table 2 those of its second regime, which the old bootstrap printed."""
    if table == "2":
        return replace(load.load_source("history", "table2-2"), experiment="table2")
    return load.load_source("mini", f"table{table}")


def stable(table: str) -> list[str]:
    """Rows of eight seeds, none of which collapsed."""
    down = {row for row, (count, _) in training_steps.collapsed(source(table)).items() if count} | {FALLING}
    return [row for row, scores in source(table).scores.items() if len(scores.seeds) == 8 and row not in down]


def disjoint(a: int, b: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Pairs of disjoint sets of `a` and `b` of eight seeds, `SPLITS` of them at even distances."""
    found = [
        (first, second)
        for first in itertools.combinations(range(8), a)
        for second in itertools.combinations(sorted(set(range(8)) - set(first)), b)
        if a != b or first < second
    ]
    return found[:: max(1, len(found) // SPLITS)]


@cache
def same_method(table: str, a: int, b: int) -> tuple[float, float]:
    """A/A: (rate of p < .05 of ours, of the old bootstrap; NaN for unequal numbers) between seeds of one method."""
    ours, theirs = [], []
    for row in stable(table):
        scores = source(table).scores[row]
        scores_SQ = pairing.scores_at(scores)
        pairs = [(scores_SQ[list(first)], scores_SQ[list(second)]) for first, second in disjoint(a, b)]
        if a == b:
            differences_RSQ = np.stack([x - y for x, y in pairs])
            ours += [statistics.crossed(x, scores.strata_Q) for x in differences_RSQ]
            drawn = pigeonhole.means(differences_RSQ, *pigeonhole.draws(a, scores.strata_Q, DRAWS))
            theirs += list(~pigeonhole.covers(drawn))
        else:
            ours += [statistics.two_rows(x, y, scores.strata_Q) for x, y in pairs]
    return rejected(ours), float(np.mean(theirs)) if theirs else float("nan")


def rejected(effects: list[statistics.Effect]) -> float:
    """Share of effects whose p-value lies below .05 (`Effect.p` of all of them at once)."""
    value, error, df = np.array([(e.value, e.error, e.df) for e in effects]).T
    return float((2 * stats.t.sf(np.abs(value / error), df) < 0.05).mean())


def simulated(variances: power.Variances, n_seeds: int, n: int, seed: int = 0) -> np.ndarray:
    """n arrays of paired differences, seeds x questions, of mean 0."""
    rng, q = np.random.default_rng(seed), variances.n_questions
    runs, questions, rest = (np.sqrt(part) for part in (variances.runs, variances.questions, variances.rest))
    shapes = ((n, n_seeds, 1), (n, 1, q), (n, n_seeds, q))
    return sum(sd * rng.standard_normal(shape) for sd, shape in zip((runs, questions, rest), shapes, strict=True))


def variances(table: str) -> power.Variances:
    """Of a paired difference of the committed runs."""
    return power.variances(source(table), write.SPECS[table].baseline)


@cache
def coverage(table: str, n_seeds: int, n: int = 600) -> tuple[float, float]:
    """(coverage of our 95 % interval, of the old bootstrap's) with the variances of a table's committed runs."""
    arrays_RSQ = simulated(variances(table), n_seeds, n)
    strata_Q = next(iter(source(table).scores.values())).strata_Q
    ours = [statistics.crossed(x, strata_Q) for x in arrays_RSQ]
    theirs = pigeonhole.covers(pigeonhole.means(arrays_RSQ, *pigeonhole.draws(n_seeds, strata_Q, DRAWS)))
    return 1 - rejected(ours), float(np.mean(theirs))


@cache
def coverage_of_two_rows(table: str, a: int, b: int, n: int = 800) -> float:
    """Coverage of `statistics.two_rows`: either row has half of the variances of a paired difference."""
    found = variances(table)
    half = power.Variances(found.runs / 2, found.questions / 2, found.rest / 2, found.n_questions, found.n_strata, 1)
    strata_Q = next(iter(source(table).scores.values())).strata_Q
    rows = zip(simulated(half, a, n, seed=3), simulated(half, b, n, seed=4), strict=True)
    return 1 - rejected([statistics.two_rows(x, y, strata_Q) for x, y in rows])
