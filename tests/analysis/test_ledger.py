"""The ledger: its rule, its measures on small cases with known answers, and its definitions."""

import json
import math
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from places import ROOT
from synthetic_doses import write_doses

from analysis import fidelity, load
from analysis.dose_response import CELLS, DECIDES
from analysis.ledger import doses, regimes
from analysis.ledger.cascade import moving_mean
from analysis.ledger.claims import DEFINITIONS, UNDECIDED, Claim, Condition, Measured, definitions, verdict
from analysis.ledger.intervals import Exact, Ratio, Share, ShareDifference
from analysis.ledger.measures import BY_DOSE, MEASURES, measure
from analysis.ledger.regimes import load_regimes
from analysis.ledger.table import (
    COMPARED,
    DEFINED_AT,
    Entry,
    decides_table,
    dose_table,
    frame,
    ledger_table,
    load_ledger,
)
from analysis.statistics import Effect
from analysis.text_table import markdown
from analysis.tree_shape import tree_shape
from reproduce.errors import UserError

CLAIM = Claim("X", "AEPO", "it helps", "it minus none", "some", "above", 0.0, 2.0, "points", "more seeds")


@pytest.fixture(scope="module")
def batch():
    return fidelity.load_batch(ROOT / "data" / "fidelity")


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
    (found,) = tree_shape(frame).to_dict("records")
    assert (found["whole"], found["branches"], found["largest_root"], found["from_branches"]) == (2, 4, 0.75, 0.25)
    assert tree_shape(frame, least_turns=5).empty
    assert tree_shape(frame.assign(parent=-1)).empty


def test_a_larger_beta_is_a_larger_dose_and_parts_that_are_off_have_none(batch):
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
    assert len(seen) == len(found) == 9 and all(len(r.seeds) >= 5 for r in found)
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


# A2 to A5 from table 6


@pytest.fixture(scope="module")
def by_dose(tmp_path_factory, batch):
    """(Ledger's measurements of A2 to A5 with table 6, its source) on synthetic results; keep-32 gains 30 points."""
    rows = {"none", *DECIDES.values(), *(CELLS[row].base for row in DECIDES.values())}
    root = write_doses(tmp_path_factory.mktemp("doses"), sorted(rows), keep_32=0.7)
    source = load.load_source("mini", "table6", data_root=root)
    return {claim: measure(claim, {"table6": source}, batch) for claim in BY_DOSE}, source


def claim_of(name: str) -> Claim:
    return next(claim for claim in definitions() if claim.id == name)


def test_table_6_measures_its_four_claims_at_the_preregistered_doses(by_dose):
    """Rows, gates and doses are those of preregistration_regimes.md, and none of them needs table 4."""
    found, source = by_dose
    text = (ROOT / "analysis" / "preregistration_regimes.md").read_text("utf-8")
    for mechanism, row in DECIDES.items():
        assert f"`{row}` minus `{CELLS[row].base}`" in text, mechanism
    assert all(one.gate for one in found.values())
    assert "2.04 at β = 20" in found["A2"].gate_value and found["A2"].dose.dose == pytest.approx(100 * 3 / 16)
    assert "64 % of the branches of 1/8 whole" in found["A3"].gate_value
    assert found["A3"].dose.dose == pytest.approx(100 * 1 / 16), "9 of 14 branches under the largest root, then 8"
    assert found["A4"].dose.dose == pytest.approx(40.3, abs=0.1) and "0.40 %" in found["A4"].dose.detail
    assert found["A5"].dose.dose == pytest.approx(69.3, abs=0.1)
    effect = found["A4"].effects["Gradient kept, 32 updates − 32 updates, table 6"]
    scores = source.scores
    assert effect.value == pytest.approx(
        100 * (scores["keep-32"].correct_SQN.mean() - scores["updates-32"].correct_SQN.mean())
    )


def test_a_penalty_that_leaves_the_largest_root_as_it_was_reproduces_nothing(by_dose):
    """A3 asks for a fall of a fifth or more beside a loss of less than a point."""
    measured, claim = replace(by_dose[0]["A3"], effects={"points": effect(1, 0.5)}), claim_of("A3")
    (falls,) = measured.conditions.values()
    assert falls.found.value == pytest.approx(100 * (8 / 14) / (9 / 14) - 100) and falls.most == -20
    found = {}
    for fall, error in ((-30, 0.01), (-30, 0.1), (-11, 0.01), (-19, 0.02)):
        ratio = Ratio(effect(math.log(1 + fall / 100), error))
        found[fall, error] = verdict(claim, replace(measured, conditions={"share": Condition(ratio, -20, "%")}), 6.0)
    assert found == {
        (-30, 0.01): "reproduced here",
        (-30, 0.1): UNDECIDED,  # up to -15 %
        (-11, 0.01): "refuted in this regime",
        (-19, 0.02): UNDECIDED,
    }
    worse = replace(
        measured, effects={"points": effect(-3, 0.5)}, conditions={"share": Condition(Exact(-40), -20, "%")}
    )
    assert verdict(claim, worse, 6.0) == "refuted in this regime"


def test_a_claim_whose_rows_table_6_lacks_is_table_4s(tmp_path, batch):
    """Rows of `core` alone leave A2, A4 and A5 where they were."""
    root = write_doses(tmp_path, ["none", "beta-10", "whole-0.125", "whole-0.125-penalty-0.2", "keep-8"])
    tables = {
        "table6": load.load_source("mini", "table6", data_root=root),
        "table4": load.load_source("mini", "table4"),
    }
    found = {claim: measure(claim, tables, batch) for claim in BY_DOSE}
    assert [claim for claim, one in found.items() if one.tested] == ["A3"]
    for claim in ("A2", "A4", "A5"):
        assert list(found[claim].effects) == ["alone − none, table 4"]


def test_the_gates_of_table_6_are_the_bases(by_dose, batch):
    """A base without over-branching, or whose tokens outside the range are of low entropy, leaves a claim untested."""
    frame = by_dose[1].rollouts
    flat = frame.assign(parent=frame["parent"].where(frame["method"] != "whole-0.125", -1))
    flat.loc[(flat["method"] == "whole-0.125") & (flat["row"] >= 4), "parent"] = flat["row"] % 4
    low = by_dose[1].steps.assign(outside_top20_share=0.7)
    source = load.load_source("mini", "table6", data_root=by_dose[1].folder.parents[2])
    source.__dict__.update(rollouts=flat, steps=low)
    for claim in ("A3", "A4"):
        measured = measure(claim, {"table6": source}, batch)
        assert measured.gate is False
        assert verdict(claim_of(claim), measured, measured.dose.dose) == "not tested"


def test_the_page_says_that_table_6_decided(by_dose):
    """The ledger's tables name the comparison, its condition and its dose; without table 6 they say nothing of it."""
    entries = [Entry(claim_of(name), one, one.dose) for name, one in by_dose[0].items()]
    page = "\n".join(map(markdown, (ledger_table(entries), decides_table(entries), dose_table([], entries))))
    assert "A2, A3, A4, A5: from the comparison of table 6 that decides" in page
    assert "1/8 whole, penalty 0.2 minus 1/8 whole, pass@1, table 6, while largest root's share falls by 20 %" in page
    assert "dynamic budget, β = 20 (table 6)" in page and "largest root's share: −11" in page.replace("-11", "−11")
    rows = frame(entries).set_index("id")
    assert len(rows.loc["A3"]) == 2 and set(rows.loc["A3", "beyond"]) == {-1, -20}
