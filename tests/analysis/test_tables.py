"""Tables 1, 4 and 5: families, variants and grids, on small synthetic results; and many rows at once."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from synthetic import STEPS, compared, reported_frame, save, save_validation, step_rows, write_results, write_runs
from synthetic_doses import write_doses

from analysis import build as build_module
from analysis import (
    curves,
    families,
    load,
    pairing,
    provenance,
    readme,
    stability,
    statistics,
    style,
    table,
    table4,
    table5,
    text_table,
    training_steps,
    write,
)
from reproduce.errors import UserError

FAMILIES = ("mini-math", "mini-knowledge")
ABLATION = {"none": 0.3, "dynamic-budget": 0.3, "gradient-keeping-clip": 0.65, "aepo": 0.6}
SWITCHES = {name: {"method": "aepo", "algorithm": {"clip_high": 0.3}} for name in ("none", "dynamic-budget")} | {
    "gradient-keeping-clip": {"method": "aepo", "algorithm": {"branch_penalty": False}}
}
RATES, MINIBATCHES = (5e-4, 1e-3), (2, 4)


def cell_name(method, rate, minibatches):
    return f"{method}-lr{rate:g}-minibatches{minibatches}"


GRID = {
    cell_name(m, r, b): {"method": m, "training": {"learning_rate": r, "minibatches": b}}
    for m in ("grpo", "aepo")
    for r in RATES
    for b in MINIBATCHES
}
SUCCESS = {name: 0.7 if name == cell_name("aepo", 1e-3, 4) else 0.4 for name in GRID}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Published results of all tables."""
    folder = tmp_path_factory.mktemp("data")
    write_results(folder)
    write_results(folder, table="table1", families=FAMILIES)
    write_results(folder, {"grpo": 0.4, "grpo+epo": 0.5}, table="table3", splits=("iid", "ood"), samples=2)
    write_results(folder, ABLATION, table="table4", variants=SWITCHES)
    write_results(folder, SUCCESS, table="table5", variants=GRID)
    write_doses(folder, ["none", "beta-20", "whole-0.125"])
    return folder


@cache
def results_of(root, name):
    return load.load_source("mini", f"table{name}", data_root=root)


@cache
def built_of(root, name):
    """Tests share what was computed of the same results."""
    return write.build(results_of(root, name))


# table 1


def test_table_1_has_a_column_per_family_and_averages_them(root):
    source, built = results_of(root, 1), built_of(root, 1)
    rows = source.evals[source.evals["method"] == "aepo"]
    row = built.frame.loc["aepo"]
    assert built.parts == ["family_mini-knowledge", "family_mini-math"]
    for family in FAMILIES:
        assert row[f"family_{family}"] == pytest.approx(100 * rows.loc[rows["family"] == family, "correct"].mean())
    assert row["pass_1"] == pytest.approx(np.mean([row[column] for column in built.parts]))
    shown = write.main_table(built)
    assert shown.header[1:4] == ["mini-knowledge", "mini-math", "Average pass@1"]
    assert "24 questions (mini-knowledge, level 1: 4," in " ".join(shown.notes)


def test_families_and_levels_are_strata(root):
    """What lies between them is part of the panel, not noise: the interval is that of questions inside them."""
    scores = results_of(root, 1).scores["grpo"]
    assert len(set(scores.strata_Q)) == 6
    found = pairing.estimate(scores)
    inside = statistics.crossed(pairing.scores_at(scores), scores.strata_Q).interval()
    assert (found.low, found.high) == (inside.low, inside.high)


# table 4


def test_table_4_stands_against_no_component_in_the_papers_order(root):
    built = built_of(root, 4)
    assert list(built.frame.index) == [style.WARM_START, *table4.NAMES]
    assert built.frame.loc["aepo", "difference_1"] == pytest.approx(
        built.frame.loc["aepo", "pass_1"] - built.frame.loc["none", "pass_1"]
    )
    shown = write.main_table(built)
    assert "Against No component" in shown.header and [row[0] for row in shown.rows][1] == "No component"
    notes = " ".join(shown.notes)
    assert "all 3 explore, false discovery rate" in notes and len(write.blocks(built)) == 1
    assert "No runs of: Branch penalty alone, Entropy-aware advantage alone, AEPO (released)." in notes
    assert "Other than" not in notes


