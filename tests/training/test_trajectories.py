"""The invariant trajectory of every recorded method: a change of its numbers is meant, and recorded anew, or a bug.

A method that a table has a row of must have a record; another one may.
"""

import itertools
import os
import subprocess
import sys

import pandas as pd
import pytest
from places import PYTHONPATH
from trajectories import METRICS, RECORD, STEPS, published, trajectory

from reproduce.algorithms import names

KNOWN = pd.read_csv(RECORD).set_index("method")
RECORDED = tuple(dict.fromkeys(KNOWN.index))
ALIKE = [("epo-released", "grpo-released")]
"""EPO's released smoothing has no gradient, and the released GRPO has the same entropy bonus (fidelity audit)."""


def test_every_method_of_the_tables_is_recorded_and_only_those_train_alike_that_should():
    missing = published() - set(RECORDED)
    assert not missing, f"PYTHONPATH=. python tests/support/trajectories.py {' '.join(sorted(missing))}"
    assert set(RECORDED) <= set(names())
    assert (KNOWN.groupby(level=0, sort=False).size() == STEPS).all()
    trained = {method: tuple(KNOWN.loc[method, "grad_norm"]) for method in RECORDED}
    alike = [(a, b) for a, b in itertools.combinations(RECORDED, 2) if trained[a] == trained[b]]
    assert alike == ALIKE


def test_the_steps_reach_what_methods_differ_in():
    means = KNOWN.groupby(level=0).mean()
    inside = means.index[means["outside_clip_fraction"] < 0.005]
    assert set(inside) == {"rloo", "opo", "kl-cov", "warp", "minpro"}, "four have no range, MinPRO's ends at 5"
    trees = means.loc[["arpo", "aepo"]]
    assert (trees["trained_tokens"] > trees["sampled_tokens"]).any(), "trees share what they sampled once"


def check(found, method):
    expected = KNOWN.loc[method, list(METRICS)].reset_index(drop=True)[: len(found)]
    pd.testing.assert_frame_equal(found[list(METRICS)], expected, check_dtype=False, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", RECORDED)
def test_two_steps_give_the_recorded_numbers(method, tmp_path):
    found = trajectory(method, tmp_path, steps=2)
    assert len(found) == 2
    check(found, method)


@pytest.mark.slow
@pytest.mark.parametrize("method", RECORDED)
def test_five_steps_give_the_recorded_numbers(method, tmp_path):
    found = trajectory(method, tmp_path)
    assert len(found) == STEPS
    check(found, method)


@pytest.mark.parametrize("method", ["grpo", "aepo", "ppo+epo"])
def test_an_error_of_1_in_10000_in_a_loss_is_seen(method, tmp_path):
    with pytest.raises(AssertionError, match="are different"):
        check(trajectory(method, tmp_path, loss_factor=1.0001, steps=2), method)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dapo", "arpo-hard", "ppo", "epo-released"])
def test_noise_a_thousand_times_that_of_another_processor_flips_no_token(method, tmp_path):
    found = trajectory(method, tmp_path, jitter=1e-13)
    expected = KNOWN.loc[method].reset_index(drop=True)
    for column in ("sampled_tokens", "trained_tokens", "reward_mean"):
        assert found[column].tolist() == expected[column].tolist(), column
    assert found["loss"].to_numpy() == pytest.approx(expected["loss"].to_numpy(), rel=1e-3, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "switches",
    [
        {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"},
        {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX", "ONEDNN_MAX_CPU_ISA": "AVX"},
        {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
    ],
    ids=["SSE", "AVX", "two threads"],
)
def test_other_instruction_sets_give_the_recorded_numbers(switches, tmp_path):
    """As far as one machine can be another: no vector code, older vector code, other orders of summation."""
    code = (
        "import sys; from pathlib import Path; from trajectories import trajectory\n"
        "trajectory('aepo', Path(sys.argv[1])).to_csv(sys.argv[2], index=False, float_format='%.15g')"
    )
    environment = os.environ | {"PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"} | switches
    command = [sys.executable, "-c", code, str(tmp_path / "run"), str(tmp_path / "steps.csv")]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    check(pd.read_csv(tmp_path / "steps.csv"), "aepo")
