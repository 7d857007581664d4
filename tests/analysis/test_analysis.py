"""analysis/: read, tabulate, compare, draw and build, on small synthetic results written to a temporary folder."""

import functools
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from synthetic import (
    CONFIG,
    METHODS,
    QUESTIONS,
    SAMPLES,
    STEPS,
    TRAINING,
    compared,
    eval_rows,
    manifest,
    reported_frame,
    save,
    write_results,
    write_runs,
)

from analysis import (
    comparison,
    diversity,
    entropy,
    execute,
    format,
    load,
    machines,
    reported,
    style,
    text_table,
    training_steps,
    write,
)
from analysis import table as tables
from analysis.build import build
from reproduce.errors import UserError
from reproduce.runs import files, schema

SPEC = write.SPECS["2"]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def published(data_root):
    return load.load_source(data_root=data_root)


@pytest.fixture(scope="module")
def table(published):
    return write.build(published)


# reading


def test_runs_and_results_give_the_same_frames(tmp_path, published):
    own = load.load_source(source=write_runs(tmp_path / "runs"))
    pd.testing.assert_frame_equal(own.evals, published.evals)
    pd.testing.assert_frame_equal(own.steps, published.steps)
    assert own.methods == published.methods == ["warm_start", "grpo", "dapo", "arpo", "aepo"]
    pd.testing.assert_frame_equal(write.build(own).frame, write.build(published).frame)


def test_unfinished_runs_are_not_read(tmp_path):
    root = write_runs(tmp_path, {"grpo": 0.4}, seeds=(0, 1))
    path = root / "mini" / "table2" / "grpo" / "1" / "manifest.json"
    path.write_text(json.dumps(manifest("grpo", 1, status="running")))
    assert load.load_source(source=root).scores["grpo"].seeds == (0,)


def test_runs_of_two_configs_make_no_table(tmp_path):
    root = write_runs(tmp_path)
    path = root / "mini" / "table2" / "dapo" / "2" / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG | {"method": "dapo", "seed": 2, "algorithm": {"clip_high": 0.3}}))
    with pytest.raises(UserError, match=r"dapo/2.*other settings"):
        load.load_source(source=root)
    other = {"method": "dapo", "seed": 2, "training": TRAINING | {"steps": STEPS + 1}}
    path.write_text(yaml.safe_dump(CONFIG | other))
    with pytest.raises(UserError, match=r"'training'"):
        load.load_source(source=root)
    path.unlink()
    with pytest.raises(UserError, match=r"dapo/2/config.yaml does not exist"):
        load.load_source(source=root)


def test_score_array_holds_each_answer_at_its_seed_question_and_sample(published):
    scores = published.scores["dapo"]
    raw = eval_rows("dapo", 1, METHODS["dapo"]).set_index(["question_id", "sample"])["correct"]
    assert scores.correct_SQN.shape == (3, QUESTIONS, SAMPLES)
    for q, question in enumerate(scores.questions):
        assert scores.correct_SQN[1, q].tolist() == [raw[question, s] for s in range(SAMPLES)]
        assert scores.levels_Q[q] == 1 + int(question[1:]) % 3


@pytest.mark.parametrize("name", ["eval.parquet", "manifests.json", "steps.parquet", "config.yaml"])
def test_missing_or_broken_files_are_named(tmp_path, name):
    root = write_results(tmp_path)
    path = root / "results" / "mini" / "table2" / name
    for content in (b"\x00{: half a file", None):
        path.write_bytes(content) if content else path.unlink()
        if name == "config.yaml" and content is None:
            continue
        with pytest.raises(UserError, match=re.escape(name)) as caught:
            source = load.load_source(data_root=root)
            _ = source.scores, source.steps
        assert "\n" not in str(caught.value)


