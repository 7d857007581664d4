"""`make reproduce-table2` at smoke size, for real: train, kill -9, train on, and the same bytes as without the kill."""

import contextlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from places import ROOT

METHODS = "aepo"


def command(runs: Path, *extra: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "reproduce",
        "table",
        "2",
        "--profile",
        "smoke",
        "--methods",
        METHODS,
        "--runs-root",
        str(runs),
        "--jobs",
        "2",
        *extra,
    ]


def reproduce(runs: Path, *extra: str) -> str:
    done = subprocess.run(command(runs, *extra), cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    runs = tmp_path_factory.mktemp("whole")
    return runs, reproduce(runs)


def results(runs: Path) -> dict[str, bytes]:
    """What must not depend on when or how often the grid was started."""
    found = sorted(runs.rglob("*/[0-9]/*.parquet")) + sorted((runs / "smoke/table2/figures").glob("table2*"))
    timed = ("timings.parquet", "table2_time")
    return {str(p.relative_to(runs)): p.read_bytes() for p in found if not p.name.startswith(timed)}


def test_the_output_ends_with_the_table_and_its_files(whole):
    runs, output = whole
    assert "AEPO" in output
    assert output.count("Python tool: ") == 1, "which sandbox confines model-written code is said once"
    for name in ("table2.md", "table2.tex", "table2.csv"):
        assert name in output and (runs / "smoke/table2/figures" / name).stat().st_size > 200
    kinds = {p.name.split("_")[0] for p in (runs / "smoke/table2/figures").glob("*.pdf")}
    assert {"entropy", "diversity"} <= kinds


def test_the_runs_hold_what_the_contract_says(whole):
    runs, _ = whole
    for method in METHODS.split(","):
        run = runs / "smoke/table2" / method / "0"
        steps, rollouts = pd.read_parquet(run / "steps.parquet"), pd.read_parquet(run / "rollouts.parquet")
        evaluation = pd.read_parquet(run / "eval.parquet")
        assert steps["step"].tolist() == [1, 2, 3]
        assert (rollouts.groupby(["step", "group"]).size() == 4).all() and len(rollouts) == 3 * 4 * 4
        assert len(evaluation) == 8 * 2 and set(evaluation["checkpoint"]) == {"last"}
        assert (rollouts.groupby("step")["trained_tokens"].sum().to_numpy() == steps["trained_tokens"].to_numpy()).all()
    warm_start = pd.read_parquet(runs / "smoke/table2/warm_start/0/eval.parquet")
    assert set(warm_start["checkpoint"]) == {"warm_start"}
    assert set(warm_start["question_id"]) == set(evaluation["question_id"])


def test_running_again_trains_nothing(whole):
    runs, _ = whole
    before = {p: p.stat().st_mtime_ns for p in runs.rglob("*.parquet")}
    reproduce(runs, "--no-build")
    assert before == {p: p.stat().st_mtime_ns for p in runs.rglob("*.parquet")}


@pytest.mark.slow  # test_grid kills a grid and compares bytes too, with runs that train nothing real
def test_kill_9_in_the_middle_of_the_grid_changes_no_byte(whole, tmp_path):
    runs, _ = whole
    for shared in ("warm_starts", "table2/warm_start"):  # same warm start: its training is not what is tested here
        shutil.copytree(runs / "smoke" / shared, tmp_path / "smoke" / shared)
    grid = subprocess.Popen(command(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 200
    while not list(tmp_path.rglob("parts/000001.steps.json")):
        assert time.monotonic() < deadline and grid.poll() is None, grid.stdout.read().decode()[-3000:]
        time.sleep(0.02)
    everything = [psutil.Process(grid.pid), *psutil.Process(grid.pid).children(recursive=True)]
    for process in everything:  # at once: smoke runs left alone would be finished before their server has noticed
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    grid.wait()
    psutil.wait_procs(everything, timeout=60)
    unfinished = [p for p in tmp_path.rglob("manifest.json") if '"finished"' not in p.read_text()]
    assert unfinished, "the kill came too late to test anything"
    reproduce(tmp_path)
    assert results(tmp_path) == results(runs)
