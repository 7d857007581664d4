"""What ScienceWorld's success rules are worth: the analysis on hand-made episodes, the command that plays real ones.

Tests of the simulator need the packages of requirements-envs.txt.
"""

import io
import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from places import ROOT

from analysis import scripted_policies
from analysis.build import STANDALONE
from analysis.execute import execute
from reproduce.commands import check_scienceworld
from reproduce.errors import UserError
from reproduce.runs.files import read_table, rows_table, write_json, write_table
from reproduce.worlds.scienceworld.scripted import GOLD, GOLD_WHOLE, POLICIES, TOUR, WAIT
from reproduce.worlds.scienceworld.scripted_record import ABOUT, COMMAND, PART, ROWS, SCHEMA, open_record, settings

installed = pytest.mark.skipif(
    find_spec("scienceworld") is None,
    reason="the extra packages are not installed: pip install -r requirements-envs.txt",
)


def row(policy, split, task, score, turns=10, length=0, over=True):
    ended = score == 100 or over
    return {
        "policy": policy,
        "split": split,
        "kind": task.split("/")[0],
        "task": task,
        "turns": turns,
        "gold_length": length,
        "score": score,
        "released": ended and score > 0,
        "strict": score == 100,
    }


def episodes():
    """Two tasks a split. Scores of wait: 0, 0, 8, -100; of the tour: 20, 10, 8, 30; gold paths of 12, 40, 30, 90."""
    tasks = [("iid", "boil/3"), ("iid", "find-plant/1"), ("ood", "find-plant/7"), ("ood", "boil/9")]
    idle = {WAIT: (0, 0, 8, -100), TOUR: (20, 10, 8, 30)}
    found = []
    for place, ((split, task), length) in enumerate(zip(tasks, (12, 40, 30, 90), strict=True)):
        found += [row(policy, split, task, scores[place]) for policy, scores in idle.items()]
        cut = 100 if length <= 30 else 50
        found.append(row(GOLD, split, task, cut, min(length, 30), length, over=False))
        found.append(row(GOLD_WHOLE, split, task, 100, length, length))
    return found


def save(folder, rows=None, **changes):
    folder.mkdir(exist_ok=True)
    write_table(folder / ROWS, rows_table(episodes() if rows is None else rows, SCHEMA))
    sessions = [{"code_commit": "0" * 40, "code_dirty": False}]
    write_json(folder / ABOUT, {"made_by": COMMAND, "settings": settings(2, 0) | changes, "sessions": sessions})
    return folder


@pytest.fixture
def measured(tmp_path):
    return scripted_policies.load(save(tmp_path / "scienceworld"))


# ---------------------------------------------------------------- the numbers


def test_success_under_each_rule_is_as_counted_by_hand(measured):
    found = scripted_policies.rates(measured).set_index(["policy", "split"])
    expected = {
        (WAIT, "iid"): (0, 0, 0, 0),
        (WAIT, "ood"): (50, 0, 50, 4),
        (WAIT, "both"): (25, 0, 25, 2),
        (TOUR, "iid"): (100, 0, 100, 15),
        (TOUR, "both"): (100, 0, 100, 17),
        (GOLD, "iid"): (50, 50, 0, 75),
        (GOLD, "both"): (50, 50, 0, 75),
        (GOLD_WHOLE, "both"): (100, 100, 0, 100),
    }
    for place, numbers in expected.items():
        assert tuple(found.loc[place, ["released", "strict", "unearned", "score"]]) == pytest.approx(numbers), place
    assert found.loc[(WAIT, "ood"), "raw_score"] == -46  # clipped in the score, not here
    assert found.loc[(GOLD, "both"), "turns"] == (12 + 30 + 30 + 30) / 4
    assert found.loc[(WAIT, "both"), "episodes"] == 4


def test_intervals_of_shares_are_wilsons_and_do_not_shrink_to_a_point():
    low, value = scripted_policies.share(pd.Series([True] * 4)).low, 1.96**2
    assert low == pytest.approx(4 / (4 + value), abs=1e-3)  # Wilson's lower end for a share of 1: n / (n + z^2)
    none = scripted_policies.share(pd.Series([False] * 4))
    assert (none.value, none.low) == (0, 0) and none.high == pytest.approx(value / (4 + value), abs=1e-3)


def test_the_scores_interval_is_over_tasks_inside_their_split(measured):
    found = scripted_policies.rates(measured).set_index(["policy", "split"])
    iid, both = found.loc[(TOUR, "iid")], found.loc[(TOUR, "both")]
    assert iid["score_low"] == 0 and iid["score_high"] == pytest.approx(15 + 12.706 * 5, abs=0.01)  # t, 1 df: 10, 20
    error = np.sqrt((2 * 5**2 + 2 * 11**2) / 2 / 4)  # 10, 20 and 8, 30: what lies between the splits is no error
    assert both["score_high"] == pytest.approx(17 + 4.303 * error, abs=0.01)
    assert np.isnan(found.loc[(WAIT, "iid"), "score_low"]), "equal scores show no spread"


