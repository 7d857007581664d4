"""Where a user's outputs go: beside their runs. No command but those that publish changes a file of the checkout."""

import subprocess
import sys
from pathlib import Path

import pytest
from checkout import fresh, git
from synthetic import write_runs

ROWS = {"2": ({"grpo": 0.35, "aepo": 0.6}, {}), "3": ({"grpo": 0.35, "ppo": 0.4}, {"splits": ("iid", "ood")})}
BUILD = "from analysis.build import build; print(build({table!r}, {profile!r}, 'runs', settings={settings!r}).text)"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return fresh(tmp_path_factory.mktemp("checkout") / "repository")


def run(folder: Path, *words: str, code: int = 0) -> str:
    """`python …` in the checkout; afterwards git has nothing to say."""
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    assert git(folder, "status", "--porcelain") == "", words
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("table", ROWS)
def test_own_runs_of_the_published_profile_leave_the_published_files_alone(checkout, table):
    methods, changes = ROWS[table]
    write_runs(checkout / "runs", methods, seeds=(0, 1), table=f"table{table}", **changes)
    text = run(checkout, "-c", BUILD.format(table=table, profile="mini", settings=""))
    built = checkout / "runs" / "mini" / f"table{table}"
    assert f"Table {table}, yours beside the published one" in text
    assert (built / "figures" / f"table{table}.md").is_file() and (
        built / "notebooks" / f"table{table}.ipynb"
    ).is_file()
    assert (built / "figures" / f"table{table}_comparison.csv").is_file()


@pytest.mark.slow
def test_runs_under_settings_are_a_table_of_their_own(checkout):
    experiment = "table2.training.steps-6"
    write_runs(checkout / "runs", {"grpo": 0.35}, seeds=(0,), table=experiment)
    text = run(checkout, "-c", BUILD.format(table="2", profile="mini", settings="training.steps-6"))
    assert "profile mini, under training.steps-6" in text and "yours beside" not in text
    assert "not compared with the published ones" in text
    assert (checkout / "runs" / "mini" / experiment / "figures" / "table2.md").is_file()


@pytest.mark.slow
def test_a_folder_of_runs_of_another_name_is_no_change_either(checkout):
    """With the usual one: `test_every_target`."""
    reproduce = ("-m", "reproduce")
    run(checkout, *reproduce, "tune", "2", "--profile", "smoke", "--jobs", "1", "--runs-root", "other/runs")
    run(checkout, *reproduce, "bench", "--quick", "--only", "sandbox", "--runs-root", "mine")
    run(checkout, *reproduce, "real-input", "--data", "nowhere", code=2)
