"""Table 6: rows against their own bases, doses that are measured in logged runs, effect against dose."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from figure_rules import broken
from places import ROOT
from synthetic_doses import GROUPS, K, write_doses

from analysis import dose_figure, families, load, power, text_table, tree_shape, write
from analysis.dose_response import CELLS, DECIDES, NONE, OFF, by_run, measured
from analysis.fidelity import load_batch
from analysis.fidelity.batch import compared
from reproduce.config.tables import TableConfig


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """All rows; the kept gradient gains 30 points over its base, which loses 10."""
    root = write_doses(tmp_path_factory.mktemp("doses"), seeds=(0, 1), updates_32=0.3, keep_32=0.6)
    return load.load_source("mini", "table6", data_root=root)


@pytest.fixture(scope="module")
def built(source):
    return write.build(source)


def jobs():
    return {job.name: job for job in TableConfig.load("6").jobs("mini", ["all"], [0])}


def test_every_row_of_the_file_is_a_dose_and_differs_from_its_base_by_its_mechanism_alone():
    found, part = jobs(), {"budget": "dynamic_budget", "trees": "branch_penalty", "clip": "gradient_keeping_clip"}
    assert set(found) == {NONE, *CELLS}
    doses = {"budget": "beta", "trees": "initial_fraction", "advantage": "entropy_coefficient"}
    for row, cell in CELLS.items():
        mine, base = found[row], found[cell.base]
        changed = {k for k, v in mine.algorithm.items() if base.algorithm.get(k) != v}
        if "against" in cell.series:  # the base of other rows: no part is on
            assert not any(mine.algorithm[name] for name in OFF), row
        else:
            switched = part.get(cell.mechanism, "entropy_advantage")
            assert switched in changed and {n for n in OFF if mine.algorithm[n]} == {switched}, row
            assert changed <= {switched, "beta", "penalty_slope", "entropy_coefficient"}, row
            assert mine.training == base.training, row
        if cell.mechanism == "clip":
            assert mine.training.epochs * mine.training.minibatches == cell.at, row
        else:
            assert mine.algorithm.get(doses[cell.mechanism], 0.5) == cell.at, row


def test_the_confirmatory_family_is_that_of_the_preregistration():
    family = families.confirmatory("6")
    pairs = {pair.row: pair.against for pair in family.comparisons}
    assert pairs == {row: (CELLS[row].base,) for row in DECIDES.values()} and family.margin == 2
    text = (ROOT / "analysis" / "preregistration_regimes.md").read_text("utf-8")
    assert all(f"`{row}` minus `{against}`" in text for row, (against,) in pairs.items())


def test_differences_are_to_the_row_without_the_mechanism(built, source):
    frame, scores = built.frame, source.scores
    for row, cell in CELLS.items():
        expected = 100 * (scores[row].correct_SQN.mean() - scores[cell.base].correct_SQN.mean())
        assert frame.loc[row, "difference_1"] == pytest.approx(expected) and frame.loc[row, "against"] == cell.base
    holm = families.tested(source).set_index("method")["p_holm"]
    assert built.adjusted.confirmed and set(holm.index) == set(DECIDES.values()) == set(built.adjusted.confirmed)
    assert all(frame.loc[row, "adjusted_1"] == holm[row] for row in holm.index)
    assert built.adjusted.exploratory == len(CELLS) - 4
    assert "Against its base" in write.main_table(built).header and "its base" in write.answer(built)
    assert power.variances(source, built.spec.baseline).rows


def test_m_is_read_off_the_order_of_the_rows():
    """Rows are logged in the order of their creation; a group without a branch gets what the step's mean leaves."""
    parents = [[-1, -1, 0, 1, -1], [-1, 0, 0, 0, 0], [-1, -1, -1, -1, -1]]
    rows = [
        {"method": "a", "seed": 0, "step": 1, "group": g, "row": r, "parent": p}
        for g, group in enumerate(parents)
        for r, p in enumerate(group)
    ]
    steps = pd.DataFrame([{"method": "a", "seed": 0, "step": 1, "tree_initial_mean": 8 / 3}])
    found = tree_shape.budgets(pd.DataFrame(rows).sample(frac=1, random_state=0), steps)
    assert found["m"].tolist() == [2, 1, 5] and found["k"].tolist() == [5, 5, 5]
    unlogged = tree_shape.budgets(pd.DataFrame(rows), steps.assign(tree_initial_mean=np.nan))
    assert unlogged["m"].isna().tolist() == [False, False, True]


def test_doses_are_those_of_the_logged_trees_and_steps(source):
    doses = measured(source)
    assert doses.loc[["beta-0.5", "beta-2", "beta-20", NONE], "m_sd"].tolist() == [0, 1, 3, 0]
    assert doses.loc["beta-20", "m_moved"] == pytest.approx(100 * 3 / K) and GROUPS % 2 == 0
    assert doses.loc["whole-0.125", ["largest_root", "forks_of_forks"]].tolist() == pytest.approx([900 / 14, 800 / 14])
    assert doses.loc["whole-0.125-penalty-0.2", "largest_root"] == pytest.approx(800 / 14)
    assert doses.loc["whole-0.25", "largest_root"] == pytest.approx(100 / 3)
    assert doses.loc["updates-32", "above_bound"] == pytest.approx(0.4)
    assert (doses["m_sd_low"] == doses["m_sd"]).all() and doses["audit_gradient_low"].isna().all()