def test_absent_input_is_one_line(tmp_path):
    for call in (
        lambda: load.load_source(data_root=tmp_path),
        lambda: load.load_source(source=tmp_path),
        lambda: build(data_root=tmp_path),
    ):
        with pytest.raises(UserError, match="does not exist"):
            call()
    (tmp_path / "mini" / "table2").mkdir(parents=True)
    with pytest.raises(UserError, match="no finished run"):
        load.load_source(source=tmp_path)


def test_partial_evaluation_and_other_panels_are_refused(tmp_path):
    root = write_results(tmp_path)
    path = root / "results" / "mini" / "table2" / "eval.parquet"
    full = pd.read_parquet(path)
    save(full.iloc[:-1], path, "eval")
    with pytest.raises(UserError, match=r"eval\.parquet: method aepo has 359 rows.*360.*seed 2 has 119"):
        _ = load.load_source(data_root=root).scores
    save(full[(full["method"] != "aepo") | (full["question_id"] != "q000")], path, "eval")
    with pytest.raises(UserError, match="different panels"):
        _ = load.load_source(data_root=root).scores
    save(full, path, "eval")
    files.write_table(path, files.read_table(path, schema.labelled(schema.EVAL_SCHEMA)).drop_columns("correct"))
    with pytest.raises(UserError, match="'correct'"):
        _ = load.load_source(data_root=root).scores


# table 2


def test_cells_are_the_means_of_the_rows(table, published):
    rows = published.evals[published.evals["method"] == "arpo"]
    row = table.frame.loc["arpo"]
    assert row["pass_1"] == pytest.approx(100 * rows["correct"].mean())
    assert row["pass_5"] == pytest.approx(100 * rows.groupby(["seed", "question_id"])["correct"].any().mean())
    assert row["level_2"] == pytest.approx(100 * rows.loc[rows["level"] == 2, "correct"].mean())
    assert row["difference_1"] == pytest.approx(row["pass_1"] - table.frame.loc["grpo", "pass_1"])
    assert row["sampled_tokens"] == 1000 * STEPS and row["trajectories"] == 64 * STEPS
    for column in ("pass_1", "pass_5", "level_2", "difference_1"):
        assert row[f"{column}_low"] < row[column] < row[f"{column}_high"]
    assert table.frame.loc["warm_start", "n_seeds"] == 1 and row["n_seeds"] == 3


def test_bold_needs_every_paired_interval_to_exclude_zero(table, published, tmp_path):
    assert [m for m in table.frame.index if table.frame.loc[m, "pass_1_bold"] == 1] == ["aepo"]
    pairs = tables.pairs(published).set_index(["method", "against"])
    assert all(pairs.loc[("aepo", m), "difference_low"] > 0 for m in ("warm_start", "grpo", "dapo", "arpo"))
    close = load.load_source(data_root=write_results(tmp_path, {"grpo": 0.40, "aepo": 0.41}))
    assert not format.main_table(write.build(close)).bold


def test_missing_methods_and_costs_are_dashes(tmp_path):
    few = write.build(load.load_source(data_root=write_results(tmp_path, {"dapo": 0.4}, seeds=(0,))))
    shown = format.main_table(few)
    found = {row[0]: row[1:] for row in shown.rows}
    assert set(found["GRPO"]) == set(found["AEPO"]) == {text_table.MISSING}
    assert found["DAPO"][5] == text_table.MISSING and found["DAPO"][-1] == "1"
    assert found["Warm start"][-2] == text_table.MISSING
    assert any(note == "No runs of: GRPO, ARPO, AEPO." for note in shown.notes)


def test_pass_at_5_needs_five_samples(tmp_path):
    root = write_results(tmp_path)
    path = root / "results" / "mini" / "table2" / "eval.parquet"
    rows = pd.read_parquet(path)
    save(rows[rows["sample"] < 2], path, "eval")
    source = load.load_source(data_root=root)
    assert all(r[5] == text_table.MISSING for r in format.main_table(write.build(source)).rows)
    assert list(diversity.pass_at_k_curve(source, "grpo").index) == [1, 2]


