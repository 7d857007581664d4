"""The ledger: its rule, its measures on small cases with known answers, and its definitions."""

import json
import math
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from places import ROOT

from analysis import fidelity
from analysis.ledger import doses, regimes
from analysis.ledger.cascade import moving_mean
from analysis.ledger.claims import DEFINITIONS, UNDECIDED, Claim, Measured, definitions, verdict
from analysis.ledger.intervals import Exact, Ratio, Share, ShareDifference
from analysis.ledger.measures import MEASURES
from analysis.ledger.regimes import load_regimes
from analysis.ledger.table import COMPARED, DEFINED_AT, load_ledger
from analysis.statistics import Effect
from reproduce.errors import UserError

CLAIM = Claim("X", "AEPO", "it helps", "it minus none", "some", "above", 0.0, 2.0, "points", "more seeds")


def effect(value: float, error: float) -> Effect:
    """With an interval of nearly value ± 1.96 error."""
    return Effect(value, error, 1e6)


@pytest.mark.parametrize(
    ("effects", "found"),
    [
        ([effect(3, 1)], "reproduced here"),  # 1 to 5
        ([effect(3, 1), effect(1, 1)], "undecided"),  # the second one reaches 0
        ([effect(-1, 1)], "refuted in this regime"),  # up to 1, below the margin of 2
        ([effect(0, 1)], "refuted in this regime"),  # up to 1.96
        ([effect(0.2, 1)], "undecided"),  # up to 2.16
        ([effect(0, 1), effect(3, 1)], "undecided"),  # of two the interval of 97.5 %: up to 2.24
        ([effect(-1, 1), effect(3, 1)], "refuted in this regime"),
        ([Effect(3, math.nan, math.nan)], "undecided"),  # one run
        ([], "undecided"),
    ],
)
def test_a_verdict_follows_from_intervals_alone(effects, found):
    measured = Measured(None, "", {str(i): e for i, e in enumerate(effects)})
    assert verdict(CLAIM, measured, None) == found
    turned = replace(CLAIM, side="below", margin=-2.0)
    mirrored = Measured(None, "", {str(i): Effect(-e.value, e.error, e.df) for i, e in enumerate(effects)})
    assert verdict(turned, mirrored, None) == found


def test_a_gate_or_a_dose_that_is_missed_leaves_a_claim_untested():
    measured = Measured(True, "", {"effect": effect(3, 1)})
    assert verdict(CLAIM, measured, 2.0) == "reproduced here"
    assert verdict(CLAIM, measured, 1.99) == "not tested"
    assert verdict(CLAIM, measured, math.nan) == "not tested"
    assert verdict(CLAIM, replace(measured, gate=False), 50.0) == "not tested"
    assert verdict(replace(CLAIM, gate="out of reach"), measured, None) == "out of reach"


def test_every_claim_is_defined_and_measured_and_every_component_has_a_dose():
    claims = definitions()
    assert [claim.id for claim in claims] == list(MEASURES)
    named = {claim.component for claim in claims if claim.component}
    assert named <= doses.COMPONENTS.keys()
    assert {claim.component for claim in claims if claim.paper == "AEPO" and claim.component} == {
        "dynamic budget",
        "branch penalty",
        "gradient-keeping clip",
        "entropy-aware advantage",
    }
    for claim in claims:
        ends = (claim.beyond, claim.margin)
        assert ends == tuple(sorted(ends, reverse=claim.side == "below")), claim.id


@pytest.mark.parametrize("text", ["side: sideways\n", "nothing: 1\n"])
def test_a_definition_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "preregistration.md"
    path.write_text(f"### A1\n```yaml\npaper: AEPO\n{text}```\n")
    with pytest.raises(UserError, match="A1"):
        definitions(path)


def test_intervals_of_shares_are_those_of_the_literature():
    none = Share(0, 16).interval()
    assert none.low == 0 and none.high == pytest.approx(100 * (1 - 0.025 ** (1 / 16)))
    newcombe = ShareDifference(Share(56, 70), Share(48, 80)).interval()  # 1998, table II, example a, method 10
    assert (newcombe.low, newcombe.high) == pytest.approx((5.24, 33.39), abs=0.01)
    assert Exact(0.0).interval().high == 0.0
    ratio = Ratio(effect(math.log(2), 0.1)).interval()
    assert (ratio.value, ratio.low) == pytest.approx((100, 100 * (2 * math.exp(-0.19600) - 1)), abs=0.01)