def test_what_a_table_was_trained_with_other_than_table_2_is_said_under_it(tmp_path):
    write_results(tmp_path)
    path = write_results(tmp_path, ABLATION, table="table4", variants=SWITCHES) / "results/mini/table4/config.yaml"
    path.write_text(path.read_text().replace(f"steps: {STEPS}", f"steps: {STEPS // 2}"))
    notes = " ".join(write.main_table(built_of(tmp_path, 4)).notes)
    assert f"{STEPS // 2} RL steps × 4 prompts" in notes
    assert f"Other than the published table 2: training.steps {STEPS // 2} (there {STEPS})." in notes
    assert provenance.differences({"training": {"a": 1}}, {}) == []


def test_variants_from_own_runs_and_from_results_are_the_same_table(root, tmp_path):
    own = load.load_source(
        source=write_runs(tmp_path, ABLATION, table="table4", variants=SWITCHES), experiment="table4"
    )
    published = results_of(root, 4)
    pd.testing.assert_frame_equal(write.build(own).frame, built_of(root, 4).frame)
    assert own.config["rows"]["none"]["method"] == published.config["rows"]["none"]["method"] == "aepo"
    result = compared(published, own)
    assert result.frame["agree"].all() and result.stem == "table4_comparison"
    page = result.files()["table4_comparison.md"]
    assert "No component: seeds 0,1,2, same config, all outcomes equal." in page


# table 5


def test_the_grid_knows_where_each_cell_lies(root):
    found = table5.grid(results_of(root, 5))
    assert list(dict.fromkeys(found["method"])) == ["grpo", "aepo"]
    cell = found.loc[cell_name("aepo", 1e-3, 4)]
    assert (cell["learning_rate"], cell["updates"]) == (1e-3, 8)  # two passes of four minibatches


def test_the_best_of_the_grid_is_the_best_cell_where_it_stands_out(root):
    source, built = results_of(root, 5), built_of(root, 5)
    best = table5.best(source)
    assert best.loc["aepo", "chosen"] == "0.001 · 8 (6 of 6)"
    assert best.loc["aepo", "best_1"] == pytest.approx(built.frame.loc[cell_name("aepo", 1e-3, 4), "pass_1"])
    cells_of = [built.frame.loc[name, "pass_1"] for name in GRID if name.startswith("grpo")]
    assert best.loc["grpo", "grid_mean_1"] == pytest.approx(np.mean(cells_of))
    assert best.loc["grpo", "worst_1"] == pytest.approx(min(cells_of))
    assert min(cells_of) <= best.loc["grpo", "best_1"] <= max(cells_of)
    assert best.loc["aepo", "difference_1"] == pytest.approx(best.loc["aepo", "best_1"] - best.loc["grpo", "best_1"])
    assert best.loc["aepo", "difference_1_low"] > 0


def test_the_interval_between_two_choices_is_short_of_ninety_five_percent():
    """Six equal cells, three seeds: the note under the table says about 90 %, and no p-value is printed."""
    rng, strata_Q, hits, n = np.random.default_rng(0), np.repeat([0, 1, 2], 40), 0, 400
    half_Q = table5.halves(strata_Q)
    for _ in range(n):
        a_SQ, b_SQ = (
            table5.cross_fitted(rng.normal(0, 0.02, (6, 3, 1)) + rng.normal(0, 0.15, (6, 3, 120)), half_Q)[0]
            for _ in range(2)
        )
        hits += not statistics.crossed(a_SQ - b_SQ, strata_Q).interval().excludes(0)
    assert 0.86 <= hits / n <= 0.94


def test_luck_alone_is_not_rewarded():
    """Equal cells with noise: the naive maximum is biased upwards, the cross-fitted one is not."""
    rng = np.random.default_rng(0)
    half_Q = table5.halves(np.repeat([0, 1], 20))
    naive, fitted = [], []
    for _ in range(300):
        scores_CSQ = (rng.random((6, 3, 40)) < 0.5).astype(float)
        naive.append(scores_CSQ.mean(axis=(1, 2)).max())
        fitted.append(table5.cross_fitted(scores_CSQ, half_Q)[0].mean())
    assert np.mean(naive) > 0.54 and abs(np.mean(fitted) - 0.5) < 0.01