def test_provenance_stands_under_the_table_and_nothing_that_changes(table):
    notes = "\n".join(write.main_table(table).notes)
    for part in (
        "Commit: 0123456789ab.",
        "GRPO grpo0",
        "Seeds: all rows: 0,1,2.",
        f"{STEPS} RL steps × 4 prompts × 4 trajectories; 4 updates per rollout",
        "AEPO by Holm, see the confirmatory comparisons; the other 2 explore",
        "Test CPU, 2 cores, 8 GB, no GPU",
        "24 questions (level 1: 8, level 2: 8, level 3: 8) × 5 samples",
    ):
        assert part in notes
    assert "2025" not in notes and "minute" not in notes.lower()


def test_time_changes_only_the_time_files(tmp_path, published):
    slow = load.load_source(data_root=write_results(tmp_path / "data"))
    slow.manifests[:] = [
        m | {"cost": m["cost"] | {"seconds_total": 999.0}, "finished_at": "2026-02-02"} for m in slow.manifests
    ]
    fast, slow = (write.files(write.build(source), reported_frame()) for source in (published, slow))
    assert {name for name in fast if fast[name] != slow[name]} == {"table2_time.md", "table2_time.csv"}
    assert {"table2.md", "table2.tex", "table2.csv"} < set(fast)


def test_files_show_the_same_numbers(table, tmp_path):
    text_table.save(write.files(table, reported_frame()), tmp_path)
    value = f"{table.frame.loc['aepo', 'pass_1']:.1f}"
    assert f"**{value} ± " in (tmp_path / "table2.md").read_text()
    assert rf"\textbf{{{value} $\pm$ " in (tmp_path / "table2.tex").read_text()
    assert f"**{value} [" in (tmp_path / "table2_appendix.md").read_text()
    assert pd.read_csv(tmp_path / "table2.csv", index_col="method").loc["aepo", "pass_1"] == pytest.approx(
        table.frame.loc["aepo", "pass_1"], abs=1e-4
    )


def test_reported_block_is_labelled_and_holds_only_whole_deep_search_sets(table):
    found = reported.reported_cells(reported_frame(), SPEC.reported)
    assert found["reported_by"].tolist() == ["the paper", "the paper", "third party"]
    assert found.loc[found["method"] == "GRPO", "GAIA"].tolist() == [36.9]
    assert found["WebWalkerQA"].dropna().tolist() == [20.0]
    first = reported.reported_cells(reported_frame(), write.SPECS["1"].reported)
    assert first[["AIME24", "WebWalkerQA"]].values.tolist() == [
        [10.0, 30.0]
    ]  # the same set, in a table of table 1's kind
    text = write.files(table, reported_frame())["table2_appendix.md"]
    measured, block = text.split("## Reported numbers (not measured here)")
    assert "47.6" in block and "47.6" not in measured and "not comparable" in block
    assert "51.2" not in block and "– |" in block


def test_latex_escapes_what_latex_would_read():
    assert text_table.escape("a_b & 5 % – #{x}") == r"a\_b \& 5 \% -- \#\{x\}"


@pytest.mark.parametrize(
    ("number", "shown"), [(950, "950"), (1234, "1.23 k"), (999_400, "999 k"), (1_234_567, "1.23 M"), (np.nan, "–")]
)
def test_human_numbers(number, shown):
    assert format.human(number) == shown


# comparison


def test_comparison_of_equal_results_agrees_everywhere(tmp_path, published):
    own = load.load_source(source=write_runs(tmp_path))
    result = compared(published, own)
    assert result.frame["agree"].all() and len(result.frame) > 30
    page = result.files()["table2_comparison.md"]
    assert "GRPO: seeds 0,1,2, same config, all outcomes equal." in page and comparison.DEFINITION in page
    assert [row[-1] for row in result.table.rows] == [comparison.IDENTICAL] * len(own.scores)
    assert f"All {len(result.frame)} numbers that both tables hold are the same within noise" in result.text


