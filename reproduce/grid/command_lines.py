"""Command lines of runs: the words of `python -m reproduce`, alone or through `accelerate launch`."""

import sys
from importlib.util import find_spec
from pathlib import Path

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.runs.manifest import WARM_START
from reproduce.yaml_files import read_yaml

CONFIGS = Path(__file__).parent / "accelerate"
START = [sys.executable, "-m", "reproduce.grid.accelerated"]
WORDS = len(START)
"""Where in a command of `accelerated` the words of accelerate launch begin."""


def words(job: JobConfig, path: Path, root: Path) -> list[str]:
    """Return the arguments of `python -m reproduce` that do a job in its run directory or make a warm start."""
    if job.name == WARM_START:
        return ["warm-start", str(warm_start_config(path)), "--runs-root", str(root)]
    return ["job", str(path)]


def warm_start_config(path: Path) -> Path:
    """Return where the config of the warm start is whose run directory is `path`."""
    return path.with_name(f".{path.name}.yaml")


def accelerated(config: Path, words: list[str], *options: str) -> list[str]:
    """Return `accelerate launch` of `python -m reproduce <words>`, wrapped so that its processes never outlive us."""
    return [*START, "--config_file", str(config), *options, "--module", "reproduce", *words]


def accelerate_config(name: str) -> Path:
    """Find the accelerate config of that name, or the file.

    Raises:
        UserError: there is neither (the message lists ours), or it needs DeepSpeed, which is not installed.
    """
    for path in (CONFIGS / f"{name}.yaml", Path(name)):
        if path.is_file():
            _check_deepspeed(path)
            return path.resolve()
    ours = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    raise UserError(f"there is no accelerate config '{name}'; give a file, or one of: {', '.join(ours)}")


def _check_deepspeed(path: Path) -> None:
    if read_yaml(path).get("distributed_type") == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise UserError(
            f"{path.name} needs the package deepspeed: pip install -r requirements-gpu.txt, or take another config "
            "(fsdp)"
        )
