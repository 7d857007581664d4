"""The entropy family beside DAPO: what is drawn, what is named, and by which rule a method differs."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figure_rules import broken, from_zero
from synthetic import save, step_rows, write_results

from analysis import entropy_family, load, style, text_table
from analysis.statistics import discoveries
from reproduce.config.tables import TableConfig

mpl.use("agg")
FAMILY = TableConfig.load("2").groups["entropy"]
THREE = {"dapo": 0.4, "kl-cov": 0.8, "bapo": 0.4, "grpo": 0.35}


def results(folder, success, seeds=range(4)):
    return load.load_source(data_root=write_results(folder, success, seeds=seeds))


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return results(tmp_path_factory.mktemp("three"), THREE)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return results(tmp_path_factory.mktemp("whole"), dict.fromkeys([*style.MAIN, *FAMILY], 0.4), seeds=(0, 1))


def test_the_family_is_the_group_of_the_config_with_its_base_first(three):
    assert entropy_family.members(three) == FAMILY and FAMILY[0] == entropy_family.BASE


@pytest.mark.parametrize("which", ["three", pytest.param("whole", marks=pytest.mark.slow)])
def test_the_figures_keep_the_rules(which, request):
    source = request.getfixturevalue(which)
    training, success = entropy_family.figure_training(source), entropy_family.figure_success(source)
    assert broken(training) == broken(success) == []
    panels = [axes for axes in training.figure.axes if axes.get_visible()]
    assert len(panels) == 2 * len(set(FAMILY) & set(source.scores)) and all(map(from_zero, panels))


def test_every_panel_but_its_own_shows_the_base(three):
    figure = entropy_family.figure_training(three).figure
    first = {axes.get_title(loc="left"): axes.lines[0] for axes in figure.axes if axes.get_title(loc="left")}
    assert list(first) == ["DAPO", "KL-COV", "BAPO"]
    assert [line.get_color() == style.REFERENCE for line in first.values()] == [False, True, True]
    assert "DAPO, the base" in [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_methods_without_runs_are_named_and_have_no_panel(three):
    says, absent = entropy_family.figure_training(three).says, entropy_family.absent(three)
    assert says.endswith(absent) and "KL-COV" not in absent and "BAPO (paper)" in absent
    assert absent.count(",") == len(FAMILY) - 3 - 1


def test_the_core_and_the_outermost_are_labelled(whole):
    figure = entropy_family.figure_success(whole).figure
    labels = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {style.name(m) for m in style.MAIN} <= labels
    assert len(labels) < len(whole.scores) - 1, "not every row"


def test_labels_lie_on_no_other_label(whole):
    figure = entropy_family.figure_success(whole).figure
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [mpl.text.Text.get_window_extent(text) for text in axes.texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_differences_are_adjusted_over_the_family_alone(three, whole):
    frame = entropy_family.against_base(three).set_index("method")
    assert list(frame.index) == ["kl-cov", "bapo"], "neither DAPO nor GRPO"
    assert frame["adjusted_p"].to_numpy() == pytest.approx(discoveries(frame["p"].to_numpy()))
    assert frame.loc["kl-cov", "verdict"] == "differs" and frame.loc["kl-cov", "difference_low"] > 0
    assert frame.loc["bapo", "verdict"] == "no difference found"
    assert frame["sampled_tokens"].to_numpy() == pytest.approx(1, abs=0.01)
    assert len(entropy_family.against_base(whole)) == len(FAMILY) - 1


@pytest.mark.parametrize(
    ("adjusted", "within", "verdict"),
    [
        (0.01, 0.5, "differs"),
        (0.5, 0.01, "within ±2 points"),
        (0.5, 0.5, "no difference found"),
        (0.01, 0.01, "differs, within ±2 points"),
        (np.nan, np.nan, "one run, no test"),
    ],
)
def test_the_words_of_a_verdict(adjusted, within, verdict):
    assert entropy_family._verdict({"adjusted_p": adjusted, "p_within": within, "margin": 2.0}) == verdict


def test_a_method_of_the_same_runs_does_not_count_as_another(tmp_path):
    source = results(tmp_path, THREE)
    for frame in (source.steps, source.evals):  # BAPO as DAPO again
        mine, theirs = (frame.index[frame["method"] == m] for m in ("bapo", "dapo"))
        for column in frame.columns.drop(["method", "seed"]):
            frame.loc[mine, column] = frame.loc[theirs, column].to_numpy()
    frame = entropy_family.against_base(source).set_index("method")
    assert frame.loc["bapo", "verdict"] == "the same runs" and np.isnan(frame.loc["bapo", "adjusted_p"])
    assert frame.loc["kl-cov", "adjusted_p"] == frame.loc["kl-cov", "p"], "one comparison is left"


def test_without_the_family_there_is_no_table_and_the_answer_says_so(tmp_path):
    source = results(tmp_path, {"dapo": 0.4, "grpo": 0.35})
    assert entropy_family.tables(source) == [] and entropy_family.files(source) == {}
    assert "No method of the family has results" in entropy_family.answer(source)
    assert broken(entropy_family.figure_training(source)) == []


def test_without_the_base_nothing_is_compared(tmp_path):
    source = results(tmp_path, {"kl-cov": 0.4, "bapo": 0.35, "grpo": 0.4})
    drawn = entropy_family.figure_training(source)
    assert broken(drawn) == [] and "nothing is compared" in drawn.says
    assert entropy_family.tables(source) == []
    assert "There are no results of DAPO" in entropy_family.answer(source)


def test_the_files_hold_what_is_shown(three):
    found = entropy_family.files(three)
    assert found["entropy_family.md"] == text_table.markdown(entropy_family.tables(three)[0])
    assert found["entropy_family.csv"].count("\n") == 3 and "verdict" in found["entropy_family.csv"]


def test_success_of_kept_groups_is_dashed_and_not_compared(tmp_path):
    source = results(tmp_path, THREE)
    frames = [step_rows(m, s).assign(method=m, seed=s) for m in THREE for s in range(4)]
    steps = pd.concat(frames).assign(groups_sampled=4.0)
    steps.loc[steps["method"] == "dapo", "groups_sampled"] = 9.0
    save(steps, source.folder / "steps.parquet", "steps")
    drawn = entropy_family.figure_training(load.load_source(data_root=source.folder.parents[2]))
    lower = drawn.figure.axes[3:6]
    assert [len(axes.lines) for axes in lower] == [1, 1, 1], "no base below"
    assert lower[0].lines[0].get_linestyle() == "--" and "In success (0 compared)" in drawn.says