def test_comparison_finds_the_cells_that_differ(tmp_path, published):
    own = load.load_source(source=write_runs(tmp_path, METHODS | {"grpo": 0.95}, seeds=(0, 1)))
    result = compared(published, own)
    found = result.frame.set_index(["method", "cell"])
    assert not found.loc[("grpo", "pass_1"), "agree"]
    assert found.loc[("aepo", "pass_1"), "agree"]
    a = found.loc[("grpo", "pass_1")]
    assert a["yours_low"] > a["published_high"]
    page = result.files()["table2_comparison.md"]
    assert re.search(r"GRPO: seeds 0,1, same config, \d+\.\d % of outcomes equal", page)
    said = {row[0]: row[-1] for row in result.table.rows}
    assert said["GRPO"] == comparison.HIGHER and said["AEPO"] == comparison.IDENTICAL
    same = int(result.frame["agree"].dropna().sum())
    text = " ".join(result.text.split())
    assert f"{same} of {len(result.frame['agree'].dropna())} numbers that both hold" in text
    assert re.search(r"beside the scores not: .*GRPO, level \d: higher than noise explains", text)


def test_comparison_shows_yours_the_published_value_and_the_difference(tmp_path, published):
    own = load.load_source(source=write_runs(tmp_path, METHODS | {"grpo": 0.95}, seeds=(0, 1)))
    result = compared(published, own)
    found = result.frame.set_index(["method", "cell"]).loc[("grpo", "pass_1")]
    header, line = (
        next(line for line in result.text.splitlines() if re.match(start, line)) for start in ("Method", "GRPO ")
    )
    assert header.split() == ["Method", "Yours", "Published", "Difference", "In", "words"]
    assert line.index(f"{found['yours']:.1f} [") < line.index(f"{found['published']:.1f} [")
    assert f" +{found['yours'] - found['published']:.1f}  higher than noise explains" in line
    assert max(map(len, result.text.splitlines())) <= 120


def test_comparison_leaves_missing_methods_unjudged(tmp_path, published):
    own = load.load_source(source=write_runs(tmp_path, {"grpo": 0.35}))
    result = compared(published, own)
    found = result.frame.set_index(["method", "cell"])
    assert found.loc[("aepo", "pass_1"), "agree"] is None and np.isnan(found.loc[("aepo", "pass_1"), "yours"])
    page = result.files()["table2_comparison.md"]
    assert "Published, but not run by you: DAPO, ARPO, AEPO." in page and "AEPO: " not in page
    assert [row[0] for row in result.table.rows] == ["Warm start", "GRPO"]


def on_another(manifests, **changes):
    """The manifests as another machine would have written them. changes: sections, merged."""
    return [m | {name: m[name] | change for name, change in changes.items()} for m in manifests]


def test_comparison_names_what_differs_between_the_machines(tmp_path, data_root):
    published = load.load_source(data_root=data_root)
    own = load.load_source(source=write_runs(tmp_path, {"grpo": 0.35}))
    assert comparison.other_machine(published, own) == [] and "Other " not in compared(published, own).text
    known = on_another(own.manifests, machine={"instruction_set": "AVX2"}, versions={"torch": "2.13.0+cpu"})
    published.manifests[:] = on_another(published.manifests, versions={"torch": "2.13.0+cpu", "python": "3.11.7"})
    own.manifests[:] = known
    assert comparison.other_machine(published, own) == [], "what only one of the two knows is no difference"
    facts = {"cpu": "Intel(R) Xeon(R)", "instruction_set": "AVX512", "gpu": None}
    own.manifests[:] = on_another(own.manifests, machine=facts, versions={"torch": "2.13.0", "python": "3.13.1"})
    published.manifests[:] = on_another(published.manifests, machine={"instruction_set": "AVX2"})
    expected = [
        "Other processor: yours Intel(R) Xeon(R); published Test CPU.",
        "Other instruction set: yours AVX512; published AVX2.",
        "Other torch: yours 2.13.0; published 2.13.0+cpu.",
        machines.WHY,
    ]
    assert comparison.other_machine(published, own) == expected
    shown = " ".join(compared(published, own).text.split())
    assert all(line in shown for line in expected)


