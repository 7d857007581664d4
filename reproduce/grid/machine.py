"""The machine that a profile is for: cards that are visible, the launcher that suits them, and whether a run fits."""

import os
import subprocess
from dataclasses import dataclass

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid.launchers import Accelerate, Launcher
from reproduce.training import memory
from reproduce.training.memory import GB
from reproduce.yaml_files import read_yaml

SMALLER = 0.97
"""A card counts as one of the stated size from this share on: drivers keep some of it (assumed)."""


@dataclass(frozen=True)
class Start:
    """How runs are started: the launcher's name, its config (None: none) and how many processes (None: as it says)."""

    launcher: str
    config: str | None = None
    processes: int | None = None


def visible_cards() -> list[float]:
    """Bytes of each card that nvidia-smi lists and CUDA_VISIBLE_DEVICES leaves; [] where there is no nvidia-smi.

    torch is not asked: what asks it for a card's size cannot start forks afterwards.
    """
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
    cards = {}
    for line in lines:
        index, uuid, mebibytes = (word.strip() for word in line.split(","))
        cards[index] = cards[uuid] = float(mebibytes) * 2**20
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return [size for name, size in cards.items() if name.isdigit()]
    return [cards[name] for name in (word.strip() for word in wanted.split(",")) if name in cards]


def started(jobs: list[JobConfig], launcher: str | None, config: str | None, cards: list[float]) -> Start:
    """Where the runs of a table are started: as the user says, else as the profile's machine asks.

    launcher, config: what the user says, None: nothing. cards: bytes of each one that is visible. UserError if the
    machine of the profile has several cards and fewer, or smaller ones, are visible, or if it has several nodes.
    """
    machine = jobs[0].machine
    if launcher is not None:
        return Start(launcher, config)
    if config is not None:
        return Start("accelerate", config)
    if machine is None or jobs[0].training.device == "cpu" or machine.cards * machine.nodes == 1:
        return Start("local")
    profile = f"profile '{jobs[0].profile}' is for {machine.nodes} x {machine.cards} cards of {machine.gb:.0f} GB"
    if machine.nodes > 1:
        raise UserError(f"{profile}: start it on a cluster, LAUNCHER=slurm LAUNCH_CONFIG=FILE")
    fitting = [size for size in cards if size >= machine.gb * GB * SMALLER]
    if len(fitting) < machine.cards:
        seen = ", ".join(f"{size / GB:.0f} GB" for size in cards) or "none"
        raise UserError(
            f"{profile}; visible here: {seen}. Take a smaller profile, or name LAUNCHER and LAUNCH_CONFIG yourself"
        )
    card = min(sorted(fitting)[-machine.cards :])
    return Start("accelerate", "fsdp" if memory.divides(jobs, card, machine.cards) else "ddp", machine.cards)


def check_fits(jobs: list[JobConfig], launcher: Launcher, cards: list[float]) -> None:
    """UserError, by the estimate, for a run that is larger than the cards that it is to be started on.

    cards: bytes of each visible one; where none is known, nothing is checked.
    """
    if jobs[0].training.device == "cpu" or not cards:
        return
    processes, divided = 1, False
    if isinstance(launcher, Accelerate):
        said = read_yaml(launcher.config)
        processes = launcher.processes or int(said.get("num_processes", 1))
        divided = said.get("distributed_type") in ("FSDP", "DEEPSPEED")
    if len(cards) < processes:
        raise UserError(
            f"the launcher starts {processes} processes, one for each card, and {len(cards)} cards are visible: name a "
            "config with as many num_processes"
        )
    number = jobs[0].training.device.partition(":")[2]
    card = cards[int(number)] if number and int(number) < len(cards) else min(cards[:processes])
    for job in {job.name: job for job in jobs}.values():
        memory.check(job, card, processes, divided)
