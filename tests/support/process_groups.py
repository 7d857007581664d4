"""Several processes that train together, and what they must agree on."""

import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import parallel_child
import pytest
import torch
from accelerate.state import AcceleratorState
from places import ROOT, TESTS


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def _child(main: Callable, rank: int, count: int, port: str, words: list[str]) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # what a test left behind, as a vLLM its group
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if count > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    main(words)


def together(main: Callable, count: int, words: list[str], seconds: float = 300) -> list[int | None]:
    """Exit codes of `main(words)` in `count` processes, forks of this one that find each other; None: it still ran."""
    context, port = multiprocessing.get_context("fork"), free_port()
    children = [context.Process(target=_child, args=(main, rank, count, port, words)) for rank in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join(seconds)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
    return codes


def launched(script: str, count: int, seconds: float = 1800) -> list[int]:
    """Exit codes of the script of `tests/support` in `count` new processes that find each other."""
    port, children = free_port(), []
    for rank in map(str, range(count)):
        found = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        found |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(TESTS / "support" / script)]
        children.append(subprocess.Popen(command, cwd=ROOT, env={**os.environ, **found}))
    try:
        return [child.wait(seconds) for child in children]
    finally:
        for child in children:
            child.kill()


def run(folder: Path, method: str, count: int, *settings: str) -> tuple[dict, list[dict]]:
    """What `parallel_child.record` found with `count` processes, forks of this one, and the metrics of the RL steps."""
    folder.mkdir(exist_ok=True)
    assert together(parallel_child.main, count, [str(folder), method, *settings]) == [0] * count
    return torch.load(folder / "record.pt"), parallel_child.steps(folder)


def same(one: tuple[dict, list[dict]], two: tuple[dict, list[dict]], tolerance: float = 1e-5) -> None:
    """Losses, critic's losses and gradients of every update, and the metrics of every RL step, agree."""
    for name in ("losses", "values"):
        assert one[0][name] == pytest.approx(two[0][name], abs=tolerance), name
    assert len(one[0]["gradients"]) == len(two[0]["gradients"]) == len(one[0]["losses"]) > 0
    for a, b in zip(one[0]["gradients"], two[0]["gradients"], strict=True):
        assert float(a.abs().max()) > 1e-4
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)
    assert len(one[1]) == len(two[1]) > 0
    for a, b in zip(one[1], two[1], strict=True):
        assert a == pytest.approx(b, abs=tolerance, rel=tolerance, nan_ok=True)
