"""The profile lm-smoke as a user runs it: pip fetches the model, SFT, one RL step, evaluation."""

import json
import os
import resource
import subprocess
import sys

import pytest

from reproduce.runs.manifest import ROOT

MOST_GB = 6.0


@pytest.mark.slow
def test_a_real_language_model_trains_with_pip_alone_below_six_gigabytes(tmp_path):
    command = [sys.executable, "-m", "reproduce", "table", "1", "--profile", "lm-smoke", "--no-build"]
    done = subprocess.run(
        [*command, "--runs-root", str(tmp_path)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "lm-smoke" / "table1" / "aepo" / "0"
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert "name_or_path: SmolLM2-135M-Instruct, dequantised from Q4_1" in (run / "config.yaml").read_text()
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6 < MOST_GB  # the largest process