def test_differences_to_the_gold_path_pair_the_same_tasks(measured):
    found = scripted_policies.against_gold(measured).set_index(["policy", "split"])
    tour = found.loc[(TOUR, "both")]
    assert tour["released"] == 50 and tour["strict"] == -50
    assert tour["score"] == pytest.approx(17 - 75)
    assert found.loc[(TOUR, "iid"), "released_low"] == pytest.approx(50 - 12.706 * 50, abs=0.1)  # 0 and 100 points
    assert found.loc[(WAIT, "iid"), "released"] == -50


def test_gold_paths_by_length_and_task_types(measured):
    lengths = scripted_policies.gold_lengths(measured).set_index("gold_path")
    assert lengths["tasks"].to_dict() == {"fits": 2, "longer": 2, "all": 4}  # 30 actions still fit into 30 turns
    assert lengths["strict"].to_dict() == {"fits": 100, "longer": 0, "all": 50}
    assert lengths.loc["longer", "score"] == 50 and lengths.loc["longer", "released"] == 0
    assert lengths.loc["longer", "tour_released"] == 100 and lengths.loc["longer", "strict_to_end"] == 100
    assert lengths.loc["all", ["length_50", "length_max"]].tolist() == [35, 90]
    kinds = scripted_policies.kinds(measured).set_index("kind")
    assert list(kinds.index) == ["boil", "find-plant"]  # by the tour's mean score, 25 and 9
    assert kinds["tour_score"].to_dict() == {"boil": 25, "find-plant": 9}
    assert kinds.loc["find-plant", ["wait_released", "wait_score", "tour_score_max", "gold_min"]].tolist() == [
        50,
        4,
        10,
        30,
    ]


def test_a_panel_whose_paths_all_fit_has_no_longer_ones(tmp_path):
    rows = [r | {"gold_length": 5} if r["gold_length"] else r for r in episodes()]
    measured = scripted_policies.load(save(tmp_path, rows))
    longer = scripted_policies.gold_table(measured).rows[1]
    assert longer[1] == "0" and set(longer[3:]) == {"–"}


def test_files_and_figures(measured):
    files = scripted_policies.files(measured)
    assert list(files) == [
        "success_rules.md",
        *(f"success_rules{part}.csv" for part in ("", "_against_gold", "_gold", "_kinds")),
    ]
    text = files["success_rules.md"]
    assert "| tour, then wait" in text and "100.0 [34.2, 100.0]" in text and "seed 0" in text
    assert len(pd.read_csv(io.StringIO(files["success_rules.csv"]))) == 3 * len(POLICIES)
    figure = scripted_policies.figure_rules(measured).figure
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(scripted_policies.RULES.values())
    left, right = scripted_policies.figure_kinds(measured).figure.axes
    assert sorted(np.concatenate([dots.get_offsets()[:, 0] for dots in left.collections])) == [8, 10, 20, 30]
    assert sorted(np.concatenate([dots.get_offsets()[:, 0] for dots in right.collections])) == [12, 30, 40, 90]


@pytest.mark.slow
def test_the_notebook_runs_on_the_folder_that_it_is_given(measured, tmp_path):
    execute({"success_rules": "success_rules"}, {"REPRODUCE_DATA": str(tmp_path)}, tmp_path / "notebooks")
    cells = json.loads((tmp_path / "notebooks" / "success_rules.ipynb").read_text())["cells"]
    shown = [o["data"] for c in cells for o in c.get("outputs", ())]
    markdown = ["".join(data["text/markdown"]) for data in shown if "text/markdown" in data]
    assert "\n".join(markdown) == scripted_policies.files(measured)["success_rules.md"]
    assert sum("image/png" in data for data in shown) == 2


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "'gold path, to its end' has not played the panel of 'wait' once"),
        (lambda rows: [*rows, rows[0]], "has not played the panel"),
        (lambda rows: [], "holds no episodes"),
        (lambda rows: rows[:12], "does not hold the 2 tasks of each split"),
        (lambda rows: [*rows[:-1], rows[-1] | {"released": False}], "a success under strict but not under released"),
    ],
)
def test_a_panel_that_is_not_whole_is_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        scripted_policies.load(save(tmp_path, change(episodes())))


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(UserError, match=f"{ROWS} is missing; run {COMMAND}"):
        scripted_policies.load(tmp_path)
    folder = save(tmp_path / "a")
    (folder / ABOUT).write_text("{}")
    with pytest.raises(UserError, match=f"{ABOUT} lacks the key 'settings'"):
        scripted_policies.load(folder)
    folder = save(tmp_path / "b")
    write_table(folder / ROWS, read_table(folder / ROWS, SCHEMA).drop_columns(["strict"]))
    with pytest.raises(UserError, match="lacks the column 'strict'"):
        scripted_policies.load(folder)
    folder = save(tmp_path / "c")
    table = read_table(folder / ROWS, SCHEMA)
    place = table.column_names.index("score")
    write_table(folder / ROWS, table.set_column(place, "score", table["score"].cast(pa.float64())))
    with pytest.raises(UserError, match="column 'score' is double"):
        scripted_policies.load(folder)


