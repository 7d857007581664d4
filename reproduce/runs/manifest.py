"""Identity of a run: the hash of its config, the code, the versions and the machine (no host name, no path)."""

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from reproduce.config import strict
from reproduce.config.sections import WARM_START, WARM_START_TRAINING
from reproduce.config.tables import JobConfig
from reproduce.runs.schema import SCHEMA_VERSION

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
WORLDS = ROOT / "data" / "worlds"
PACKAGES = tuple("torch trl transformers accelerate datasets tokenizers bm25s numpy pandas pyarrow".split())
CODE = ("reproduce", "data/worlds", "requirements.txt", "requirements-gpu.txt")


def config_hash(config) -> str:
    """Hash everything that can change a result of a job.

    It covers every setting that is not `strict.Unhashed`, and the SHA-256 of the files of the task's world and panels.
    Hashes and revisions cover data, corpus and model (`reproduce.grid.freeze_inputs`). The names of profile, experiment
    and variant are not covered; what a variant changes is. For the method "warm_start" it leaves out training and
    algorithm settings other than temperature, device and dtype, so that all jobs of a table agree on it.

    Args:
        config: a JobConfig, or its `to_dict()`.

    Returns:
        12 hex digits.
    """
    data = as_dict(config)
    parts = strict.hashed(data, JobConfig)
    if data["method"] == WARM_START:
        parts["training"] = {key: parts["training"][key] for key in WARM_START_TRAINING}
        parts["algorithm"] = {}
    return _digest(parts, data["task"])


def warm_start_hash(config: JobConfig) -> str:
    """Hash what decides the weights that a run begins at: task, model, its own warm start, temperature, device, dtype,
    world files.

    Returns:
        12 hex digits.
    """
    data = config.warm_start_job().to_dict()
    parts = {name: hashed(name, data[name]) for name in ("task", "model", "warm_start")}
    parts["training"] = {key: data["training"][key] for key in WARM_START_TRAINING}
    return _digest(parts, data["task"])


def hashed(section: str, value):
    """Return the part of a config's section that the hash covers."""
    return strict.hashed(value, strict.settings(JobConfig)[section].annotation)


def as_dict(config) -> dict:
    """Return `config` itself if it is a mapping, else its `to_dict()`."""
    return dict(config) if isinstance(config, Mapping) else config.to_dict()


def _digest(parts: dict, task: Mapping) -> str:
    text = json.dumps({**parts, "worlds": world_hashes(task)}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def world_hashes(task: Mapping, folder: Path | None = None) -> dict[str, str]:
    """Hash each file under data/worlds that the task reads: the world and its families' question panels.

    A file belongs to the task if its name, or a folder that it lies in, is the name of the world or of a family, alone
    or followed by ".", "_" or "-". Markdown files do not count.

    Returns:
        path below the folder -> SHA-256; {} if there is no such file.
    """
    folder = WORLDS if folder is None else folder
    names = tuple(map(re.escape, (task["world"], *task["families"])))
    of_task = re.compile(f"({'|'.join(names)})([._-].*)?")
    hashes = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        name = path.relative_to(folder)
        if path.is_file() and path.suffix not in (".md", ".tmp") and any(map(of_task.fullmatch, name.parts)):
            hashes[name.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


def new_manifest(config) -> dict:
    """Make the manifest of a run that starts now (`RunDirectory` lists the fields)."""
    data = as_dict(config)
    commit, dirty = code_version()
    return {
        "schema_version": SCHEMA_VERSION,
        "status": "running",
        **{name: data[name] for name in ("profile", "experiment", "method", "variant", "seed")},
        "config_hash": config_hash(data),
        "code_commit": commit,
        "code_dirty": dirty,
        "versions": versions(),
        "machine": machine(data["training"]["device"]) | arithmetic(),
        "started_at": now(),
        "finished_at": None,
        "cost": None,
        "error": None,
    }


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def code_version() -> tuple[str | None, bool | None]:
    """Find the commit of this checkout, and whether files that decide results differ from it.

    Variables such as GIT_DIR, which would name another repository, are ignored.

    Returns:
        (commit, dirty); (None, None) outside git. If git is there and cannot answer, a warning says why.
    """
    try:
        commit = _git("rev-parse", "HEAD").strip()
        return commit, bool(_git("status", "--porcelain", "--", *CODE).strip())
    except (OSError, subprocess.CalledProcessError) as error:
        if (ROOT / ".git").exists():
            reason = getattr(error, "stderr", None) or error
            logger.warning("the commit of this code is not known: %s", " ".join(str(reason).split())[:200])
        return None, None


def _git(*arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-c", f"safe.directory={ROOT}", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that decide results; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def machine(device: str = "cpu") -> dict:
    """Describe the machine: CPU model, usable cores, memory in GB, GPU name (looked up only if `device` is a CUDA
    device).
    """
    gpu = None
    if device.startswith("cuda"):
        import torch

        gpu = torch.cuda.get_device_name(torch.device(device)) if torch.cuda.is_available() else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {"cpu": _cpu_name(), "cores": usable_cores(), "memory_gb": round(memory, 1), "gpu": gpu}


def arithmetic() -> dict:
    """Describe what rounding depends on besides the CPU's name.

    That is the CPU's family and model (virtual machines hide them in the name), the instruction set that torch computes
    with, and the mathematics libraries in torch's build.
    """
    import torch

    family, model = _cpu_facts("cpu family"), _cpu_facts("model")
    build = [line.strip(" -") for line in torch.__config__.show().splitlines()]
    return {
        "cpu_model": f"family {family}, model {model}" if family and model else None,
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "libraries": [line for line in build if re.match(r"(Intel\(R\)|OpenBLAS|Arm|BLIS)", line)],
    }


def _cpu_name() -> str:
    return _cpu_facts("model name") or platform.machine()


def _cpu_facts(name: str) -> str | None:
    """Look up a line of /proc/cpuinfo about the first core; None if there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return next((value.strip() for key, value in pairs if key.strip() == name), None)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def without_paths(text: str) -> str:
    """Return `text` as one line without this checkout's and the user's directories: manifests are published."""
    text = " ".join(text.split())
    text = text.replace(f"{ROOT}/", "").replace(str(ROOT), ".")
    try:
        home = str(Path.home())
    except RuntimeError:  # neither HOME nor an entry of the user's
        return text
    return text if home == "/" else re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