def test_no_answer_helps_to_choose_the_cell_that_it_counts_in():
    rng = np.random.default_rng(1)
    half_Q = table5.halves(np.zeros(10, dtype=int))
    scores_CSQ = rng.random((4, 3, 10))
    _, chosen = table5.cross_fitted(scores_CSQ, half_Q)
    for s in range(3):
        for half in (0, 1):
            changed = scores_CSQ.copy()
            changed[:, s, half_Q == half] = rng.random((4, int((half_Q == half).sum())))
            assert table5.cross_fitted(changed, half_Q)[1][2 * s + half] == chosen[2 * s + half]


def test_halves_split_every_stratum():
    half_Q = table5.halves(np.array([0, 0, 0, 0, 1, 1, 2]))
    assert half_Q.tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_a_method_with_a_cell_less_has_no_best(tmp_path):
    name = cell_name("aepo", 1e-3, 4)
    few = {cell: p for cell, p in SUCCESS.items() if cell != name}
    source = results_of(write_results(tmp_path, few, table="table5", variants={n: GRID[n] for n in few}), 5)
    best = table5.best(source)
    assert np.isnan(best.loc["aepo"].get("best_1", np.nan)) and np.isfinite(best.loc["grpo", "best_1"])
    shown = write.main_table(write.build(source))
    aepo = dict(zip(shown.header, shown.rows[1], strict=True))
    assert aepo["Chosen by cross-fitting"] == aepo["0.001 · 8"] == text_table.MISSING
    assert aepo["0.001 · 4"] != text_table.MISSING


def test_table_5_prints_cells_and_best_and_says_how_it_was_chosen(root):
    shown = write.main_table(built_of(root, 5))
    assert shown.header[:5] == ["Method", "0.0005 · 4", "0.001 · 4", "0.0005 · 8", "0.001 · 8"]
    assert shown.header[5:7] == ["Chosen by cross-fitting", "Against GRPO"] and not shown.bold
    assert [row[0] for row in shown.rows] == ["GRPO", "AEPO"]
    assert table5.NOTE in shown.notes and "not evaluated" in table5.NOTE
    assert len(write.terminal_tables(built_of(root, 5))) == 2


def validated(folder, success):
    source = results_of(write_results(folder, SUCCESS, table="table5", variants=GRID), 5)
    save_validation(source, success)
    return load.load_source("mini", "table5", data_root=folder)


ELSEWHERE = {name: 0.6 if name == cell_name("aepo", 5e-4, 4) else 0.3 for name in GRID}


def test_a_cell_is_chosen_on_the_validation_panel_where_all_runs_have_one(tmp_path):
    source = validated(tmp_path, ELSEWHERE)
    best, built = table5.best(source), write.build(source)
    assert best.loc["aepo", "chosen"] == "0.0005 · 8", "not the cell that is best on the test panel"
    assert best.loc["aepo", "best_1"] == pytest.approx(built.frame.loc[cell_name("aepo", 5e-4, 4), "pass_1"])
    assert best.loc["aepo", "validation_1"] == pytest.approx(60)
    assert best.loc["grpo", "chosen"] == "0.0005 · 4", "of equals the lower learning rate, then fewer updates"
    shown, short = write.main_table(built), write.short_table(built)
    assert "Chosen on validation" in shown.header and table5.NOTE not in shown.notes
    assert any("No answer on the test panel entered the choice" in note for note in shown.notes)
    assert [row[1] for row in short.rows] == ["0.0005 · 4", "0.0005 · 8"]
    assert "no test answer entered the choice" in " ".join(short.notes)


def test_test_answers_do_not_move_a_choice_on_the_validation_panel(tmp_path):
    source = validated(tmp_path, ELSEWHERE)
    before = table5.best(source)["chosen"].tolist()
    source.evals["correct"] = ~source.evals["correct"]
    assert table5.best(source)["chosen"].tolist() == before


def test_a_run_without_its_last_validation_leaves_the_choice_to_cross_fitting(tmp_path):
    source = validated(tmp_path, ELSEWHERE)
    frame = source.validation
    lost = (frame["method"] == cell_name("grpo", 1e-3, 2)) & (frame["seed"] == 1) & (frame["checkpoint"] == "step 6")
    save(frame[~lost], source.folder / "validation.parquet", "eval")
    source = load.load_source("mini", "table5", data_root=tmp_path)
    assert "(6 of 6)" in table5.best(source).loc["aepo", "chosen"]
    assert table5.NOTE in write.main_table(write.build(source)).notes


