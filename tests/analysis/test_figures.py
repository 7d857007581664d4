"""Figures: one style sheet, intervals, zero lines, a title and a caption inside, a sentence that the data support."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figure_rules import broken, from_zero, is_grey
from synthetic import STEPS, save, step_rows, write_results

from analysis import (
    curves,
    differences,
    diversity,
    entropy,
    epo,
    forest,
    heatmap,
    load,
    scripted_policies,
    stability,
    statistics,
    style,
    table5,
    training_steps,
    write,
)
from analysis.fidelity import figures as audit_figures
from analysis.fidelity.audit import load_audit
from analysis.statistics import Estimate
from reproduce.algorithms import load as method

mpl.use("agg")
MANY = [m for m in style.ORDER if m != style.WARM_START][:14]
CELLS = [(m, rate, batches) for m in ("grpo", "aepo") for rate in (5e-4, 1e-3) for batches in (2, 4)]
GRID = {
    f"{m}-lr{rate:g}-minibatches{batches}": {"method": m, "training": {"learning_rate": rate, "minibatches": batches}}
    for m, rate, batches in CELLS
}
EPO = {"grpo": 0.4, "ppo": 0.4, "ppo+epo": 0.5, "grpo+epo": 0.4, "epo-base": 0.4}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    success = {m: 0.75 if m == "rloo" else 0.4 for m in MANY}
    return load.load_source(data_root=write_results(tmp_path_factory.mktemp("many"), success, seeds=range(5)))


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    root = write_results(tmp_path_factory.mktemp("grid"), dict.fromkeys(GRID, 0.4), table="table5", variants=GRID)
    return write.build(load.load_source("mini", "table5", data_root=root))


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    root = write_results(tmp_path_factory.mktemp("house"), EPO, table="table3", splits=("iid", "ood"))
    return load.load_source("mini", "table3", data_root=root)


def test_every_figure_of_a_table_keeps_the_rules(many, grid, house):
    shown = diversity.shown(many)
    drawn = {
        "forest": differences.figure(write.build(many)),
        "training": curves.figure_curves(many, write.SPECS["2"]),
        "entropy": entropy.figure_training(many),
        "tool results": entropy.figure_tool_results(many),
        "in a row": entropy.figure_in_a_row(many),
        "clip": entropy.figure_clip(many),
        "diversity": diversity.figure_measures(shown, diversity.distances(shown)),
        "pass@k": diversity.figure_pass_at_k(shown),
        "stability": stability.figure_runs(many),
        "heat": heatmap.figure_heat(grid, table5.grid(grid.source)),
        "cells": heatmap.figure_curves(grid, table5.grid(grid.source)),
        "dynamics": epo.figure_curves(house, epo.CORE, "What moves"),
        "parts": epo.figure_last(house, epo.ABLATION, "What the parts add"),
    }
    assert {name: rules for name, figure in drawn.items() if (rules := broken(figure))} == {}
    for name in ("training", "entropy", "tool results", "pass@k", "dynamics"):
        assert all(from_zero(axes) for axes in drawn[name].figure.axes if axes.get_visible()), name


def test_the_figures_of_the_committed_audit_and_policies_keep_the_rules():
    measured, audit = scripted_policies.load(load.ROOT / "data" / "scienceworld"), load_audit(load.ROOT / "data")
    drawn = {
        "rules": scripted_policies.figure_rules(measured),
        "kinds": scripted_policies.figure_kinds(measured),
        "distances": audit_figures.figure_distances(audit.rows, audit.values),
        "factors": audit_figures.figure_factors(),
        "schedules": audit_figures.figure_schedules(audit.batch),
    }
    assert {name: rules for name, figure in drawn.items() if (rules := broken(figure))} == {}
    assert "AEPO's budget" in drawn["schedules"].says and "whole trajectories of 16" in drawn["schedules"].says


def test_a_figure_that_breaks_the_rules_is_found():
    figure, axes = style.subplots(height=1.0)
    axes.plot([0, 1], [0, 1], label="a")
    axes.text(0.5, 0.5, "small", fontsize=5)
    axes.text(5.0, 0.5, "far")
    axes.legend()
    found = " ".join(broken(style.Drawn(figure, "")))
    for word in ("'small' has 5 points", "'far' leaves", "no title", "no caption", "legend on its data", "no sentence"):
        assert word in found


def test_core_rows_stand_first_in_colour_and_the_rest_in_grey(many):
    drawn = differences.figure(write.build(many))
    labels = drawn.figure.axes[0].get_yticklabels()
    grey = [is_grey(text.get_color()) for text in labels]
    core = [style.name(m) for m in style.order(MANY) if m in style.MAIN and m != style.BASELINE]
    assert [text.get_text().split("  (")[0] for text in labels][: len(core)] == core
    assert [name for name, is_one in zip(core, grey, strict=False) if is_one] == ["CISPO"], "whose colour is black"
    assert all(grey[-3:]) and "RLOO" in drawn.says.split("; below")[0], drawn.says


def test_an_interval_that_leaves_the_axis_has_an_arrow_and_does_not_squeeze_the_others():
    narrow = [Estimate(0.1 * i, 0.1 * i - 1, 0.1 * i + 1) for i in range(20)]
    panel = forest.Panel("Points", margin=2)
    low, high = forest.limits([*narrow, Estimate(-1.0, -90.0, 60.0)], panel)
    assert -5 < low < -2 and 2 < high < 5, "and 0 and the margin lie inside"
    lines = [forest.Line(str(i), (e,)) for i, e in enumerate([*narrow, Estimate(-1.0, -90.0, 60.0)])]
    axes = forest.figure(lines, [panel], "Title", "95 % interval").axes[0]
    arrows = {line.get_marker() for line in axes.lines if list(line.get_ydata()) == [20]}
    assert {"<", ">"} < arrows
    assert any(list(line.get_xdata()) == [0.0, 0.0] for line in axes.lines), "a line at zero"


def filtered_source(tmp_path, **columns):
    """GRPO and a DAPO that replaced groups without a signal; columns: of DAPO's steps."""
    root = write_results(tmp_path, {"grpo": 0.4, "dapo": 0.4})
    path = root / "results" / "mini" / "table2" / "steps.parquet"
    frames = [step_rows(m, s).assign(method=m, seed=s) for m in ("grpo", "dapo") for s in (0, 1, 2)]
    frame = pd.concat(frames).assign(groups_sampled=4.0)
    mine = frame["method"] == "dapo"
    for name, value in {"groups_sampled": 9.0, "success_mean": 0.9, **columns}.items():
        frame.loc[mine, name] = value
    save(frame, path, "steps")
    return load.load_source(data_root=root)


