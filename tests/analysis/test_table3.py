"""Table 3 and EPO's figures, on small synthetic results: both statistics, both splits, EPO against its base."""

import numpy as np
import pandas as pd
import pytest
import yaml
from synthetic import STEPS, compared, papers, save, write_results, write_runs

from analysis import epo, load, pairing, reported, statistics, style, table3, text_table, write
from analysis.build import build_all

SUCCESS = {"ppo": 0.3, "ppo+epo": 0.7, "grpo": 0.4, "grpo+epo": 0.4, "epo-base": 0.3}
KINDS = ("look_at_obj_in_light", "pick_two_obj_and_place")
WORLD = {"families": KINDS, "splits": ("iid", "ood"), "samples": 2}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Published results of table 3: checks at steps 2, 4 and 6, whose best is known."""
    root = write_results(tmp_path_factory.mktemp("data"), SUCCESS, table="table3", **WORLD)
    folder = root / "results" / "mini" / "table3"
    steps = pd.read_parquet(folder / "steps.parquet")
    due = steps["step"] % 2 == 0
    steps["check_success_iid"] = np.where(due, 0.1 * steps["step"] + 0.01 * steps["seed"], np.nan)
    steps["check_success_ood"] = np.where(due, np.where(steps["step"] == 4, 0.5, 0.25), np.nan)
    smooth = steps["method"].isin(["ppo+epo", "grpo+epo"])
    for column, value in {
        "epo_share_below": 0.0,
        "epo_share_above": 0.2,
        "epo_factor_below": 1.1,
        "epo_factor_above": 0.9,
        "epo_phase_weight": 2 - 0.1 * steps["step"],
        "epo_reference_entropy": 0.3,
    }.items():
        steps[column] = np.where(smooth & (steps["step"] > 1), value, np.nan)
    save(steps, folder / "steps.parquet", "steps")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    checks = {"evaluation": {"checks": {"every": 2, "questions": 16}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config | checks))
    return load.load_source("mini", "table3", data_root=root)


@pytest.fixture(scope="module")
def built(source):
    return write.build(source)


def test_a_column_per_split_and_their_average(source, built):
    rows = source.evals[source.evals["method"] == "ppo+epo"]
    row = built.frame.loc["ppo+epo"]
    assert built.parts == ["split_iid", "split_ood"]
    for split in ("iid", "ood"):
        assert row[f"split_{split}"] == pytest.approx(100 * rows.loc[rows["split"] == split, "correct"].mean())
    assert row["pass_1"] == pytest.approx(row[["split_iid", "split_ood"]].mean())


def test_the_papers_statistic_is_the_mean_over_seeds_of_the_best_evaluation(source, built):
    assert table3.best_of_checks(source, "grpo", "iid") == pytest.approx([0.6, 0.61, 0.62])
    row = built.frame.loc["grpo"]
    ends = statistics.over_seeds(np.array([60, 61, 62])).interval()
    assert (row["best_iid"], row["best_iid_low"]) == (pytest.approx(61), pytest.approx(ends.low))
    assert row["best_ood"] == pytest.approx(50)
    assert np.isnan(built.frame.loc[style.WARM_START, "best_iid"])
    shown = write.main_table(built)
    grpo = dict(zip(shown.header, next(r for r in shown.rows if r[0] == "GRPO"), strict=True))
    assert grpo["IID, best of training"].startswith("61.0 [") and grpo["OOD, best of training"].startswith("50.0")
    assert "best of 3 evaluations of 16 random tasks a split" in " ".join(shown.notes)
    assert "Turns" in shown.header and len(write.terminal_tables(built)) == 3


def test_every_epo_row_stands_against_the_same_method_without_it(source):
    frame, adjusted = table3.effects(source)
    assert list(frame.index) == ["ppo+epo", "grpo+epo", "epo-base"]
    assert frame["against"].tolist() == ["ppo", "grpo", "ppo"]
    scores = source.scores
    expected = 100 * (scores["ppo+epo"].correct_SQN.mean() - scores["ppo"].correct_SQN.mean())
    assert frame.loc["ppo+epo", "both"] == pytest.approx(expected)
    raw = [pairing.difference(scores[m], scores[b]).p() for m, b in frame["against"].items()]
    assert frame["p"].tolist() == raw and adjusted.confirmed == ("ppo+epo", "grpo+epo") and adjusted.exploratory == 1
    assert frame["adjusted_p"].tolist() == pytest.approx([*statistics.holm(raw[:2]), raw[2]])
    shown = table3.effects_table(source)
    assert shown.bold == {(i, 4) for i, p in enumerate(frame["adjusted_p"]) if p < 0.05}
    assert shown.rows[0][:2] == ["EPO on PPO", "PPO"] and shown.rows[0][-1] == "3, 3"
    assert not len(table3.effects(source.only(["ppo+epo"]))[0])


def test_the_papers_numbers_are_by_environment_and_split():
    epo_rows = {"table": "Table 1", "model": "Qwen2.5-7B", "source": "EPO", "dataset": "ScienceWorld"}
    cells = [
        epo_rows | {"method": "PPO+EPO", "split": "IID", "metric": "Succ.* (best)", "value": "100.0"},
        epo_rows | {"method": "PPO", "split": "OOD", "metric": "Succ. (window)", "value": "39.1"},
        epo_rows | {"method": "PPO", "split": "OOD", "metric": "relative change of Succ.", "value": "7.0"},
    ]
    frame = pd.concat([papers(), *(papers().iloc[:1].assign(**cell) for cell in cells)], ignore_index=True)
    frame = frame.assign(number=pd.to_numeric(frame["value"], errors="coerce"))
    found = reported.reported_cells(frame, table3.SPEC.reported)
    assert found["method"].tolist() == ["PPO", "PPO+EPO"]
    assert found["ScienceWorld IID"].tolist()[1] == 100.0 and found["ScienceWorld OOD"].tolist()[0] == 39.1


def test_the_committed_numbers_of_the_paper_fill_the_block():
    found = reported.reported_cells(reported.load_reported(load.ROOT / "data" / "papers"), table3.SPEC.reported)
    best = found[found["metric"].str.startswith("Succ.*") & (found["method"] == "PPO+EPO")]
    assert best["ScienceWorld IID"].max() == 100.0 and len(found) > 8


def test_variance_and_factor_are_what_they_are_called(source):
    steps = epo.step_values(source)
    run = steps[(steps["method"] == "ppo+epo") & (steps["seed"] == 1)].sort_values("step")
    assert run["entropy_variance"].isna().sum() == epo.WINDOW - 1
    last = run["entropy"].iloc[-epo.WINDOW :]
    assert run["entropy_variance"].iloc[-1] == pytest.approx(last.var())
    assert run["factor"].iloc[1:].to_numpy() == pytest.approx(1 - 0.2 * 0.1) and np.isnan(run["factor"].iloc[0])
    assert steps.loc[steps["method"] == "ppo", "factor"].isna().all()
    shown = epo.factor_table(source, epo.CORE)
    assert [row[0] for row in shown.rows] == ["EPO on PPO", "EPO on GRPO"]
    assert shown.rows[0][1].startswith("20.00") and shown.rows[0][5:] == ["1.800", f"{2 - 0.1 * STEPS:.3f}"]


def test_figures_have_a_line_per_trained_method_and_a_panel_per_quantity(source):
    figure = epo.figure_curves(source, epo.CORE, "title").figure
    assert len(figure.axes) == 2 * len(epo.CURVES), "a line of panels for each row with EPO"
    lines = {axes.get_title(loc="left"): len(axes.lines) for axes in figure.axes[: len(epo.CURVES)]}
    assert lines["Success, %"] == 2 and lines["Above, %"] == 1, "the base has no corridor"
    last = epo.figure_last(source, epo.ABLATION, "title").figure
    assert [axes.get_title(loc="left") for axes in last.axes] == ["IID", "OOD", "Both"]
    empty = epo.figure_curves(source, ("gigpo",), "title", ("success",)).figure
    assert [text.get_text() for text in empty.axes[0].texts] == ["no runs"]
    assert len(epo.entropy_table(source, epo.CORE).rows) == 4


def test_its_files_hold_epos_effects(built):
    found = write.files(built, None)
    assert {"table3.md", "table3.csv", "table3_epo.csv", "table3_pairs.csv"} <= set(found)
    assert "table3_reported.csv" not in found
    assert "What EPO adds to its base method" in found["table3.md"] and text_table.MISSING in found["table3.md"]


def test_own_runs_agree_with_the_published_ones(source, tmp_path):
    own = load.load_source(source=write_runs(tmp_path, SUCCESS, table="table3", **WORLD), experiment="table3")
    result = compared(source, own)
    assert (
        result.stem == "table3_comparison"
        and "EPO on PPO: seeds 0,1,2, same config, all outcomes equal." in result.files()["table3_comparison.md"]
    )
    rates = result.frame[result.frame["cell"].isin(["split_iid", "split_ood", "pass_1"])]
    assert len(rates) == 3 * (len(SUCCESS) + 1) and rates["agree"].all()
    assert "best_iid" in set(result.frame["cell"]) and "iid, best of training" in result.files()["table3_comparison.md"]


@pytest.mark.slow
def test_the_figures_build_headless(source, tmp_path):
    result = build_all(data_root=source.folder.parents[2], figures=tmp_path, only="figures")
    names = {p.stem for p in result.files}
    assert {"figure_epo_dynamics", "figure_epo_ablation", "epo_dynamics", "epo_ablation", "epo_ablation_last"} <= names
