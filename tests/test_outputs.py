"""Where a user's outputs go: beside their runs. No command but those that publish changes a file of the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import write_runs

from reproduce.runs.manifest import ROOT

ROWS = {"2": ({"grpo": 0.35, "aepo": 0.6}, {}), "3": ({"grpo": 0.35, "ppo": 0.4}, {"splits": ("iid", "ood")})}
BUILD = "from analysis.build import build; print(build({table!r}, {profile!r}, 'runs', settings={settings!r}).text)"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout of its own: every tracked file as it is now, committed."""
    folder = tmp_path_factory.mktemp("checkout") / "repository"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-q", "-m", "as it is")
    return folder


def git(folder: Path, *words: str) -> str:
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, env=os.environ | quiet)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
def test_no_command_of_a_user_changes_the_checkout(checkout):
    """Every command at its smallest, from training to the bench."""
    reproduce = ("-m", "reproduce")
    few = ("--profile", "smoke", "--jobs", "1")
    said = run(checkout, *reproduce, "table", "2", *few, "--methods", "grpo")
    assert "Your tables and figures" in said and "runs/smoke/table2/figures/" in said
    run(checkout, *reproduce, "tune", "2", *few, "--runs-root", "other/runs")
    run(checkout, *reproduce, "status")
    run(checkout, *reproduce, "plan", "--table", "2")
    run(checkout, *reproduce, "bench", "--quick", "--only", "sandbox")
    assert (checkout / "runs" / "bench.csv").is_file()
    run(checkout, *reproduce, "bench", "--quick", "--only", "sandbox", "--runs-root", "mine")
    run(checkout, *reproduce, "real-input", "--data", "nowhere", code=2)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["1", "3", "4", "5"])
def test_no_other_table_changes_the_checkout(checkout, table):
    method = {"4": "aepo", "5": "grpo-lr1x-minibatches1x"}.get(table, "grpo")
    words = ("-m", "reproduce", "table", table, "--profile", "smoke", "--jobs", "1", "--methods", method)
    assert f"runs/smoke/table{table}/figures/" in run(checkout, *words)
