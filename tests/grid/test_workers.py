"""Forked runs: exit codes and logs as of a fresh interpreter, and none outlives the process that asked for it."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest
from places import ROOT

from reproduce.environment import child_environment
from reproduce.grid import processes, workers
from reproduce.training import main


def test_a_forked_run_has_the_exit_code_and_output_of_a_fresh_one(tmp_path):
    log, words = tmp_path / "log.txt", ["job", str(tmp_path / "nothing")]
    child = processes.start(workers.Fork(main.run, (tmp_path / "nothing",)), log)
    assert isinstance(child, workers.Child)
    fresh = subprocess.run([sys.executable, "-m", "reproduce", *words], cwd=ROOT, capture_output=True, text=True)
    assert child.wait(60) == fresh.returncode == 2
    assert log.read_text() == fresh.stdout + fresh.stderr != ""


def test_a_stopped_child_reports_its_signal(tmp_path):
    before = dict(os.environ)
    child = workers.start(workers.Fork(main.run, (tmp_path,)), tmp_path / "log.txt", child_environment())
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(60) == -signal.SIGKILL
    assert dict(os.environ) == before, "the server's environment is not this process's"


@pytest.fixture
def light_server():
    """A server that has imported its guard alone: what it imports beside that takes seconds, and is not tested here."""
    server, real = forkserver._forkserver, forkserver._forkserver._preload_modules
    server._stop()
    server.set_forkserver_preload(["reproduce.grid.guard"])
    yield
    server._stop()
    server.set_forkserver_preload(real)


def test_a_server_that_is_killed_is_the_reason_of_its_runs(light_server, tmp_path):
    child = workers.start(workers.Fork(time.sleep, (60,)), tmp_path / "log.txt", child_environment())
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
    assert child.wait(60) == workers.LOST and "was killed" in child.reason
    again = workers.start(workers.Fork(main.run, (tmp_path,)), tmp_path / "log.txt", child_environment())
    assert again.wait(60) == 2 and again.reason == ""


@pytest.mark.slow
def test_a_forked_run_is_killed_with_the_process_that_asked_for_it(tmp_path):
    config, log = tmp_path / "config.yaml", tmp_path / "log.txt"
    script = (
        "import time; from pathlib import Path; from reproduce.grid import processes, workers\n"
        "from reproduce.training import main\n"
        "from reproduce.config.tables import TableConfig\n"
        f"job = TableConfig.load(2).jobs('smoke')[0].warm_start_job(); job.to_yaml({str(config)!r})\n"
        f"call = workers.Fork(main.make_warm_start, (Path({str(config)!r}), Path({str(tmp_path / 'runs')!r})))\n"
        f"print(processes.start(call, Path({str(log)!r})).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    deadline = time.monotonic() + 60
    while not list((tmp_path / "runs").rglob("manifest.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(pid, 0)  # it is at work
    parent.kill()
    parent.wait()
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
