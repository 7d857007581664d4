"""Tables 1, 4 and 5: families, variants and grids, on small synthetic results; and many rows at once."""

import json
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from synthetic import STEPS, compared, reported_frame, save, step_rows, write_results, write_runs

from analysis import build as build_module
from analysis import (
    curves,
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
    return folder


def results_of(root, name):
    return load.load_source("mini", f"table{name}", data_root=root)


# table 1


def test_table_1_has_a_column_per_family_and_averages_them(root):
    source = results_of(root, 1)
    built = write.build(source)
    rows = source.evals[source.evals["method"] == "aepo"]
    row = built.frame.loc["aepo"]
    assert built.parts == ["family_mini-knowledge", "family_mini-math"]
    for family in FAMILIES:
        assert row[f"family_{family}"] == pytest.approx(100 * rows.loc[rows["family"] == family, "correct"].mean())
    assert row["pass_1"] == pytest.approx(np.mean([row[column] for column in built.parts]))
    shown = write.main_table(built)
    assert shown.header[1:4] == ["mini-knowledge", "mini-math", "Average pass@1"]
    assert "24 questions (mini-knowledge, level 1: 4," in " ".join(shown.notes)


def test_the_bootstrap_keeps_every_family_and_level(root):
    scores = results_of(root, 1).scores["grpo"]
    assert len(set(scores.strata_Q)) == 6
    counts = pairing.draws_for(3, scores.strata_Q).questions_DQ
    for family in FAMILIES:
        assert (counts[:, scores.families_Q == family].sum(axis=1) == 12).all()


# table 4


def test_table_4_stands_against_no_component_in_the_papers_order(root):
    built = write.build(results_of(root, 4))
    assert list(built.frame.index) == [style.WARM_START, *table4.NAMES]
    assert built.frame.loc["aepo", "difference_1"] == pytest.approx(
        built.frame.loc["aepo", "pass_1"] - built.frame.loc["none", "pass_1"]
    )
    shown = write.main_table(built)
    assert "Against No component" in shown.header and [row[0] for row in shown.rows][1] == "No component"
    notes = " ".join(shown.notes)
    assert "adjusted for the 3 comparisons" in notes
    assert "No runs of: Branch penalty alone, Entropy-aware advantage alone, AEPO (released)." in notes
    assert "Other than" not in notes


def test_what_a_table_was_trained_with_other_than_table_2_is_said_under_it(tmp_path):
    write_results(tmp_path)
    path = write_results(tmp_path, ABLATION, table="table4", variants=SWITCHES) / "results/mini/table4/config.yaml"
    path.write_text(path.read_text().replace(f"steps: {STEPS}", f"steps: {STEPS // 2}"))
    notes = " ".join(write.main_table(write.build(results_of(tmp_path, 4))).notes)
    assert f"{STEPS // 2} RL steps × 4 prompts" in notes
    assert f"Other than the published table 2: training.steps {STEPS // 2} (there {STEPS})." in notes
    assert provenance.differences({"training": {"a": 1}}, {}) == []


def test_variants_from_own_runs_and_from_results_are_the_same_table(root, tmp_path):
    own = load.load_source(
        source=write_runs(tmp_path, ABLATION, table="table4", variants=SWITCHES), experiment="table4"
    )
    published = results_of(root, 4)
    pd.testing.assert_frame_equal(write.build(own).frame, write.build(published).frame)
    assert own.config["rows"]["none"]["method"] == published.config["rows"]["none"]["method"] == "aepo"
    result = compared(published, own)
    assert result.frame["agree"].all() and result.stem == "table4_comparison"
    assert "No component: seeds 0,1,2, same config, all outcomes equal." in result.text


# table 5


def test_the_grid_knows_where_each_cell_lies(root):
    found = table5.grid(results_of(root, 5))
    assert list(dict.fromkeys(found["method"])) == ["grpo", "aepo"]
    cell = found.loc[cell_name("aepo", 1e-3, 4)]
    assert (cell["learning_rate"], cell["updates"]) == (1e-3, 8)  # two passes of four minibatches


def test_the_best_of_the_grid_is_the_best_cell_where_it_stands_out(root):
    source = results_of(root, 5)
    best = table5.best(source)
    built = write.build(source)
    assert best.loc["aepo", "chosen"] == "0.001 · 8 (6 of 6)"
    assert best.loc["aepo", "best_1"] == pytest.approx(built.frame.loc[cell_name("aepo", 1e-3, 4), "pass_1"])
    cells_of = [built.frame.loc[name, "pass_1"] for name in GRID if name.startswith("grpo")]
    assert best.loc["grpo", "grid_mean_1"] == pytest.approx(np.mean(cells_of))
    assert best.loc["grpo", "worst_1"] == pytest.approx(min(cells_of))
    assert min(cells_of) <= best.loc["grpo", "best_1"] <= max(cells_of)
    assert best.loc["aepo", "difference_1"] == pytest.approx(best.loc["aepo", "best_1"] - best.loc["grpo", "best_1"])
    assert best.loc["aepo", "difference_1_bold"] and best.loc["aepo", "p_1"] < 0.05


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
    assert (
        aepo["Best of the grid"] == aepo["0.001 · 8"] == text_table.MISSING and aepo["0.001 · 4"] != text_table.MISSING
    )


def test_table_5_prints_cells_and_best_and_says_how_it_was_chosen(root):
    shown = write.main_table(write.build(results_of(root, 5)))
    assert shown.header[:6] == ["Method", "0.0005 · 4", "0.001 · 4", "0.0005 · 8", "0.001 · 8", "Best of the grid"]
    assert [row[0] for row in shown.rows] == ["GRPO", "AEPO"]
    assert table5.NOTE in shown.notes and "the 1 comparison of" in " ".join(shown.notes)
    assert len(write.terminal_tables(write.build(results_of(root, 5)))) == 2


def test_table_5_without_its_rows_is_refused(tmp_path):
    root = write_results(tmp_path, {"grpo": 0.4}, table="table5")
    with pytest.raises(UserError, match="'grpo' is not a cell of the grid"):
        write.main_table(write.build(results_of(root, 5)))


# many rows


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Nineteen rows of equal success and one that is better."""
    names = [m for m in style.ORDER if m != style.WARM_START][:20]
    success = {m: 0.75 if m == "rloo" else 0.4 for m in names}
    root = write_results(tmp_path_factory.mktemp("many"), success)
    return load.load_source(data_root=root)


def test_many_rows_are_adjusted_and_only_what_is_outside_noise_is_marked(many):
    built = write.build(many)
    assert built.comparisons == 19
    bold = [m for m in built.frame.index if built.frame.loc[m, "difference_1_bold"] is True]
    assert bold == ["rloo"] and built.frame.loc["rloo", "p_1"] < 0.05
    frame = built.frame.drop(index=[style.WARM_START, "grpo"])
    raw = [statistics.two_sided_p(pairing.paired_draws(many.scores[m], many.scores["grpo"])[1]) for m in frame.index]
    assert (frame["p_1"] >= np.array(raw)).all() and np.isnan(built.frame.loc[style.WARM_START, "p_1"])
    shown = write.main_table(built)
    assert len(shown.rows) == 21 and "the 19 comparisons" in " ".join(shown.notes)
    assert len(curves.figure_curves(many, built.spec).axes) == 20


def test_a_row_with_fewer_seeds_is_paired_on_the_common_ones(tmp_path):
    root = write_results(tmp_path, {"grpo": 0.4, "aepo": 0.5}, seeds=(0, 1, 2, 3))
    folder = root / "results" / "mini" / "table2"
    for kind in ("eval", "steps"):
        rows = pd.read_parquet(folder / f"{kind}.parquet")
        save(rows[(rows["method"] != "aepo") | (rows["seed"] == 2)], folder / f"{kind}.parquet", kind)
    source = load.load_source(data_root=root)
    grpo, aepo = source.scores["grpo"], source.scores["aepo"]
    expected = aepo.correct_SQN.mean() - grpo.correct_SQN[2].mean()
    assert pairing.paired(aepo, grpo).value == pytest.approx(expected)
    warm = source.scores[style.WARM_START]
    assert pairing.paired(warm, grpo).value == pytest.approx(warm.correct_SQN.mean() - grpo.correct_SQN.mean())


def test_paired_draws_equal_the_difference_of_the_arrays(many):
    a, b = many.scores["rloo"], many.scores["grpo"]
    draws = pairing.draws_for(3, a.strata_Q)
    expected = statistics.paired_difference(pairing.scores_at(a, a.seeds), pairing.scores_at(b, b.seeds), draws)
    found = pairing.paired(a, b)
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_holm_is_the_step_down_adjustment():
    assert statistics.holm([0.01, 0.04, 0.03, np.nan]) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
    assert statistics.holm([0.5, 0.9]).tolist() == [1.0, 1.0] and statistics.holm([]).size == 0


def test_a_p_value_is_small_where_the_interval_excludes_zero():
    values_D = np.linspace(-0.1, 0.9, 10_001)
    assert statistics.two_sided_p(values_D) == pytest.approx(0.2, abs=0.01)
    assert statistics.two_sided_p(values_D + 1) == pytest.approx(2 / 10_002)
    assert statistics.two_sided_p(np.zeros(10)) == 1.0


def test_ties_between_runs_do_not_hang_on_the_order_of_a_sum():
    one = np.array([[0.1, 0.2, 0.3]])
    draws = statistics.draw(np.random.default_rng(0), 1, np.zeros(3))
    assert statistics.probability_of_improvement(one, one[:, ::-1], draws).value == 0.5


def test_collapsed_runs_are_counted_and_named(tmp_path):
    root = write_results(tmp_path, {"grpo": 0.4, "gppo": 0.1})
    path = root / "results" / "mini" / "table2" / "steps.parquet"
    frame = pd.concat([step_rows(m, s).assign(method=m, seed=s) for m in ("grpo", "gppo") for s in (0, 1, 2)])
    falling = (frame["method"] == "gppo") & (frame["seed"] > 0) & (frame["step"] > 1)
    save(frame.assign(success_mean=np.where(falling, 0.01, 0.3)), path, "steps")
    source = load.load_source(data_root=root)
    assert training_steps.collapsed(source) == {"gppo": (2, 3)}
    assert "GPPO (2 of 3 runs)" in write.main_table(write.build(source)).notes[-1]
    assert training_steps.fallen(source, "gppo").tolist() == [1, 2] and not len(training_steps.fallen(source, "grpo"))
    assert stability.shown(source) == ["grpo", "gppo"] and stability.shown(source, always=()) == ["gppo"]
    assert stability.worst(source).set_index("method")["collapsed"].to_dict() == {"grpo": 0, "gppo": 2}
    panels = stability.figure_runs(source).axes[: len(stability.shown(source))]
    coloured = [sum(line.get_color() == stability.FALLEN for line in axes.lines) for axes in panels]
    assert coloured == [0, 2]
    save(frame.assign(kl_warm_start=float("nan")), path, "steps")  # training.measure_kl: false
    unmeasured = load.load_source(data_root=root)
    assert [row[-1] for row in stability.worst_table(unmeasured).rows] == ["–", "–"]
    stability.figure_runs(unmeasured).canvas.draw()
    assert training_steps.collapse_note(results_of(write_results(tmp_path / "calm"), 2)).endswith("none.")


def test_rows_that_are_the_same_runs_are_named(tmp_path):
    root = write_results(tmp_path, {"grpo": 0.4, "gppo": 0.1, "dapo": 0.4})
    path = root / "results" / "mini" / "table2" / "steps.parquet"
    same = {("gppo", s): step_rows("grpo", s) for s in (0, 1, 2)}
    frames = {(m, s): same.get((m, s), step_rows(m, s)) for m in ("grpo", "gppo", "dapo") for s in (0, 1, 2)}
    save(pd.concat([frame.assign(method=m, seed=s) for (m, s), frame in frames.items()]), path, "steps")
    source = load.load_source(data_root=root)
    assert training_steps.identical(source) == [("grpo", "gppo")]
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
    assert write.main_table(write.build(results_of(root, table))).title == title


# files


@pytest.mark.parametrize("name", ["1", "5"])
def test_every_table_leaves_its_files_and_figures(root, tmp_path, name):
    built = write.build(results_of(root, name))
    files = text_table.save(write.files(built, reported_frame()), tmp_path)
    found = {p.name for p in [*files, *style.save_all(write.figures(built), tmp_path)]}
    ends = {".md", ".tex", ".csv", "_runs.csv", "_time.md", "_time.csv", "_training.pdf", "_training.svg"}
    assert {f"table{name}{end}" for end in ends} <= found
    assert ("table5_heat.svg" in found) == ("table5_best.csv" in found) == (name == "5")
    assert ("table1_reported.csv" in found) == (name == "1")
    assert f"Table {name}" in (tmp_path / f"table{name}.md").read_text()


def test_figures_of_nothing_say_so(tmp_path):
    one = {"grpo": GRID[cell_name("grpo", 1e-3, 2)]}
    root = write_results(tmp_path, {"grpo": 0.4}, seeds=(0,), table="table5", variants=one)
    source = results_of(root, 5).only([style.WARM_START])
    built = table.build(source, write.spec(5))
    assert all(figure.axes for _, figure in write.figures(built))
    assert curves.figure_curves(source, write.spec(2)).axes


def test_tables_without_results_are_one_line_each(tmp_path, monkeypatch):
    root = write_results(tmp_path / "data")
    executed = []

    @contextmanager
    def executing(names, environment, target):
        executed.extend(names)
        yield list

    monkeypatch.setattr(build_module, "executing", executing)
    result = build_module.build_all(data_root=root, figures=tmp_path / "figures", only="tables")
    assert executed == ["table2"]
    assert result.text.splitlines()[-4:] == [
        f"Table {n}: no published results for profile mini, skipped." for n in (1, 3, 4, 5)
    ]
    with pytest.raises(UserError, match="make reproduce-table2.*make publish"):
        build_module.build_all("absent", data_root=root)


def test_the_readme_has_a_block_for_every_table():
    text = (load.ROOT / "README.md").read_text()
    for name in write.SPECS:
        assert readme.block(text, f"table{name}")


def test_unknown_tables_are_refused():
    with pytest.raises(UserError, match="table 6 .* 1, 2, 3, 4, 5"):
        write.spec(6)


@pytest.mark.slow
def test_all_tables_build_headless(root, tmp_path):
    """The notebooks of all tables run on published results, in one go."""
    result = build_module.build_all(data_root=root, figures=tmp_path, only="tables")
    notebooks = {p.stem for p in result.files if p.suffix == ".ipynb"}
    assert notebooks == {"table1", "table2", "table3", "table4", "table5"} and "skipped" not in result.text
    for title in ("mini-knowledge and mini-math", "EPO on MiniHouse", "Components of AEPO", "One grid for every"):
        assert title in result.text
    for path in result.files:
        if path.suffix == ".ipynb":
            outputs = [o for c in json.loads(path.read_text())["cells"] for o in c.get("outputs", [])]
            assert outputs and not any(o["output_type"] == "error" for o in outputs)
