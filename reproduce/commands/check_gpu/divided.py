"""Checks of divided weights on one card: a whole rehearsal, killed and resumed, under FSDP and under ZeRO-3."""

import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from reproduce.commands.check_gpu.figures import CannotRun, Figure
from reproduce.runs.manifest import ROOT

SECONDS = 295


def fsdp(dry: bool) -> list[Figure]:
    """`make rehearse` on the card by one process under our config `fsdp`."""
    return _rehearsed("fsdp", dry)


def zero3(dry: bool) -> list[Figure]:
    """The same under our config `zero3`."""
    if find_spec("deepspeed") is None:
        raise CannotRun("DeepSpeed: pip install -r requirements-gpu.txt")
    return _rehearsed("zero3", dry)


def _rehearsed(config: str, dry: bool) -> list[Figure]:
    if dry:
        raise CannotRun("a card; on processors: make rehearse (FSDP)")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="check-gpu-") as folder:
        words = ["rehearse", "--quick", "--card", "--methods", "aepo", "--launch-config", config]
        command = [sys.executable, "-m", "reproduce", *words, "--folder", str(Path(folder) / "rehearsal")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
    return [Figure("trained, killed, resumed, evaluated", time.monotonic() - began, "s")]
