"""Nothing of the user's environment reaches a result: children start in a clean one, and jobs by hand settle first."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT

from reproduce import environment, locks, parent
from reproduce.environment import FIXED, LAUNCHED, child_environment, settle
from reproduce.errors import UserError
from reproduce.runs import files
from reproduce.tools.search.cache import Recording
from reproduce.tools.search.corpus import open_corpus
from reproduce.tools.search.limiter import RateLimiter

HOSTILE = {
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29556",
    "TORCHELASTIC_RUN_ID": "x",
    "PYTHONHASHSEED": "7",
    "PYTHONOPTIMIZE": "1",
    "PYTHONWARNINGS": "error",
    "PYTHONIOENCODING": "latin-1",
    "OMP_NUM_THREADS": "2",
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "NVIDIA_TF32_OVERRIDE": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":16:8",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "HF_HUB_ENABLE_HF_TRANSFER": "1",
    "TRANSFORMERS_VERBOSITY": "debug",
    "TOKENIZERS_PARALLELISM": "true",
    "GIT_DIR": "/nowhere",
    "GIT_WORK_TREE": "/nowhere",
    "GIT_INDEX_FILE": "/nowhere",
    "REPRODUCE_PARENT_PID": "abc",
    "ALL_PROXY": "socks://127.0.0.1:1",
    "HTTP_PROXY": " http://127.0.0.1:1 ",
    "NO_PROXY": "[::1]",
    "SSL_CERT_FILE": "/nowhere.pem",
    "VLLM_ATTENTION_BACKEND": "x",
    "JAVA_TOOL_OPTIONS": "-Xmx1m",
    "LD_BIND_NOW": "1",
}
"""Variables that decide results, whether a run starts, or where it is said to come from."""
NETWORK = {"ALL_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE"}


@pytest.fixture
def hostile(monkeypatch):
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)


def test_a_child_gets_an_allow_list_and_what_is_fixed(hostile, monkeypatch):
    for name in ("HF_HOME", "CUDA_VISIBLE_DEVICES", "SERPER_API_KEY", "http_proxy"):
        monkeypatch.setenv(name, "mine")
    found = child_environment(network=False)
    assert {name for name in HOSTILE if name in found} == set(HOSTILE) & set(FIXED) | {"REPRODUCE_PARENT_PID"}
    assert found["OMP_NUM_THREADS"] == "1" and found["PYTHONHASHSEED"] == "0" and found["PATH"] == os.environ["PATH"]
    assert {found[name] for name in ("HF_HOME", "CUDA_VISIBLE_DEVICES", "SERPER_API_KEY")} == {"mine"}
    assert "http_proxy" not in found and NETWORK <= set(child_environment())


def test_the_processes_of_a_launcher_keep_its_variables_and_no_switch_of_arithmetic(hostile):
    found = child_environment(launched=True)
    assert {"RANK", "WORLD_SIZE", "MASTER_PORT", "ACCELERATE_USE_FSDP"} <= set(found)
    assert not {"PYTHONOPTIMIZE", "MKL_CBWR", "NVIDIA_TF32_OVERRIDE", "GIT_DIR"} & set(found)


def test_a_job_by_hand_settles_first(hostile, monkeypatch):
    monkeypatch.setattr(environment.os, "environ", dict(os.environ))
    settle(network=False)
    assert not {"RANK", "ACCELERATE_MIXED_PRECISION", *NETWORK} & set(os.environ)
    os.environ |= {LAUNCHED: "1", "RANK": "1"}
    settle()
    assert os.environ["RANK"] == "1"


@pytest.mark.parametrize("value", ["abc", "", "²", "-1", "1.0"])
def test_a_parent_that_is_no_process_id_is_ignored(monkeypatch, value):
    monkeypatch.setenv(parent.PARENT, value)
    monkeypatch.setattr(parent, "die_with", lambda found: pytest.fail("not ours"))
    parent.die_with_parent()
    assert parent.PARENT not in os.environ


RUN = """
import sys
from dataclasses import replace
from pathlib import Path
from reproduce.config.tables import TableConfig
from reproduce.grid.runner import run
job = TableConfig.load(2).jobs("smoke", ["grpo"], [0])[0]
training = replace(job.training, steps=int(sys.argv[2]), prompts_per_step=2)
job = replace(job, training=training, warm_start=replace(job.warm_start, demonstrations=60),
              evaluation=replace(job.evaluation, questions=2, samples=1))