def test_comparison_looks_only_at_runs_that_both_hold(tmp_path, published):
    own = load.load_source(source=write_runs(tmp_path, {"grpo": 0.35}, seeds=(5,)))
    trained = [m for m in own.manifests if m["method"] == "grpo"]
    own.manifests[:] = on_another(trained, machine={"cpu": "Another CPU"})
    assert comparison.other_machine(published, own) == []


# entropy and diversity


def test_premises_hold_where_the_data_say_so(published):
    rows = entropy.premises(published)
    assert rows["holds"].tolist() == ["yes"] * len(rows) and len(rows) == 9
    assert rows["measured"].iloc[0] == pytest.approx(0.4, abs=0.01)
    assert rows["measured"].iloc[7] == pytest.approx(0.25, abs=1e-6)
    assert entropy.premises(published, "aepo")["holds"].iloc[7] == "no"


def test_premises_without_the_baseline_or_the_warm_start_are_dashes(tmp_path):
    root = write_results(tmp_path, {"dapo": 0.4})
    path = root / "results" / "mini" / "table2" / "eval.parquet"
    rows = pd.read_parquet(path)
    save(rows[rows["method"] == "dapo"], path, "eval")
    source = load.load_source(data_root=root)
    assert entropy.premises(source)["holds"].tolist() == ["–", "–"]
    assert format.main_table(write.build(source)).rows[0][1:] == ["–"] * 12


def test_one_seed_has_no_interval_over_seeds_and_proves_no_premise(tmp_path):
    source = load.load_source(source=write_runs(tmp_path, seeds=(0,)))
    rows = entropy.premises(source)
    assert rows["measured"].notna().all() and rows["holds"].tolist() == ["–"] * 8 + ["yes"]
    assert entropy.premises_table(source).rows[0][2] == "–"
    assert np.isnan(diversity.cluster_count(diversity.clusters(source), "grpo").low)
    assert compared(source, source).frame["agree"].all()
    entropy.figure_clip(source)


def test_undefined_steps_are_left_out(published):
    source = load.Source(
        **{k: getattr(published, k) for k in ("profile", "experiment", "origin", "folder", "manifests", "config")}
    )
    source.steps.loc[source.steps["step"] == 1, "entropy_outside"] = np.nan
    assert np.isfinite(training_steps.per_seed(source, "grpo", "entropy_outside")).all()
    source.steps["entropy_outside"] = np.nan
    rows = entropy.premises(source).set_index("premise")
    assert rows.loc[rows.index.str.startswith("3b"), "holds"].tolist() == ["–"]


def test_cluster_count_finds_separate_groups(tmp_path):
    """Every run answers in its method's number of fixed ways; that number is what is counted."""
    root = write_results(tmp_path, {"grpo": 0.4, "aepo": 0.4})
    path = root / "results" / "mini" / "table2" / "eval.parquet"
    rows = pd.read_parquet(path)
    ways = {"warm_start": 2, "grpo": 3, "aepo": 4}
    assert QUESTIONS >= diversity.MIN_SAMPLES * max(ways.values())
    way = [int(q[1:]) % ways[m] for q, m in zip(rows["question_id"], rows["method"], strict=True)]
    rows["text"] = [" ".join(f"w{i}_{j}" for j in range(12)) for i in way]
    rows["actions"] = [f"a{i}" for i in way]
    save(rows, path, "eval")
    source = load.load_source(data_root=root)
    found = diversity.clusters(source)
    assert {m: diversity.cluster_count(found, m).value for m in ways} == ways
    assert diversity.distinct_actions(source, "aepo").value == 1.0
    per_run = found.points.groupby(["method", "seed"]).size()
    assert per_run.nunique() == 1


