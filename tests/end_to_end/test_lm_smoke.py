"""The profile lm-smoke as a user runs it: pip fetches the model, SFT, one RL step, evaluation."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from reproduce.runs.manifest import ROOT

MOST_GB = 6.0


def resident(process: psutil.Process) -> float:
    """GB of a process and all below it."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 1e9


@pytest.mark.slow
def test_a_real_language_model_trains_with_pip_alone_below_six_gigabytes(tmp_path):
    command = [sys.executable, "-m", "reproduce", "table", "1", "--profile", "lm-smoke", "--no-build"]
    command += ["--runs-root", str(tmp_path / "runs")]
    with open(tmp_path / "said.txt", "w") as said:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        running = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        peak, process = 0.0, psutil.Process(running.pid)
        while running.poll() is None:
            peak = max(peak, resident(process))
            time.sleep(0.5)
    assert running.wait() == 0, (tmp_path / "said.txt").read_text()
    run = tmp_path / "runs" / "lm-smoke" / "table1" / "aepo" / "0"
    assert json.loads((run / "manifest.json").read_text())["status"] == "finished"
    assert "name_or_path: SmolLM2-135M-Instruct, dequantised from Q4_1" in (run / "config.yaml").read_text()
    assert 1.0 < peak < MOST_GB