print(*run([job], Path(sys.argv[1])))
"""


def started(root: Path, steps: int, **environment) -> subprocess.Popen:
    """A grid of one tiny run below `root`, as the command line starts it."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(root), str(steps)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_run_in_a_hostile_environment_has_the_same_bytes(tmp_path):
    for name, variables in (("plain", {}), ("hostile", HOSTILE)):
        text, _ = started(tmp_path / name, 2, **variables).communicate(timeout=300)
        assert "failed" not in text, text
    plain, other = (tmp_path / name / "smoke" / "table2" / "grpo" / "0" for name in ("plain", "hostile"))
    for file in ("steps.parquet", "rollouts.parquet", "eval.parquet", "config.yaml"):
        assert (plain / file).read_bytes() == (other / file).read_bytes(), file
    first, second = (files.read_json(path / "manifest.json") for path in (plain, other))
    for key in ("config_hash", "code_commit", "code_dirty", "versions"):
        assert first[key] == second[key], key


def descendants(pid: int) -> set[int]:
    """Process ids below `pid`, all generations."""
    found, waiting = set(), [pid]
    while waiting:
        for task in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            children = {int(child) for child in task.read_text().split()}
            waiting += children - found
            found |= children
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_nobody_outlives_a_killed_grid_and_a_restart_at_once_succeeds(tmp_path):
    """The grid alone is killed; its runs are children of the fork server, as they really are."""
    grid = started(tmp_path, 200)
    parts = tmp_path / "smoke" / "table2" / "grpo" / "0" / "parts"
    deadline = time.monotonic() + 240
    while not list(parts.glob("*.steps.json")):
        assert time.monotonic() < deadline and grid.poll() is None, grid.communicate()
        time.sleep(0.1)
    below = descendants(grid.pid)
    assert len(below) >= 3, "a fork server, a run, the run's sandbox"
    os.kill(grid.pid, signal.SIGKILL)
    grid.wait()
    deadline = time.monotonic() + 5
    while any(map(alive, below)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in below if alive(pid)]
    again = started(tmp_path, 200)
    steps = len(list(parts.glob("*.steps.json")))
    deadline = time.monotonic() + 120
    while len(list(parts.glob("*.steps.json"))) <= steps and time.monotonic() < deadline and again.poll() is None:
        time.sleep(0.1)
    assert again.poll() is None and len(list(parts.glob("*.steps.json"))) > steps
    again.kill()


def test_a_lock_that_the_file_system_cannot_hold_is_one_line(tmp_path, monkeypatch):
    def refuses(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuses)
    with pytest.raises(UserError, match=r"\.lock.*lock"), locks.locked(tmp_path / "a" / ".lock", "held"):
        pass
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"title": "a", "text": "b"}\n')
    with pytest.raises(UserError, match=r"corpus.*search\.index_dir"):
        open_corpus(corpus)
    with pytest.raises(UserError, match=r"limit.*search\.cache_dir"):
        RateLimiter(1.0, tmp_path / "limit").reserve()
    with pytest.raises(UserError, match=r"tape.*search\.cache_dir"):
        Recording(tmp_path / "tape", writable=True).add_failure("k", "search", {}, "s", "timeout")
    (tmp_path / "x").write_text("")
    with pytest.raises(UserError, match="x"), locks.locked(tmp_path / "x" / ".lock", "held"):
        pass
