"""A profile's machine: the cards that nvidia-smi shows, the launcher that is picked, what is refused before a start."""

from dataclasses import replace

import pytest

from reproduce.config.sections import MachineConfig
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.grid.launchers import Local, open_launcher
from reproduce.grid.machine import Start, check_fits, started, visible_cards
from reproduce.training.memory import GB

CARD = 81559 * 2.0**20  # an H100 as nvidia-smi reports it
NODE = [CARD] * 8


def jobs(profile="paper", table=2, **machine):
    found = TableConfig.load(table).jobs(profile, ["grpo"], [0])
    return [replace(found[0], machine=MachineConfig(**machine))] if machine else found


def test_visible_cards_are_those_that_nvidia_smi_lists_and_cuda_may_use(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_cards() == [], "there is no nvidia-smi"
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho '0, GPU-a, 81559'\necho '1, GPU-b, 24576'\n")
    command.chmod(0o755)
    assert visible_cards() == [CARD, 24576 * 2.0**20]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b")
    assert visible_cards() == [24576 * 2.0**20]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_cards() == []


def test_the_launcher_follows_from_the_machine_and_the_users_word_wins():
    assert started(jobs(), None, None, NODE) == Start("accelerate", "fsdp", 8)
    small = jobs("gpu-scratch", cards=2, gb=24.0)
    assert started(small, None, None, NODE) == Start("accelerate", "ddp", 2), "a whole copy fits each card"
    assert started(jobs("gpu"), None, None, NODE) == Start("local")
    assert started(jobs("mini"), None, None, []) == Start("local")
    assert started(jobs(), "local", None, NODE) == Start("local")
    assert started(jobs(), None, "zero3", NODE) == Start("accelerate", "zero3")


def test_the_count_of_cards_reaches_accelerate(tmp_path):
    launcher = open_launcher("accelerate", "fsdp", tmp_path, "cuda", 4)
    words = launcher.command(jobs()[0], tmp_path / "run", tmp_path)
    assert words[words.index("--num_processes") + 1] == "4" and words[words.index("--module") + 1] == "reproduce"


def test_too_few_or_too_small_cards_and_too_large_a_model_are_refused_at_once(tmp_path):
    for cards, seen in ((NODE[:4], "86 GB, 86 GB, 86 GB, 86 GB"), ([24 * GB] * 8, "24 GB"), ([], "none")):
        with pytest.raises(UserError, match=f"'paper' is for 1 x 8 cards of 80 GB; visible here: {seen}"):
            started(jobs(), None, None, cards)
    with pytest.raises(UserError, match="LAUNCHER=slurm"):
        started(jobs(cards=8, nodes=2), None, None, NODE)
    with pytest.raises(UserError, match="8 processes, one for each card, and 4 cards are visible"):
        check_fits(jobs(), open_launcher("accelerate", "fsdp", tmp_path, "cuda"), NODE[:4])
    with pytest.raises(UserError, match=r"(grpo|the warm start) needs about \d+ GB on each card, which has 86: .*fsdp"):
        check_fits(jobs(), Local("cuda"), NODE[:1])
    check_fits(jobs(), open_launcher("accelerate", "fsdp", tmp_path, "cuda"), NODE)
    check_fits(jobs("mini"), Local(), [])
