"""Find the file of a data set: in a folder of your own, or fetched at its locked revision."""

from pathlib import Path

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.runs.files import file_sha256
from reproduce.tools.hub.fetch import fetched_file
from reproduce.tools.reading import find
from reproduce.worlds.benchmarks.datasets.rl import RL_FILES, rl_path
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES, question_path


def data_file(
    name: str, folder: str | Path | None = None, *, lock: Path | None = None, endpoint: str | None = None
) -> Path:
    """Find the file of an SFT, RL or evaluation set: in `folder`, or as `fetched_file` gives it.

    Raises:
        UserError: it is not there.
    """
    if folder is not None:
        return _in_folder(name, Path(folder))
    return fetched_file(name, lock=lock, endpoint=endpoint)


def _in_folder(name: str, folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f"task.data.folder: there is no folder {folder}")
    if name in EVALUATION_FILES:
        return question_path(name, folder)
    if name in RL_FILES:
        return rl_path(name, folder)
    return find(folder, tuple(f"{name}.{ending}" for ending in ("json", "jsonl", "parquet")), name)


def checked_file(config: JobConfig, name: str) -> Path:
    """Find the file of a set that a run reads.

    Raises:
        UserError: it is missing, or is not the one of the run's config.
    """
    data, sft = config.task.data, config.warm_start.data
    path = data_file(name, None if data is None else data.folder)
    known = dict(data.sha256 or {}) if data is not None else {}
    if sft is not None:
        known[sft.name] = sft.sha256
    if known.get(name) not in (None, file_sha256(path)):
        raise UserError(f"{path}: the file has changed since the runs were set up; restore it, or move them away")
    return path
