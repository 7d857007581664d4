"""Checks of the machine: versions, sandbox, launcher, cards, memory of a card, disk."""

import os
import re
import shutil
from importlib import metadata
from pathlib import Path

from reproduce.commands.preflight.check import NotNeeded
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid.launchers import Accelerate, open_launcher
from reproduce.grid.machine import Start
from reproduce.paths import shown
from reproduce.runs.manifest import ROOT
from reproduce.tools.hub.at_hand import FETCHED_LATER, model_at_hand
from reproduce.tools.sandbox import probe
from reproduce.training.installed import check_installed
from reproduce.training.memory import GB
from reproduce.worlds.registry import world_of
from reproduce.yaml_files import read_yaml

DIVIDES = ("FSDP", "DEEPSPEED")
SPARE = 1.1
"""Room on the disk beyond what is counted: assumed."""


def pins(path: Path) -> dict[str, str]:
    """package -> version of the lines `package==version` of a requirements file."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;#]+)", path.read_text(), re.MULTILINE)
    return dict(found)


def differing(wanted: dict[str, str]) -> list[str]:
    """The packages that are installed in another version, or not at all, each as one phrase."""
    found = []
    for package, version in wanted.items():
        try:
            have = metadata.version(package).partition("+")[0]
        except metadata.PackageNotFoundError:
            found.append(f"{package} is missing ({version})")
            continue
        if have != version:
            found.append(f"{package} is {have}, not {version}")
    return found


def requirements(job: JobConfig) -> str:
    """The file that names the versions for a job: that of GPUs where it trains on one or samples with vLLM."""
    gpu = job.training.device != "cpu" or (job.engine is not None and job.engine.name.startswith("vllm"))
    return "requirements-gpu.txt" if gpu else "requirements.txt"


def check_versions(jobs: list[JobConfig], folder: Path = ROOT) -> str:
    """The packages of the requirements file that belongs to these jobs, and the extras that their settings need."""
    name = requirements(jobs[0])
    wrong = differing(pins(folder / name))
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UserError(f"{', '.join(wrong[:5])}{more}: pip install -r {name}")
    check_installed(jobs)
    return f"as {name} has them"


def check_sandbox(job: JobConfig) -> str:
    """The backend that confines programs that the model writes."""
    if not world_of(job.task).runs_code:
        raise NotNeeded("no tool of this world runs programs")
    return probe().description


def check_launcher(job: JobConfig, start: Start, root: Path) -> str:
    """Whether the launcher and its config are there."""
    open_launcher(start.launcher, start.config, root, job.training.device)
    return start.launcher if start.config is None else f"{start.launcher}, {start.config}"


def launched(start: Start, root: Path, device: str) -> tuple[int, bool]:
    """(processes of a run, whether they divide weights) under a launcher of this machine."""
    launcher = open_launcher(start.launcher, start.config, root, device, start.processes)
    if not isinstance(launcher, Accelerate):
        return 1, False
    said = read_yaml(launcher.config)
    return start.processes or int(said.get("num_processes", 1)), said.get("distributed_type") in DIVIDES


def check_cards(job: JobConfig, processes: int, here: bool = True) -> str:
    """As many cards as a run has processes. here: False where runs are started on other machines."""
    if job.training.device == "cpu":
        raise NotNeeded("training.device is cpu")
    if not here:
        raise NotNeeded("the cards are on the cluster's nodes; the memory of one is checked there")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count < processes:
        raise UserError(
            f"CUDA devices visible here: {count}; processes of a run, one card each: {processes}. Run on a machine "
            "with more, or give LAUNCH_CONFIG=FILE with fewer num_processes"
        )
    card = torch.cuda.get_device_properties(0)
    return f"{count} x {card.name}, {card.total_memory / GB:.0f} GB each"


def check_memory(jobs: list[JobConfig], processes: int, divided: bool, stated: float | None, gb: float | None) -> str:
    """Every row of the table by estimate against a card. gb: of a card; None: of the first that is visible, else what
    the profile states."""
    job = jobs[0]
    if job.training.device == "cpu":
        raise NotNeeded("training.device is cpu")
    import torch

    from reproduce.training import memory

    if gb is None and not torch.cuda.is_available():
        gb = stated
    if gb is None and not torch.cuda.is_available():
        raise UserError("there is no card to compare the estimate with: name its size, CARD=80 (GB)")
    card = gb * GB if gb is not None else float(torch.cuda.get_device_properties(0).total_memory)
    rows = {job.name: memory.check(job, card, processes, divided) for job in jobs}
    most = max(rows, key=lambda name: rows[name].total)
    return f"at most {rows[most].total / GB:.0f} of {card / GB:.0f} GB a card, by estimate ({most})"


def check_disk(jobs: list[JobConfig], runs_root: Path) -> str:
    """Free space for models, checkpoints and logs, by `make plan`'s count, where they are written."""
    from huggingface_hub import constants

    from reproduce.commands.plan.assumptions import Assumptions
    from reproduce.commands.plan.cost import committed, plan

    job = jobs[0]
    made = plan(jobs, committed(), Assumptions(job))
    download = 2.0 * made.model.parameters if job.model.name_or_path else 0.0
    need = {runs_root: made.total["disk_bytes"] - download}
    if download and _to_fetch(job):
        cache = Path(constants.HF_HUB_CACHE)
        need[cache] = need.get(cache, 0.0) + download
    by_disk: dict[int, tuple[Path, float]] = {}
    for folder, size in need.items():
        there = _existing(folder)
        disk = os.stat(there).st_dev
        by_disk[disk] = by_disk[disk][0] if disk in by_disk else folder, by_disk.get(disk, (0, 0.0))[1] + size
    said = []
    for folder, size in by_disk.values():
        free = float(shutil.disk_usage(_existing(folder)).free)
        if free < size * SPARE:
            raise UserError(
                f"{shown(folder)} has {free / GB:.1f} GB free, and about {size * SPARE / GB:.1f} are needed (make plan)"
                ": free some, name a folder on another disk (RUNS, or HF_HOME), or run fewer METHODS at a time"
            )
        said.append(f"{shown(folder)}: {size / GB:.1f} GB needed, {free / GB:.1f} free")
    return "; ".join(said)


def _to_fetch(job: JobConfig) -> bool:
    try:
        return model_at_hand(job.model.name_or_path)[1] == FETCHED_LATER
    except UserError:  # a check of its own says so
        return True


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