def test_a_moving_mean_is_over_five_steps_or_all_there_are():
    assert moving_mean(np.arange(7.0)).tolist() == [2, 3, 4]
    assert moving_mean(np.arange(3.0)).tolist() == [1.0]


def test_a_trees_shape_counts_branches_under_their_roots():
    rows = [(0, -1), (1, -1), (2, 0), (3, 2), (4, 0), (5, 1)]  # 3 forks under 0, of which one from a fork; 1 under 1
    frame = pd.DataFrame(rows, columns=["row", "parent"]).assign(seed=0, step=1, group=0, tool_calls=4)
    (found,) = doses.tree_shape(frame).to_dict("records")
    assert (found["whole"], found["branches"], found["largest_root"], found["from_branches"]) == (2, 4, 0.75, 0.25)
    assert doses.tree_shape(frame, least_turns=5).empty
    assert doses.tree_shape(frame.assign(parent=-1)).empty


def test_a_larger_beta_is_a_larger_dose_and_parts_that_are_off_have_none():
    batch = fidelity.load_batch(ROOT / "data" / "fidelity")
    found = [doses.dynamic_budget(batch, beta=beta)[0] for beta in (0.5, 2.0, 5.0)]
    assert 0 < found[0] < found[1] < found[2]
    assert doses.dynamic_budget(batch, dynamic_budget=False)[0] == 0
    still = batch.with_tensors(logps_BT=batch.tensors["old_logps_BT"])  # at ratio 1 nothing is clipped
    assert doses.gradient_keeping_clip(still)[0] == 0 < doses.gradient_keeping_clip(batch)[0]
    unpenalised = replace(batch, tests=batch.tests.assign(in_a_row=0))
    assert doses.branch_penalty(unpenalised)[0] == 0 < doses.branch_penalty(batch)[0]


def test_the_ledger_names_the_commit_that_defined_it():
    """The definitions are those of that commit, word for word; skipped without the history."""
    found = subprocess.run(
        ["git", "show", f"{DEFINED_AT}:analysis/preregistration.md"], cwd=ROOT, capture_output=True, text=True
    )
    if found.returncode:
        pytest.skip("no git history here")
    assert found.stdout == DEFINITIONS.read_text("utf-8")


def test_every_regime_has_results_and_the_present_ones_are_those_of_the_tables():
    found = load_regimes(ROOT / "data")
    seen = {(r.about["table"], r.about["regime"]): r for r in found}
    assert len(seen) == len(found) == 8 and all(len(r.seeds) >= 5 for r in found)
    for table in {r.about["table"] for r in found}:
        last = [r for r in found if r.about["table"] == table][-1]
        assert last.about["results"] == f"data/results/mini/{table}"
    shown = regimes.frame(found).set_index(["table", "regime", "method"])["difference"].round(1)
    assert shown["table2", "1", "dapo"] == 2.7 and shown["table3", "2", "grpo+epo"] == 1.8
    for regime in found:
        folder = ROOT / regime.about["results"]
        commits = {m["code_commit"][:7] for m in json.loads((folder / "manifests.json").read_text())}
        assert commits == set(regime.about["trained_at"].split())


def test_a_record_without_a_column_or_a_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="regimes.csv"):
        load_regimes(tmp_path)
    (tmp_path / "results" / "mini").mkdir(parents=True)
    (tmp_path / "results" / "mini" / "regimes.csv").write_text("table,regime\n1,1\n")
    with pytest.raises(UserError, match="results"):
        load_regimes(tmp_path)


@pytest.mark.slow
def test_an_undecided_claim_says_how_many_seeds_would_decide():
    entries = load_ledger(ROOT / "data").entries
    for entry in entries:
        assert (entry.seeds is not None) == (entry.verdict == UNDECIDED and entry.claim.id in COMPARED), entry.claim.id
    assert any(entry.seeds for entry in entries)
