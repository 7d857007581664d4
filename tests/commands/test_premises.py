"""The premises' estimates where the answer is known, and the command on a tiny model: kept parts, same bytes again."""

import csv
import itertools
import json
import math

import numpy as np
import pytest
import tiny
from scipy import stats

from reproduce.algorithms.policies import AEPORollout
from reproduce.commands.premises import cli, figures, measure
from reproduce.training.warm_start import save_warm_start


def found(rows, quantity, at=""):
    return next(r for r in rows if r["quantity"] == quantity and r["at"] == at)


def test_the_jackknife_of_a_mean_is_the_t_interval():
    values = np.random.default_rng(0).normal(size=9)
    assert figures.jackknife(values, lambda some: float(np.mean(some))) == pytest.approx(figures.mean_interval(values))
    low, high = stats.t.interval(0.95, 8, values.mean(), stats.sem(values))
    assert figures.mean_interval([*values, math.nan])[:3] == pytest.approx((values.mean(), low, high))


def test_entropy_after_a_result_is_that_of_the_first_twenty_tokens():
    group = [[[1.0] * 5, [3.0] * 20 + [1.0] * 10], [[1.0] * 3]]
    rows = figures.after_results([group, group, group])
    assert found(rows, "after a result minus other tokens")["value"] == pytest.approx(2.0)
    assert found(rows, "position after a result", 19)["value"] == 3.0
    assert found(rows, "position after a result", 20)["value"] == 1.0
    assert (
        found(rows, "position in the first turn", 4)["n"] == 3
        and found(rows, "position in the first turn", 5)["n"] == 0
    )


def test_high_steps_that_come_in_blocks_are_more_often_in_a_row_than_shuffled():
    blocks = [[[0.1]] + [[h] for h in (2.0, 2.0, 0.1, 0.1)]]
    rows = figures.in_a_row([blocks] * 4)
    assert found(rows, "in a row")["value"] == 1.0 and found(rows, "in a row minus shuffled")["low"] > 0
    apart = [[[0.1]] + [[h] for h in (2.0, 0.1, 2.0, 0.1)]]
    assert found(figures.in_a_row([apart] * 4), "in a row")["value"] == 0.0


def test_the_budget_is_aepos_own():
    pilots = [[(0.2, 0.1), (0.1, 0.4)], [(4.0, 0.0), (0.0, 4.0)], [(0.1, 0.1), (0.1, 0.1)]]
    rows = figures.budgets(pilots, AEPORollout().initial)
    assert (found(rows, "smallest m")["value"], found(rows, "largest m")["value"]) == (2, 14)
    sizes = [8, 7, 14, 2, 8, 8]
    assert found(rows, "standard deviation of m")["value"] == pytest.approx(np.std(sizes, ddof=1))


@pytest.mark.parametrize(("forks", "roots"), [(1, 3), (3, 2), (4, 3), (5, 1)])
def test_the_largest_share_at_random_is_the_mean_over_all_ways(forks, roots):
    ways = itertools.product(range(roots), repeat=forks)
    mean = np.mean([max(np.bincount(way)) / forks for way in ways])
    assert figures.largest_at_random(forks, roots) == pytest.approx(mean)


def test_tokens_outside_the_range_and_their_entropy():
    ratios = [np.asarray([1.0, 1.25, 0.7]), np.asarray([1.0, 1.0, 1.0])] * 2
    entropies = [np.asarray([0.1, 2.0, 4.0]), np.asarray([0.1, 0.1, 0.1])] * 2
    narrow, wide = (figures.outside(1e-6, 4, ratios, entropies, high) for high in (1.2, 1.28))
    assert [r["value"] for r in narrow] == pytest.approx([1 / 3, 2.9])
    assert [r["value"] for r in wide] == pytest.approx([1 / 6, 4.0 - 2.4 / 5])
    none = figures.outside(1e-6, 1, [np.ones(3)] * 3, [np.ones(3)] * 3, 1.2)
    assert none[0]["value"] == 0 and math.isnan(none[1]["value"])


@pytest.mark.slow
def test_the_command_keeps_parts_and_writes_the_same_bytes_again(tmp_path, capsys):
    save_warm_start(tiny.model(scale=2.0), tiny.tokenizer(), tmp_path / "warm", [])
    out = tmp_path / "out"
    words = f"--profile smoke --questions 4 --group 3 --warm-start {tmp_path / 'warm'}".split()
    words += ["--runs-root", str(tmp_path / "runs"), "--out", str(out)]
    assert cli.main(words) == 0
    first = (out / "premises.csv").read_bytes()
    rows = list(csv.DictReader((out / "premises.csv").open()))
    assert {r["premise"] for r in rows} == {"L1", "L2", "L3", "L4", "L5"}
    about = json.loads((out / "premises.json").read_text())
    assert about["settings"]["questions"] == 4 and about["costs"]["independent"]["trajectories"] == 12
    (kept,) = (tmp_path / "runs" / "smoke" / "premises").iterdir()
    for part in ("arpo.json", "updates-0.0005.json"):
        (kept / part).unlink()
    assert cli.main(words) == 0 and (out / "premises.csv").read_bytes() == first
    (kept / "aepo.json").write_text((kept / "aepo.json").read_text().replace('"tested": ', '"tested": 1'))
    capsys.readouterr()
    assert cli.main(words) == 2 and "aepo.json is damaged" in capsys.readouterr().err
    for bad, said in (("--questions 1", "--questions is 1"), ("--profile none", "there is no profile")):
        assert cli.main(words + bad.split()) == 2 and said in capsys.readouterr().err
    assert cli.main([*words, "--warm-start", str(tmp_path)]) == 2 and "model.safetensors" in capsys.readouterr().err


def test_a_fork_of_a_fork_counts_for_the_root():
    class Row:
        def __init__(self, parent):
            self.parent = parent

    group = type("Group", (), {"trajectories": [Row(p) for p in (-1, -1, 0, 2, 1, -1)]})
    policy = measure.counted(measure.AEPOCounted)
    assert policy.branch(0.1, 0, 0.5) and not policy.branch(-0.1, 0, 0.5) and not policy.branch(0.1, 3, 0.5)
    assert measure.trees([group], policy) == {"forks": [[2, 1, 0]], "tested": 3, "passed": 1}
