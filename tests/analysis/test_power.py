"""analysis.power: variances of known data, power against simulation, and the command."""

import numpy as np
import pytest
import scipy.stats
from calibration import rejected, simulated
from calibration import source as calibrated

from analysis import load, power, statistics
from analysis.power import Variances
from reproduce.commands import power as command
from reproduce.errors import UserError

KNOWN = Variances(0.02**2, 0.03**2, 0.2**2, 120, 1, 1)


@pytest.mark.parametrize("seeds", [3, 8])
def test_power_is_how_often_the_test_finds_the_effect(seeds):
    effect = KNOWN.smallest(seeds)
    assert KNOWN.power(effect, seeds) == pytest.approx(0.8, abs=1e-4)
    found = rejected([statistics.crossed(x + effect) for x in simulated(KNOWN, seeds, 1500)])
    assert found == pytest.approx(0.8, abs=0.04)


def test_power_of_unequal_rows_is_that_of_the_test_of_two_rows():
    half = Variances(KNOWN.runs / 2, KNOWN.questions / 2, KNOWN.rest / 2, 120, 1, 1)
    effect = KNOWN.smallest(3, 8)
    rows = zip(simulated(half, 3, 1500, seed=5), simulated(half, 8, 1500, seed=6), strict=True)
    assert rejected([statistics.two_rows(a + effect, b) for a, b in rows]) == pytest.approx(0.8, abs=0.05)
    assert KNOWN.smallest(8) < effect < KNOWN.smallest(3)


def test_without_question_effects_it_is_the_power_of_students_test():
    runs_only = Variances(0.03**2, 0.0, 1e-12, 100, 1, 1)
    shift, bound = 0.03 / (0.03 / np.sqrt(8)), scipy.stats.t.ppf(0.975, 7)
    expected = scipy.stats.nct.sf(bound, 7, shift) + scipy.stats.nct.cdf(-bound, 7, shift)
    assert runs_only.power(0.03, 8) == pytest.approx(expected, abs=1e-3)


def test_the_fewest_seeds_reach_the_power_and_one_fewer_does_not():
    seeds = KNOWN.seeds(0.02)
    assert KNOWN.power(0.02, seeds) >= 0.8 > KNOWN.power(0.02, seeds - 1)
    assert KNOWN.seeds(0.02, alpha=0.05 / 3) > seeds
    assert KNOWN.seeds(0.001) is None, "the questions alone leave more than that"


def test_variances_of_committed_runs_are_those_of_an_independent_recomputation():
    """Standard deviations of one paired run difference, points: 1.53, 2.23, 3.07, 1.69 in tables 1 to 4 (table 2's of
    its second regime)."""
    for table, expected in {"1": 1.53, "2": 2.23, "3": 3.07, "4": 1.69}.items():
        source = calibrated(table)
        found = power.variances(source, "none" if table == "4" else "grpo")
        assert 100 * np.sqrt(found.runs + found.rest / found.n_questions) == pytest.approx(expected, rel=0.08)


def test_tables_print_what_they_can_find():
    (note,) = power.notes(load.load_source("mini", "table1"))
    assert "with 8 and 8 seeds" in note and "with 3 and 8 seeds" in note and "1, 2, 3 points take" in note
    assert power.notes(load.load_source("mini", "table1").only(["grpo"])) == []


def test_the_command_answers_and_refuses_in_one_line(capsys):
    assert command.main(["1", "--effect", "2"]) == 0
    shown = capsys.readouterr().out
    seeds = power.variances(load.load_source("mini", "table1")).seeds(0.02)
    assert f"2 points, 80 % chance, two-sided 0.05, one comparison: {seeds} seeds a row." in shown
    assert "the first of 3 confirmatory ones (Holm)" in shown
    for words, said in (
        (["9"], "table 9 is not part"),
        (["2", "--effect", "none"], "--effect none"),
        (["2", "--effect", "-1"], "--effect -1"),
        (["2", "--profile", "gpu"], r"PROFILE=gpu`, then `make publish PROFILE=gpu TABLE=2`$"),
        (["2", "--profile", "gpuu"], "gpuu.*gpu"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            command.main(words)
        assert "\n" not in str(caught.value)
