"""A grid of two jobs whose runs are `grid_child.py`."""

import json
import sys
from pathlib import Path

import pytest
from grid_child import ordered
from places import PYTHONPATH, TESTS
from run_rows import job

from reproduce.grid import runner
from reproduce.grid.workers import Fork

JOBS = [job(method=method) for method in ("grpo", "aepo")]


def child(config, path: Path, root: Path) -> list[str]:
    return [sys.executable, str(TESTS / "support" / "grid_child.py"), str(path), str(root / "orders.json")]


def forked(config, path: Path, root: Path) -> Fork:
    """The same as a fork, as runs on this machine are: it has imported everything."""
    return Fork(ordered, (path, root / "orders.json"))


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)


def run(root: Path, jobs=JOBS, **orders) -> list[runner.Failure]:
    """The grid of `jobs`, two at a time; `orders` by method tell its runs how to misbehave."""
    root.mkdir(exist_ok=True)
    (root / "orders.json").write_text(json.dumps({f"{method}/0": order for method, order in orders.items()}))
    return runner.run(jobs, root, 2, command=forked, warm_start=False)


def paths(root: Path) -> list[Path]:
    return [config.directory(root) for config in JOBS]


def bytes_of(root: Path) -> list[bytes]:
    names = ("steps.parquet", "rollouts.parquet", "eval.parquet")
    return [(path / name).read_bytes() for path in paths(root) for name in names]


def steps_in_log(path: Path) -> list[str]:
    return [line for line in (path / "log.txt").read_text().splitlines() if line.startswith("step ")]