def test_distance_grows_with_what_the_samples_of_a_question_differ_in(tmp_path):
    root = write_results(tmp_path, {"grpo": 0.4, "arpo": 0.4, "aepo": 0.4})
    path = root / "results" / "mini" / "table2" / "eval.parquet"
    rows = pd.read_parquet(path)
    kinds = {"warm_start": 1, "grpo": 1, "arpo": 2, "aepo": 5}
    kind = [s % kinds[m] for s, m in zip(rows["sample"], rows["method"], strict=True)]
    rows["text"] = [f"{q}_{k} b{q}_{k}" for q, k in zip(rows["question_id"], kind, strict=True)]
    save(rows, path, "eval")
    found = diversity.distances(load.load_source(data_root=root))
    values = {method: e.value for method, e in found.items()}
    assert values == pytest.approx({"warm_start": 0.0, "grpo": 0.0, "arpo": 6 / 10, "aepo": 1.0}, abs=1e-9)


def test_questions_without_text_are_left_out_of_the_distance(tmp_path, published):
    root = write_results(tmp_path)
    path = root / "results" / "mini" / "table2" / "eval.parquet"
    rows = pd.read_parquet(path)
    rows.loc[rows["question_id"] >= "q012", "text"] = None
    save(rows, path, "eval")
    some, all_texts = diversity.distances(load.load_source(data_root=root)), diversity.distances(published)
    assert all(0 < some[m].value < 1 and some[m].value != all_texts[m].value for m in METHODS)
    assert diversity.clusters(load.load_source(data_root=root)).points.groupby(["method", "seed"]).size().eq(12).all()


def test_distinct_actions_counts_inside_a_question(published):
    rows = published.evals[published.evals["method"] == "grpo"]
    expected = rows.groupby(["seed", "question_id"])["actions"].apply(lambda a: len(set(a))).mean()
    assert diversity.distinct_actions(published, "grpo").value == pytest.approx(expected)


def test_pass_at_k_curve_rises_from_pass_at_1(published, table):
    curve = diversity.pass_at_k_curve(published, "aepo")
    assert curve["value"].is_monotonic_increasing
    assert curve.loc[1, "value"] == pytest.approx(table.frame.loc["aepo", "pass_1"])
    assert curve.loc[5, "value"] == pytest.approx(table.frame.loc["aepo", "pass_5"])


def test_results_without_texts_still_count_actions(tmp_path):
    root = write_results(tmp_path, {"grpo": 0.4})
    path = root / "results" / "mini" / "table2" / "eval.parquet"
    save(pd.read_parquet(path).assign(text=None), path, "eval")
    source = load.load_source(data_root=root)
    found = diversity.clusters(source)
    row = diversity.diversity_table(source, found, diversity.distances(source)).rows[1]
    assert row[1] == row[3] == "–" and row[2] != "–"
    assert diversity.figure_measures(source, diversity.distances(source)).figure.axes


def test_figures_have_the_same_bytes_and_no_date(published, tmp_path):
    first, second = (
        style.save(entropy.figure_training(published).figure, tmp_path / folder, "entropy_training").read_bytes()
        for folder in ("a", "b")
    )
    assert first == second and b"CreationDate" not in first


def test_a_method_keeps_its_colour(published):
    colours = [style.colour(m) for m in style.MAIN]
    assert len(set(colours)) == len(colours) == 8, "at most eight at once"
    assert style.colour("ppo") == style.colour("new-one") == style.REST[0], "the rest is grey"
    assert style.order(["aepo", "zeta", "grpo", "warm_start"]) == ["warm_start", "grpo", "aepo", "zeta"]
    assert style.shown(["ppo", "aepo", "zeta", "warm_start"]) == ["warm_start", "aepo"]
    assert style.shown(["zeta"]) == ["zeta"]
    assert [style.name(m) for m in ("aepo-released", "dr-grpo", "reinforce++-baseline", "new-one")] == [
        "AEPO (released)",
        "Dr. GRPO",
        "REINFORCE++ (baseline)",
        "NEW-ONE",
    ]


