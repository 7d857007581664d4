"""The invariant trajectory of every method: a change of its numbers is either meant, and recorded anew, or a bug."""

import itertools

import pandas as pd
import pytest
from trajectories import METRICS, RECORD, STEPS, trajectory

from reproduce.algorithms import names

KNOWN = pd.read_csv(RECORD).set_index("method")
ALIKE = [("epo-released", "grpo-released")]
"""EPO's released smoothing has no gradient, and the released GRPO has the same entropy bonus (fidelity audit)."""


def test_every_method_is_recorded_and_only_those_train_alike_that_should():
    assert tuple(dict.fromkeys(KNOWN.index)) == tuple(names())
    assert (KNOWN.groupby(level=0, sort=False).size() == STEPS).all()
    trained = {method: tuple(KNOWN.loc[method, "grad_norm"]) for method in names()}
    alike = [(a, b) for a, b in itertools.combinations(names(), 2) if trained[a] == trained[b]]
    assert alike == ALIKE


def test_the_steps_reach_what_methods_differ_in():
    means = KNOWN.groupby(level=0).mean()
    inside = means.index[means["outside_clip_fraction"] < 0.01]
    assert set(inside) == {"rloo", "opo"}, "clip rules need ratios outside their range; these two have none"
    trees = means.loc[["arpo", "aepo"]]
    assert (trees["trained_tokens"] > trees["sampled_tokens"]).any(), "trees share what they sampled once"


@pytest.mark.parametrize("method", names())
def test_five_steps_give_the_recorded_numbers(method, tmp_path):
    found = trajectory(method, tmp_path)
    expected = KNOWN.loc[method, list(METRICS)].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[list(METRICS)], expected, check_dtype=False, rtol=1e-6, atol=1e-9)