# ---------------------------------------------------------------- the record


def test_rows_of_a_command_that_was_killed_are_there_and_a_half_written_line_is_not(tmp_path):
    rows = episodes()
    with open_record(tmp_path, settings(2, 0)) as record:
        record.start()
        for r in reversed(rows[:5]):
            record.add(r)
    with open(tmp_path / PART, "a") as file:
        file.write('{"row": {"policy": "wa')
    with open_record(tmp_path, settings(2, 0)) as record:
        assert record.rows == rows[:5][::-1] and not record.complete and len(record.sessions) == 1
        assert (WAIT, "boil/3") in record.finished and (TOUR, "find-plant/1") not in record.finished
        record.start()
        for r in rows[5:]:
            record.add(r)
        record.finish(list(dict.fromkeys(r["task"] for r in rows)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [ABOUT, ROWS]
    assert read_table(tmp_path / ROWS, SCHEMA).to_pylist() == rows  # in the order of the panel, not of the playing
    about = json.loads((tmp_path / ABOUT).read_text())
    assert about["settings"] == settings(2, 0) and len(about["sessions"]) == 2
    scripted_policies.load(tmp_path)


def test_a_record_of_other_settings_or_in_use_or_broken_is_refused(tmp_path, capsys):
    with open_record(tmp_path / "begun", settings(2, 0)) as record:
        record.start()
        with (
            pytest.raises(UserError, match="another command writes to"),
            open_record(tmp_path / "begun", settings(2, 0)),
        ):
            pass
    for folder, words in ((tmp_path / "begun", ["--seed", "1"]), (save(tmp_path / "whole"), ["--episodes", "3"])):
        code = check_scienceworld.main(
            [*(["--episodes", "2"] if "--seed" in words else []), *words, "--out", str(folder)]
        )
        error = capsys.readouterr().err
        name = "seed: 0 there, 1 now" if "--seed" in words else "episodes: 2 there, 3 now"
        assert code == 2 and error.count("\n") == 1 and f"is of other settings ({name})" in error
    with open(tmp_path / "begun" / PART, "a") as file:
        file.write("[]\n")
    with pytest.raises(UserError, match=r"jsonl, line 3"):
        open_record(tmp_path / "begun", settings(2, 0)).__enter__()
    with pytest.raises(UserError, match="is a file; name a folder"):
        open_record(tmp_path / "whole" / ROWS, settings(2, 0)).__enter__()


def test_a_whole_record_is_reported_without_a_simulator(tmp_path, capsys):
    assert check_scienceworld.main(["--episodes", "2", "--out", str(save(tmp_path / "whole"))]) == 0
    printed = capsys.readouterr().out
    assert "holds all 16 episodes; none is left to play" in printed and "longest 90 actions" in printed
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == [ABOUT, ROWS]


def test_published_record_is_whole_and_of_the_default_settings():
    measured = scripted_policies.load(ROOT / "data" / STANDALONE["success_rules"])
    assert measured.about["settings"] == settings(50, 0)
    found = scripted_policies.rates(measured).set_index(["policy", "split"])
    # the loophole: touring the rooms and waiting does no task and is a success
    assert found.loc[(TOUR, "both"), "released_low"] > 90 and found.loc[(TOUR, "both"), "strict_high"] < 10
    assert found.loc[(GOLD_WHOLE, "both"), "strict_low"] > 90


# ---------------------------------------------------------------- the real simulator


@installed
@pytest.mark.slow
def test_a_killed_command_plays_only_what_is_missing(tmp_path, capsys):
    words = ["--episodes", "1", "--seed", "0", "--workers", "1", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "reproduce.commands.check_scienceworld", *words]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)})
    part, deadline = tmp_path / PART, time.monotonic() + 500
    while not part.is_file() or part.read_text().count("\n") < 4:  # settings, session, two rows
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = [json.loads(line)["row"] for line in part.read_text().splitlines()[2:] if line.startswith('{"row"')]
    assert 2 <= len(kept) < 8
    assert check_scienceworld.main(words) == 0
    assert "8/8" in capsys.readouterr().out
    rows = read_table(tmp_path / ROWS, SCHEMA).to_pylist()
    assert len(rows) == 8 and all(row in rows for row in kept) and not part.exists()
    assert len(json.loads((tmp_path / ABOUT).read_text())["sessions"]) == 2
    whole = [row for row in rows if row["policy"] == GOLD_WHOLE]
    assert all(row["strict"] and row["turns"] == row["gold_length"] for row in whole)