def test_every_logged_column_is_in_the_glossary():
    text = (load.ROOT / "analysis" / "README.md").read_text()
    defined = set(re.findall(r"`([a-z0-9_]+)`", text))
    for start, end in (("entropy_turn_", schema.TURNS), ("entropy_pos_", schema.POSITIONS)):
        if f"{start}0" in defined and f"{start}{end - 1}" in defined:
            defined |= {f"{start}{i}" for i in range(end)}
    logged = {
        *schema.STEPS_SCHEMA.names,
        *schema.TIMINGS_SCHEMA.names,
        *schema.ROLLOUTS_SCHEMA.names,
        *schema.EVAL_SCHEMA.names,
    }
    assert sorted(logged - defined) == []


def test_every_table_column_is_in_the_glossary(table):
    text = (load.ROOT / "analysis" / "README.md").read_text()
    columns = {re.sub(r"_(low|high|bold)$", "", c) for c in table.frame.columns}
    missing = [c for c in columns if f"`{re.sub('level_.', 'level_1', c)}`" not in text]
    assert missing == []


# build


@pytest.mark.parametrize("bad", [{"table": 7}, {"source": "wandb"}, {"only": "slides"}])
def test_unknown_arguments_are_refused(bad):
    with pytest.raises(UserError, match=next(iter(map(str, bad.values())))):
        build(**bad)


FOLDERS = {"everything": None, "again": "figures"}


@pytest.mark.slow
def test_build_is_complete_and_repeatable(data_root, tmp_path):
    """All notebooks run headless on published results; a second time the figures have the same bytes."""
    results = [build(data_root=data_root, figures=tmp_path / name, only=only) for name, only in FOLDERS.items()]
    names = [
        {p.relative_to(tmp_path / n): p.read_bytes() for p in r.files} for n, r in zip(FOLDERS, results, strict=True)
    ]
    assert len(names[1]) == 11 and names[1].items() <= names[0].items()  # eight figures, three notebooks
    stems = {p.name for p in names[0]}
    assert {
        "table2.ipynb",
        "figure_entropy.ipynb",
        "figure_entropy_family.ipynb",
        "figure_diversity.ipynb",
        "table2.md",
        "table2.tex",
        "table2.csv",
        "entropy_training.pdf",
        "entropy_clip.pdf",
        "table2_appendix.md",
        "table2_forest.pdf",
        "tables.tex",
        "diversity_pass_at_k.pdf",
    } <= stems
    assert "Average pass@1" in results[0].text
    for path, content in names[0].items():
        if path.suffix == ".ipynb":
            assert str(tmp_path).encode() not in content and str(load.ROOT).encode() not in content
            notebook = json.loads(content)
            assert all(c["execution_count"] for c in notebook["cells"] if c["cell_type"] == "code")
            assert not any(
                o["output_type"] == "error" or o.get("name") == "stderr"
                for c in notebook["cells"]
                for o in c.get("outputs", [])
            )


@pytest.mark.slow
def test_build_from_own_runs_compares_and_leaves_the_committed_notebooks_alone(data_root, tmp_path):
    committed = {p: p.read_bytes() for p in (load.ROOT / "analysis").glob("*.ipynb")}
    write_runs(tmp_path / "runs")
    result = build(
        source="runs", runs_root=tmp_path / "runs", only="tables", figures=tmp_path / "figures", data_root=data_root
    )
    assert tmp_path / "runs" / "mini" / "table2" / "notebooks" / "table2.ipynb" in result.files
    assert tmp_path / "figures" / "table2_comparison.md" in result.files
    assert "yours beside the published one" in result.text and comparison.IDENTICAL in result.text
    assert committed == {p: p.read_bytes() for p in (load.ROOT / "analysis").glob("*.ipynb")}
    assert load.load_source(source=tmp_path / "runs").methods[0] == "warm_start"