def test_shallow_groups_and_the_steps_between_count_for_no_tree(source):
    """As published results have neither, and the gate is about groups of six or more tool calls."""
    shallow = replace(source)
    shallow.__dict__.update(steps=source.steps, rollouts=source.rollouts.assign(tool_calls=5))
    assert by_run(shallow)["largest_root"].isna().all() and by_run(shallow)["m_sd"].notna().all()
    between = source.rollouts[source.rollouts["step"] == 1].assign(step=3, parent=-1)
    more = replace(source)
    more.__dict__.update(steps=source.steps, rollouts=pd.concat([source.rollouts, between]))
    pd.testing.assert_frame_equal(by_run(more), by_run(source))


def test_the_gradient_is_the_audits_and_only_at_its_number_of_updates(source):
    batch, doses = load_batch(ROOT / "data" / "fidelity"), measured(source)["audit_gradient"]
    assert batch.about["updates_per_step"] == 8
    known = doses[doses.notna()]
    assert set(known.index) == {"keep-8", "advantage-0.2", "advantage-0.5", "advantage-1"}
    on = OFF | {"entropy_advantage": True, "entropy_coefficient": 0.5}
    assert known["advantage-0.5"] == pytest.approx(compared(batch, ("aepo", on), ("aepo", OFF)))
    assert known["advantage-0.2"] < known["advantage-0.5"] < known["advantage-1"]


def test_the_page_has_a_dose_beside_every_row_and_says_which_are_not_the_runs(built):
    page = "\n".join(map(text_table.markdown, write.blocks(built)))
    rows = {line.split("|")[2].strip(): line for line in page.splitlines() if line.count("|") == 9}
    assert "spread of m 3.00, moved 18.8 %" in rows["β = 20 (decides)"]
    assert "largest root 64 %, forks of forks 57 %" in rows["1/8 whole"]
    assert "above the bound 0.10 %, gradient 40 % *" in rows["Gradient kept, 8 updates"]
    assert "| 32 updates" in rows["Gradient kept, 32 updates (decides)"]
    assert "*: on the audit's batch, not in these runs" in page and "runs log no gradient without a part" in page
    assert "written down before these runs" in page and page.count("## ") == 3
    assert "largest_root" in write.files(built, None)["table6.csv"].splitlines()[0]


def test_the_figure_shows_every_row_at_its_dose(built):
    drawn = dose_figure.figure(built)
    assert broken(drawn) == [] and drawn.says.startswith(f"Of {len(CELLS)} rows")
    panels = drawn.figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == [panel.title for panel in dose_figure.PANELS.values()]
    labels = [[text.get_text() for text in axes.get_xticklabels()] for axes in panels]
    assert labels[0][-1] == "20\n3.00" and labels[1] == ["1/2\n12 / 12 / 12", "1/4\n33 / 33 / 33", "1/8\n64 / 57 / 57"]
    assert labels[2][-1] == "32\n0.40 / 0.40" and labels[3][1] == "0.5\n69"
    points = [y for axes in panels for line in axes.lines if line.get_marker() in "soD" for y in line.get_ydata()]
    assert sorted(points) == pytest.approx(sorted(built.frame.loc[list(CELLS), "difference_1"]))
    at = {panel: list(found.settings) for panel, found in dose_figure.PANELS.items()}
    shown = [dose_figure.rows_of(m, s) for m, panel in dose_figure.PANELS.items() for s in panel.series]
    assert sorted(itertools.chain.from_iterable(found.values() for found in shown)) == sorted(CELLS)
    assert all(cell.at in at[cell.mechanism] for cell in CELLS.values())


def test_some_rows_of_one_seed_make_a_table_without_intervals(tmp_path):
    """The core, before its other seeds have run."""
    rows = list(TableConfig.load("6").rows("mini", ["core"]))
    few = write.build(load.load_source("mini", "table6", data_root=write_doses(tmp_path, rows, seeds=(0,))))
    drawn = dose_figure.figure(few)
    assert broken(drawn) == [] and "no dose can be told" in drawn.says
    short = write.short_table(few)
    assert [row[-1] for row in short.rows] == ["1"] * len(rows) and len(write.blocks(few)) == 3
    assert "No runs of:" in " ".join(write.main_table(few).notes)


def test_no_base_no_difference(tmp_path):
    """Rows whose base has no runs stand without a difference; nothing is compared with another row instead."""
    root = write_doses(tmp_path, ["keep-32", "whole-0.125-penalty-0.2", "beta-20"])
    few = write.build(load.load_source("mini", "table6", data_root=root))
    assert few.frame.get("difference_1", pd.Series(dtype=float)).isna().all()
    drawn = dose_figure.figure(few)
    assert all("no runs" in [text.get_text() for text in axes.texts] for axes in drawn.figure.axes)
    assert broken(drawn) == [] and "nothing is compared" in write.answer(few)