def test_success_of_kept_groups_is_marked_and_not_compared(tmp_path):
    source = filtered_source(tmp_path)
    steps, kept_only = training_steps.unfiltered(source)
    assert kept_only == {"dapo"} and len(steps) == 2 * 3 * STEPS
    drawn = curves.figure_curves(source, write.SPECS["2"])
    panel = next(axes for axes in drawn.figure.axes if axes.get_title(loc="left") == "DAPO")
    assert [line.get_linestyle() for line in panel.lines] == ["--"], "dashed, and without the base"
    caption = next(text.get_text() for text in drawn.figure.texts if text.get_gid() == "caption")
    assert "(DAPO)" in caption and "not comparable" in " ".join(caption.split())
    assert "above it" in drawn.says and "DAPO" not in drawn.says


def test_a_gap_between_seeds_is_welchs():
    a, b = np.array([0.4, 0.5, 0.6]), np.array([0.1, 0.2, 0.15, 0.12])
    found = statistics.gap(a, b)
    assert found.value == pytest.approx(a.mean() - b.mean()) and found.low > 0
    error = np.sqrt(a.var(ddof=1) / 3 + b.var(ddof=1) / 4)
    assert found.high - found.low > 2 * 1.96 * error
    assert np.isnan(statistics.gap(a[:1], b).low) and np.isnan(statistics.gap(a[:0], b).value)
    assert statistics.gap(np.ones(3), np.ones(2)) == Estimate(0.0, 0.0, 0.0)


def test_the_colour_scale_leaves_collapsed_cells_out_and_noise_narrow():
    values = pd.Series([44.0, 45.0, 46.0, 47.0, 45.5, 44.5, 0.0])
    low, high = heatmap.scale(values, pd.Series(np.full(7, 8.0)))
    assert low > 30 and high - low >= 16, "twice the typical interval"
    assert heatmap.scale(pd.Series([0.0, 0.0]), pd.Series([np.nan, np.nan])) == (0.0, 0.5)


def test_the_sentences_follow_the_data(many):
    assert entropy.answer(many).startswith("**Answer.** Measured on GRPO, ")
    shown = len([m for m in MANY if m in style.MAIN])
    assert f" of {shown} methods ends below half" in entropy.figure_training(many).says
    falling = load.load_source(data_root=many.folder.parents[2])
    falling.steps["entropy"] = np.where(falling.steps["method"] == "aepo", 0.1, 1.0)
    assert "ends below half of its start with its whole interval (first and last tenth of training): none" in (
        entropy.figure_training(falling).says
    )


def test_other_clip_ranges_are_those_of_the_methods():
    usual = method("grpo").settings
    for name in style.MAIN:
        settings = method(name).settings
        ends = 1 - settings["clip_low"], 1 + settings["clip_high"]
        if (settings["clip_low"], settings["clip_high"]) == (usual["clip_low"], usual["clip_high"]):
            assert name not in entropy.RANGES
        else:
            assert entropy.RANGES[name] == f"{ends[0]:g} to {ends[1]:g}"


def test_a_cell_of_the_grid_stands_beside_the_same_cell_of_the_base(grid):
    figure = heatmap.figure_curves(grid, table5.grid(grid.source)).figure
    aepo = figure.axes[len(figure.axes) // 2 :]
    assert all(line_colours(axes)[0] == style.REFERENCE for axes in aepo)


def line_colours(axes) -> list[str]:
    return [line.get_color() for line in axes.lines]
