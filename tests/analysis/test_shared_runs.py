"""Runs of equal settings and seed in several committed tables: the proof that mixed commits changed no method."""

import numpy as np
import pytest
from synthetic import write_results

from analysis import budget, load, shared_runs

TABLES = ("2", "4", "5")


@pytest.fixture(scope="module")
def sources():
    """The regimes in which tables 2, 4 and 5 shared their runs; table 2's was replaced."""
    found = {table: load.load_source("mini", f"table{table}") for table in ("4", "5")}
    return {"2": load.load_source("history", "table2-2"), **found}


def test_every_committed_run_that_stands_in_two_tables_is_the_same_in_both(sources):
    found = shared_runs.pairs(sources)
    assert set(sources) == set(TABLES) and len(found) == 27
    assert {pair: shared_runs.differing_columns(pair, sources) for pair in found} == dict.fromkeys(found, [])
    commits = {m["code_commit"][:7] for source in sources.values() for m in source.manifests}
    assert commits == {"1c6b95b", "ad0808e", "d2ace2c", "973a607"}, "the runs come from four commits"


def test_a_run_of_other_settings_would_be_found_to_differ(sources):
    steps = sources["2"].steps
    assert steps.notna().to_numpy().mean() > 0.5
    other = shared_runs.Pair(("2", "grpo"), ("5", "grpo-lr2x-minibatches1x"), 0)
    assert {"reward_mean", "entropy", "grad_norm"} <= set(shared_runs.differing_columns(other, sources))


def test_tables_say_which_of_their_runs_stand_elsewhere(sources, tmp_path):
    (note,) = shared_runs.notes(sources["4"])
    assert "AEPO: table 5." in note and "all 3 pairs are equal" in note
    assert shared_runs.notes(load.load_source("mini", "table3")) == []
    write_results(tmp_path, {"grpo": 0.4})
    write_results(tmp_path, {"grpo": 0.4, "aepo": 0.4}, table="table1")
    alone = load.load_source(data_root=tmp_path)
    assert "GRPO: table 1" in shared_runs.notes(alone)[0]


def test_tables_say_at_how_many_warm_starts_their_runs_begin():
    (note,) = budget.warm_start_note(load.load_source("mini", "table1"))
    assert "one warm start (seed 0)" in note
    (note,) = budget.warm_start_note(load.load_source("mini", "table2"))
    assert "one of 4 warm starts" in note


def test_rows_that_sampled_more_are_named_with_the_step_of_equal_sampling():
    source = load.load_source("mini", "table2")
    steps = source.steps
    spent = steps[steps["method"] == "dapo"].groupby("seed")["sampled_tokens"]
    budget_of_grpo = steps[steps["method"] == "grpo"].groupby("seed")["sampled_tokens"].sum().mean()
    expected = np.mean([int((run.cumsum() <= budget_of_grpo).sum()) for _, run in spent])
    assert budget.step_at_budget(source, "dapo", budget_of_grpo) == expected
    (note,) = budget.sampling_note(source)
    assert f"(step {expected:.0f})" in note.partition("DAPO")[2][:20] and "CISPO" in note and "REINFORCE" not in note
    assert budget.sampling_note(source.only(["grpo", "arpo"])) == []