def test_runs_of_different_validation_panels_are_not_compared(tmp_path):
    source = validated(tmp_path, ELSEWHERE)
    frame = source.validation
    other = (frame["method"] == cell_name("grpo", 1e-3, 2)) & (frame["question_id"] == "q099")
    save(frame[~other], source.folder / "validation.parquet", "eval")
    with pytest.raises(UserError, match="different validation panels"):
        table5.best(load.load_source("mini", "table5", data_root=tmp_path))


def test_table_5_without_its_rows_is_refused(tmp_path):
    root = write_results(tmp_path, {"grpo": 0.4}, table="table5")
    with pytest.raises(UserError, match="'grpo' is not a cell of the grid"):
        write.main_table(built_of(root, 5))


# many rows


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Nineteen rows of equal success and one that is better."""
    names = [m for m in style.ORDER if m != style.WARM_START][:20]
    success = {m: 0.75 if m == "rloo" else 0.4 for m in names}
    root = write_results(tmp_path_factory.mktemp("many"), success, seeds=range(5))
    return load.load_source(data_root=root)


def test_many_rows_are_adjusted_and_only_what_is_outside_noise_is_marked(many):
    built = write.build(many)
    bold = [m for m in built.frame.index if built.frame.loc[m, "difference_1_bold"] is True]
    assert bold == ["rloo"] and built.frame.loc["rloo", "adjusted_1"] < 0.05
    frame = built.frame.drop(index=[style.WARM_START, "grpo"])
    raw = [pairing.difference(many.scores[m], many.scores["grpo"]).p() for m in frame.index]
    assert frame["p_1"].tolist() == raw and np.isnan(built.frame.loc[style.WARM_START, "p_1"])
    explored = frame.drop(index="aepo")
    assert explored["adjusted_1"].to_numpy() == pytest.approx(statistics.discoveries(explored["p_1"]))
    shown = write.main_table(built)
    notes = " ".join(shown.notes)
    assert len(shown.rows) == 21 and "AEPO by Holm, see the confirmatory comparisons; the other 18 explore" in notes
    assert sum(axes.get_visible() for axes in curves.figure_curves(many, built.spec).figure.axes) == 20


def few_seeds_of(root, method, seeds):
    """Published results in which `method` has only these seeds."""
    folder = root / "results" / "mini" / "table2"
    for kind in ("eval", "steps"):
        rows = pd.read_parquet(folder / f"{kind}.parquet")
        save(rows[(rows["method"] != method) | rows["seed"].isin(seeds)], folder / f"{kind}.parquet", kind)
    return load.load_source(data_root=root)


def test_a_row_with_fewer_seeds_stands_against_all_runs_of_the_other(tmp_path):
    root = write_results(tmp_path, {"grpo": 0.4, "aepo": 0.5}, seeds=(0, 1, 2, 3))
    source = few_seeds_of(root, "aepo", (0, 2))
    grpo, aepo, warm = (source.scores[name] for name in ("grpo", "aepo", style.WARM_START))
    found = pairing.difference(aepo, grpo)
    assert found.value == pytest.approx(aepo.correct_SQN.mean() - grpo.correct_SQN.mean())
    expected = statistics.two_rows(pairing.scores_at(aepo), pairing.scores_at(grpo), grpo.strata_Q)
    assert (found.error, found.df) == (expected.error, expected.df)
    against_warm = pairing.difference(warm, grpo)
    assert against_warm.value == pytest.approx(warm.correct_SQN.mean() - grpo.correct_SQN.mean())
    assert against_warm.error == pairing.difference(grpo, warm).error > 0


def test_one_run_has_a_difference_and_no_test(tmp_path):
    source = few_seeds_of(write_results(tmp_path, {"grpo": 0.4, "aepo": 0.9}), "aepo", (1,))
    row = write.build(source).frame.loc["aepo"]
    assert np.isfinite(row["difference_1"]) and np.isnan([row["difference_1_low"], row["p_1"]]).all()
    assert row["pass_1_low"] < row["pass_1"] and not row["pass_1_bold"]
    _, found, p = families.against_best(source.scores["aepo"], {"grpo": source.scores["grpo"]})
    assert found.value == pytest.approx(row["difference_1"] / 100) and np.isnan([found.low, found.high, p]).all()


def test_the_confirmatory_family_stands_in_a_block_of_its_own(many):
    frame = families.tested(many).set_index("against")
    assert list(frame.index) == ["grpo", "arpo", "cispo"] and (frame["method"] == "aepo").all()
    assert frame["p_holm"].to_numpy() == pytest.approx(statistics.holm(frame["p"]))
    built = write.build(many)
    assert built.frame.loc["aepo", "adjusted_1"] == frame.loc["grpo", "p_holm"]
    assert built.frame.loc["aepo", "difference_1_high"] == pytest.approx(frame.loc["grpo", "difference_high"])
    shown = write.blocks(built)[1]
    assert shown.title == "Confirmatory comparisons" and [row[0] for row in shown.rows] == ["AEPO"] * 3
    assert write.terminal_tables(built)[1] == shown
    assert "2 points" in shown.header[5] and "table2_confirmatory.csv" in write.files(built, None)
    assert families.confirmatory("4") is None


def test_a_row_is_compared_with_the_best_of_several(tmp_path):
    rates = dict.fromkeys(("grpo", "reinforce++", "dapo", "gppo", "gigpo", "arpo", "aepo"), 0.5)
    write_results(tmp_path, rates | {"cispo": 0.9}, table="table1")
    source = load.load_source(experiment="table1", data_root=tmp_path)
    frame = families.tested(source).set_index("against")
    assert list(frame.index) == ["grpo", "arpo", "best of 7"] and frame.loc["best of 7", "best"] == "cispo"
    assert "(CISPO)" in write.blocks(write.build(source))[1].rows[2][1]


def test_the_confirmatory_family_stands_at_every_warm_start(many):
    assert families.at_starts(many).empty
    at_each = {"warm_start": many.config["warm_start"] | {"seed": 0, "seeds_each": 2}}
    source = replace(many, config=many.config | at_each)
    starts = sorted({str(seed // 2) for seed in source.scores["aepo"].seeds})
    assert len(starts) > 1
    shown = write.blocks(write.build(source))[2]
    assert shown.header[2:] == [*(f"Warm start {start}" for start in starts), "As a sample"]
    assert [row[1] for row in shown.rows] == ["GRPO", "ARPO", "CISPO"]
    frame = families.at_starts(source)
    wide = frame.pivot(index="best", columns="start", values="difference")
    assert wide[families.SAMPLE].to_numpy() == pytest.approx(wide[starts].mean(axis=1)), "each warm start counts once"
    assert "table2_starts.csv" in write.files(write.build(source), None)


def test_the_committed_families_name_known_rows_and_a_broken_file_is_one_line(tmp_path, monkeypatch):
    for name, claims in (("1", 3), ("2", 3), ("3", 2)):
        family = families.confirmatory(name)
        assert len(family.comparisons) == claims and family.margin == (3 if name == "3" else 2)
        named = {row for pair in family.comparisons for row in (pair.row, *pair.against)}
        assert named <= set(results_of(load.ROOT / "data", name).scores)
    monkeypatch.setattr(families, "FILE", tmp_path / "families.yaml")
    margin = "aepo: {tables: ['2'], paper: x, margin: much, comparisons: []}"
    for text in ("aepo: {tables: ['2'], margin: 2}", "aepo: [1]", margin):
        families.FILE.write_text(text)
        with pytest.raises(UserError, match="families.yaml: aepo lacks") as caught:
            families.confirmatory.__wrapped__("2")
        assert "\n" not in str(caught.value)


def test_the_best_of_several_is_beaten_only_if_each_is(tmp_path):
    source = results_of(write_results(tmp_path, {"grpo": 0.5, "arpo": 0.3, "aepo": 0.7}, seeds=range(4)), 2)
    aepo, grpo, arpo = (source.scores[name] for name in ("aepo", "grpo", "arpo"))
    best, found, p = families.against_best(aepo, {"grpo": grpo, "arpo": arpo})
    both = [pairing.difference(aepo, other) for other in (grpo, arpo)]
    assert best == "grpo" and found.value == both[0].value
    assert found.low == min(one.interval().low for one in both) and found.high > both[0].interval().high
    assert p == pytest.approx(2 * max(one.p_above() for one in both))
    _, _, below = families.against_best(arpo, {"aepo": aepo, "grpo": grpo})
    assert below == pytest.approx(2 * 2 * min(pairing.difference(arpo, other).p_below() for other in (aepo, grpo)))


def test_the_best_of_equal_rows_is_not_found_to_be_better_or_worse():
    """Luck chooses the best of four equal rows; it must not make the fifth one look worse."""
    rng, n, rejected = np.random.default_rng(0), 150, 0
    labels = np.zeros(30, dtype=int)
    for _ in range(n):
        chance = np.clip(0.5 + rng.normal(0, 0.05, (5, 6, 1, 1)) + rng.normal(0, 0.1, (1, 1, 30, 1)), 0, 1)
        answers = rng.random((5, 6, 30, 4)) < chance
        rows = [load.Scores(tuple(range(6)), tuple(map(str, range(30))), *[labels] * 3, row) for row in answers]
        rejected += families.against_best(rows[0], dict(zip("abcd", rows[1:], strict=True)))[2] < 0.05
    assert rejected / n < 0.06


def test_every_pair_of_rows_has_a_p_value_adjusted_over_all_of_them(many):
    pairs = table.pairs(many).set_index(["method", "against"])
    forth, back = pairs.loc[("rloo", "grpo")], pairs.loc[("grpo", "rloo")]
    assert forth["difference"] == -back["difference"] and forth["difference_low"] == -back["difference_high"]
    single = pairs.loc[[pair for pair in pairs.index if pair[0] < pair[1]], "p"]
    assert len(single) == 21 * 20 / 2
    assert sorted(pairs["adjusted_p"])[::2] == pytest.approx(sorted(statistics.discoveries(single)))


def test_collapsed_runs_are_counted_and_named(tmp_path):
    root = write_results(tmp_path, {"grpo": 0.4, "gppo": 0.1})
    path = root / "results" / "mini" / "table2" / "steps.parquet"
    frame = pd.concat([step_rows(m, s).assign(method=m, seed=s) for m in ("grpo", "gppo") for s in (0, 1, 2)])
    falling = (frame["method"] == "gppo") & (frame["seed"] > 0) & (frame["step"] > 3)
    save(frame.assign(success_mean=np.where(falling, 0.01, 0.3)), path, "steps")
    source = load.load_source(data_root=root)
    assert training_steps.collapsed(source) == {"grpo": (0, 3), "gppo": (2, 3)}
    notes = write.main_table(write.build(source)).notes
    assert any("GPPO (2 of 3 runs, 95 % [9, 99] %; Fisher p against GRPO 0.40)" in note for note in notes)
    assert any("0 of 3 runs a rate above 63 %" in note for note in notes)
    assert training_steps.fallen(source, "gppo").tolist() == [1, 2] and not len(training_steps.fallen(source, "grpo"))
    assert stability.shown(source) == ["grpo", "gppo"] and stability.shown(source, always=()) == ["gppo"]
    assert stability.worst(source).set_index("method")["collapsed"].to_dict() == {"grpo": 0, "gppo": 2}
    panels = stability.figure_runs(source).figure.axes[: len(stability.shown(source))]
    coloured = [sum(line.get_color() == stability.FALLEN for line in axes.lines) for axes in panels]
    assert coloured == [0, 2]
    save(frame.assign(kl_warm_start=float("nan")), path, "steps")  # training.measure_kl: false
    unmeasured = load.load_source(data_root=root)
    assert [row[-1] for row in stability.worst_table(unmeasured).rows] == ["–", "–"]
    stability.figure_runs(unmeasured).figure.canvas.draw()
    calm = training_steps.collapse_notes(results_of(write_results(tmp_path / "calm"), 2))
    assert calm[0].endswith("none.")


def test_a_run_that_fell_and_came_back_has_collapsed():
    rising = np.linspace(0.2, 0.6, 12)
    assert training_steps.drawdown(rising) == 0
    back = rising.copy()
    back[5:9] = 0.0
    assert training_steps.drawdown(back) == pytest.approx(1)
    dip = rising.copy()
    dip[6] = 0.1
    assert training_steps.drawdown(dip) < training_steps.COLLAPSED, "one bad batch is no collapse"
    assert training_steps.drawdown(np.zeros(5)) == 0 and training_steps.drawdown(np.array([0.3])) == 0


def test_the_committed_runs_that_fell_and_came_back_are_found():
    table1, table5 = (load.load_source("mini", f"table{n}") for n in (1, 5))
    assert training_steps.fallen(table1, "ce-gppo").tolist() == [1]
    assert training_steps.fallen(table1, "gppo").tolist() == [1]
    assert training_steps.fallen(table5, "gppo-lr1x-minibatches2x").tolist() == [2]


def test_rows_that_are_the_same_runs_are_named(tmp_path):
    root = write_results(tmp_path, {"grpo": 0.4, "gppo": 0.1, "dapo": 0.4})
    path = root / "results" / "mini" / "table2" / "steps.parquet"
    same = {("gppo", s): step_rows("grpo", s) for s in (0, 1, 2)}
    frames = {(m, s): same.get((m, s), step_rows(m, s)) for m in ("grpo", "gppo", "dapo") for s in (0, 1, 2)}
    save(pd.concat([frame.assign(method=m, seed=s) for (m, s), frame in frames.items()]), path, "steps")
    source = load.load_source(data_root=root)
    assert training_steps.identical(source) == [("grpo", "gppo")]
    built = write.build(source)
    assert np.isnan(built.frame.loc["gppo", "adjusted_1"]) and built.adjusted.exploratory == 1, "no comparison"
    assert ("grpo", "gppo") not in set(zip(*table.pairs(source)[["method", "against"]].to_numpy().T, strict=True))
    assert write.main_table(write.build(source)).notes[-1].endswith("changed nothing here): GRPO and GPPO.")
    frames["gppo", 2] = frames["gppo", 2].assign(grad_norm=0.5)
    save(pd.concat([frame.assign(method=m, seed=s) for (m, s), frame in frames.items()]), path, "steps")
    assert training_steps.identical_note(load.load_source(data_root=root)) == []


def test_runs_whose_groups_never_differ_are_named(tmp_path):
    root = write_results(tmp_path, {"grpo": 0.4, "ppo+epo": 0.4, "dapo": 0.4})
    path = root / "results" / "mini" / "table2" / "steps.parquet"
    frame = pd.concat(
        [step_rows(m, s).assign(method=m, seed=s) for m in ("grpo", "ppo+epo", "dapo") for s in (0, 1, 2)]
    )
    frame = frame.assign(groups_sampled=4.0, groups_degenerate=3.0, grad_norm=0.5)
    equal = (frame["method"] == "grpo") & (frame["seed"] > 0) | (frame["method"] == "ppo+epo")
    frame.loc[equal, "groups_degenerate"] = 4.0
    frame.loc[(frame["method"] == "grpo") & equal, "grad_norm"] = 0.0
    save(frame, path, "steps")
    source = load.load_source(data_root=root)
    assert training_steps.without_signal(source) == {"grpo": (2, 2, 3), "ppo+epo": (3, 0, 3)}
    note = write.main_table(write.build(source)).notes[-1]
    assert note.startswith("Nothing to learn from (in every step all rewards of each group were equal): ")
    assert note.endswith("GRPO (2 of 3 runs, gradient 0), EPO on PPO (3 of 3 runs, gradient not 0).")
    config = path.with_name("config.yaml")
    config.write_text(config.read_text().replace("group_size: 4", "group_size: 1"))
    source = load.load_source(data_root=root)
    assert training_steps.without_signal(source) == {"grpo": (2, 2, 3)}, "groups of one cannot differ"
    assert training_steps.without_signal_note(results_of(write_results(tmp_path / "calm"), 2)) == []


@pytest.mark.parametrize(
    ("table", "families", "title"),
    [
        ("1", ("mini-math", "mini-knowledge"), "Table 1. mini-math and mini-knowledge, profile mini"),
        ("1", ("aime24", "hotpotqa"), "Table 1. hotpotqa and aime24, profile mini"),
        ("2", ("gaia", "webwalker", "xbench"), "Table 2. webwalker, xbench and gaia, profile mini"),
        ("2", ("mini-deepsearch",), "Table 2. mini-deepsearch, profile mini"),
        ("4", ("gaia",), "Table 4. Components of AEPO on gaia, profile mini"),
    ],
)
def test_titles_name_the_sets_that_the_table_shows(tmp_path, table, families, title):
    methods = {"aepo": 0.5} if table == "4" else {"grpo": 0.4}
    root = write_results(tmp_path, methods, seeds=(0,), table=f"table{table}", families=families)
    path = root / "results" / "mini" / f"table{table}" / "config.yaml"
    order = ["mini-math", "mini-knowledge", "webwalker", "xbench", "gaia", "hotpotqa", "aime24"]
    path.write_text(path.read_text() + f"task: {{world: web, families: [{', '.join(order)}]}}\n")
    built = built_of(root, table)
    assert write.short_table(built).title == title and write.main_table(built).title == f"{title}: all rows"


# files


@pytest.mark.parametrize("name", [1, 5])
def test_every_table_leaves_its_files_and_figures(root, tmp_path, name):
    built = built_of(root, name)
    files = text_table.save(write.files(built, reported_frame()), tmp_path)
    figures = [style.save(drawn.figure, tmp_path, stem) for stem, drawn in write.figures(built)]
    found = {p.name for p in [*files, *figures]}
    ends = {
        ".md",
        ".tex",
        "_appendix.md",
        "_appendix.tex",
        ".csv",
        "_runs.csv",
        "_time.md",
        "_time.csv",
        "_training.pdf",
    }
    assert {f"table{name}{end}" for end in ends} <= found
    assert ("table5_heat.pdf" in found) == ("table5_best.csv" in found) == (name == 5)
    assert ("table1_reported.csv" in found) == (name == 1)
    assert f"Table {name}" in (tmp_path / f"table{name}.md").read_text()


def test_figures_of_nothing_say_so(tmp_path):
    one = {"grpo": GRID[cell_name("grpo", 1e-3, 2)]}
    root = write_results(tmp_path, {"grpo": 0.4}, seeds=(0,), table="table5", variants=one)
    source = results_of(root, 5).only([style.WARM_START])
    built = table.build(source, write.SPECS["5"])
    assert all(drawn.figure.axes and drawn.says for _, drawn in write.figures(built))
    assert curves.figure_curves(source, write.SPECS["2"]).figure.axes


def test_tables_without_results_are_one_line_each(tmp_path, monkeypatch):
    root = write_results(tmp_path / "data")
    executed = []

    def execute(names, environment, target):
        executed.extend(names)
        return {}

    monkeypatch.setattr(build_module, "execute", execute)
    result = build_module.build_all(data_root=root, figures=tmp_path / "figures", only="tables")
    assert executed == ["table2"]
    assert result.text.splitlines()[-5:] == [
        f"Table {n}: no published results for profile mini, skipped." for n in (1, 3, 4, 5, 6)
    ]
    with pytest.raises(UserError, match="make reproduce-table2.*make publish"):
        build_module.build_all("absent", data_root=root)


def test_the_results_have_a_block_for_every_table():
    text = (load.ROOT / readme.RESULTS).read_text()
    for name in write.SPECS:
        assert readme.block(text, f"table{name}")


def test_unknown_tables_are_refused():
    assert list(build_module.FIGURES) == list(write.SPECS)
    with pytest.raises(UserError, match="table 7 .* 1, 2, 3, 4, 5, 6"):
        build_module.build(7)


@pytest.mark.slow
def test_all_tables_build_headless(root, tmp_path):
    """The notebooks of all tables run on published results, in one go."""
    result = build_module.build_all(data_root=root, figures=tmp_path, only="tables")
    notebooks = {p.stem for p in result.files if p.suffix == ".ipynb"}
    assert notebooks == {f"table{n}" for n in write.SPECS} and "skipped" not in result.text
    for title in ("mini-knowledge and mini-math", "EPO on MiniHouse", "Components of AEPO", "One grid for every"):
        assert title in result.text
    for path in result.files:
        if path.suffix == ".ipynb":
            outputs = [o for c in json.loads(path.read_text())["cells"] for o in c.get("outputs", [])]
            assert outputs and not any(o["output_type"] == "error" for o in outputs)