@pytest.mark.slow
def test_bad_input_inside_a_notebook_is_one_line(data_root, tmp_path):
    with pytest.raises(UserError, match="profile absent"):
        execute.execute(
            {"table2": "table"}, {"REPRODUCE_PROFILE": "absent", "REPRODUCE_DATA": str(data_root)}, tmp_path / "made"
        )
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("1 / 0", RuntimeError, "notebook two, cell 1: .*ZeroDivisionError"),
        ("import time; time.sleep(60)", UserError, "notebook two, cell 1: took longer than 2 s"),
        ("import os; os._exit(1)", UserError, "notebook two, cell 1: was stopped before its end .*build again"),
    ],
)
def test_a_notebook_that_fails_is_named_with_its_cell_and_nothing_is_saved(tmp_path, monkeypatch, code, kind, words):
    monkeypatch.setattr(execute, "SOURCES", tmp_path)
    monkeypatch.setattr(execute, "TIMEOUT", 2)
    for name, cells in {"one": ["1"], "two": ["1", code]}.items():
        (tmp_path / f"{name}.py").write_text("".join(f"# %%\n{cell}\n" for cell in cells))
    with pytest.raises(kind, match=f"(?s){words}"):
        execute.execute({"one": "one", "two": "two"}, {}, tmp_path / "made")
    assert not (tmp_path / "made").exists()


INTERRUPTED = """
import pathlib
from analysis import execute
from reproduce.exits import exit_code

folder = pathlib.Path({folder!r})
execute.SOURCES = folder
raise SystemExit(exit_code(lambda: len(execute.execute({{"one": "one", "two": "one"}}, {{}}, folder / "made"))))
"""


@pytest.mark.slow
def test_an_interrupt_ends_the_kernels_and_saves_nothing(tmp_path):
    code = f"import os, time; open({str(tmp_path)!r} + f'/{{os.getpid()}}.pid', 'w'); time.sleep(600)"
    (tmp_path / "one.py").write_text(f"# %%\n{code}\n")
    command = [sys.executable, "-c", INTERRUPTED.format(folder=str(tmp_path))]
    default = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a background job inherits it ignored
    child = subprocess.Popen(command, cwd=load.ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=default)
    while len(list(tmp_path.glob("*.pid"))) < 2:
        assert child.poll() is None
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 130 and "interrupted" in child.stderr.read()
    assert not any(psutil.pid_exists(int(path.stem)) for path in tmp_path.glob("*.pid"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", [f"table{n}" for n in write.SPECS])
def test_the_committed_notebooks_show_the_committed_tables(name):
    if not (load.ROOT / "data" / "results" / "mini" / name).is_dir():  # nothing is published, so nothing is built
        assert not [*(load.ROOT / "figures").glob(f"{name}*"), *(load.ROOT / "analysis").glob(f"{name}.ipynb")]
        return
    cells = json.loads((load.ROOT / "analysis" / f"{name}.ipynb").read_text())["cells"]
    shown = [o["data"] for c in cells for o in c.get("outputs", ()) if "data" in o]
    markdown = ["".join(data["text/markdown"]) for data in shown if "text/markdown" in data]
    table, appendix = ((load.ROOT / "figures" / f"{name}{end}.md").read_text() for end in ("", "_appendix"))
    at = 1  # behind the answer
    for page in (table, appendix):
        blocks = page.count("\n## ") + 1
        assert "\n".join(markdown[at : at + blocks]) == page
        at += blocks
    assert (load.ROOT / "figures" / f"{name}_time.md").read_text() in markdown
    assert any("image/png" in data for data in shown)
