"""The intervals hold what they say: A/A tests on committed runs, and coverage with the variances of committed runs.

The bootstrap that the tables had before (`pigeonhole.py`) fails these bounds.
"""

from dataclasses import replace

import calibration
import numpy as np
import pytest
from calibration import TABLES

from analysis import load, pairing, statistics


@pytest.mark.parametrize("size", [3, 4])
def test_a_method_against_itself_is_rejected_in_about_five_percent(size):
    """Disjoint seeds of one method, over 19 rows of eight seeds in three tables. Splits overlap: bounds are wide."""
    assert sum(len(calibration.stable(table)) for table in TABLES) == 19
    ours, theirs = np.mean([calibration.same_method(table, size, size) for table in TABLES], axis=0)
    assert 0.03 <= ours <= 0.065
    assert theirs < 0.03, "the old bootstrap rejects half as often as it says"


def test_unequal_numbers_of_seeds_reject_in_about_five_percent():
    assert 0.03 <= np.mean([calibration.same_method(table, 3, 5)[0] for table in TABLES]) <= 0.065


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("n_seeds", [3, 8])
def test_the_interval_covers_in_ninety_five_percent(table, n_seeds):
    ours, theirs = calibration.coverage(table, n_seeds)
    assert 0.93 <= ours <= 0.965
    assert theirs > (0.97 if n_seeds == 8 else 0.96) and abs(theirs - 0.95) > abs(ours - 0.95)


def test_the_interval_of_two_rows_covers_in_ninety_five_percent():
    assert 0.93 <= np.mean([calibration.coverage_of_two_rows(table, 3, 8) for table in TABLES]) <= 0.965


@pytest.mark.parametrize("sizes", [(3, 8), (8, 3)])
def test_runs_that_spread_more_in_one_row_are_covered_too(sizes):
    """Welch: the runs of the first row spread four times as much; it has fewer seeds, or more."""
    rng = np.random.default_rng(0)
    effects = []
    for _ in range(800):
        a, b = (
            rng.normal(0, sd, (n, 1)) + rng.normal(0, 0.2, (n, 60)) for sd, n in zip((0.08, 0.02), sizes, strict=True)
        )
        effects.append(statistics.two_rows(a, b))
    assert 0.92 <= 1 - calibration.rejected(effects) <= 0.975


def test_a_score_over_levels_of_fixed_size_is_covered():
    """Question effects inside two levels whose difference is not noise."""
    rng, levels = np.random.default_rng(1), np.repeat([0, 1], 30)
    hits = 0
    for _ in range(800):
        chance = np.where(levels, 0.7, 0.3) + rng.normal(0, 0.12, 60) + rng.normal(0, 0.04, (8, 1))
        scores = rng.binomial(5, np.clip(chance, 0, 1)) / 5
        hits += not statistics.crossed(scores, levels).interval().excludes(0.5)
    assert 0.93 <= hits / 800 <= 0.97


def test_a_method_against_itself_is_rejected_in_about_five_percent_over_several_warm_starts():
    """Table 2's runs of twenty seeds at four warm starts: two runs of each against two others, paired in it.

    Rows of other seeds are not paired; what warm starts change in both then counts as error, to the careful side.
    """
    source, rng = load.load_source("mini", "table2"), np.random.default_rng(2)
    rows = [row for row in source.scores.values() if len(row.seeds) == 20 and not row.shared]
    paired, unpaired, sampled = [], [], []
    for row in rows:
        for _ in range(60):
            drawn = [rng.permutation(np.flatnonzero(np.equal(row.starts, start))) for start in set(row.starts)]
            a, b = (chosen(row, np.concatenate([order[part] for order in drawn])) for part in (slice(2), slice(2, 4)))
            unpaired.append(pairing.difference(a, b))
            paired.append(pairing.difference(a, replace(b, seeds=a.seeds)))
            sampled.append(pairing.over_starts(a, b))
    assert len(rows) >= 4
    assert 0.01 <= calibration.rejected(paired) <= 0.09
    assert calibration.rejected(unpaired) <= 0.05 and calibration.rejected(sampled) <= 0.09


def chosen(row, places):
    """The runs of a row at these places."""
    picked = {name: tuple(getattr(row, name)[i] for i in places) for name in ("seeds", "starts")}
    return replace(row, correct_SQN=row.correct_SQN[places], **picked)
