"""Read finished runs strictly: half-written, truncated, foreign or re-configured ones are errors that name the file."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from reproduce.config.strict import InHash, settings
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.runs import files, identity, length, manifest, schema


@dataclass(frozen=True)
class Run:
    """A finished run; its tables are those of `schema`. The warm start has empty steps, timings and rollouts."""

    path: Path
    manifest: dict
    config: dict
    steps: pa.Table
    timings: pa.Table
    rollouts: pa.Table
    eval: pa.Table

    @property
    def method(self) -> str:
        return self.manifest["method"]

    @property
    def name(self) -> str:
        """The variant's name, or the method's: the name of the run's directory and of its row in a table."""
        return self.manifest.get("variant") or self.method

    @property
    def seed(self) -> int:
        return self.manifest["seed"]

    def frame(self, name: str) -> pd.DataFrame:
        """Return the table `name` ("steps", "timings", "rollouts" or "eval") as a data frame."""
        return getattr(self, name).to_pandas()


def read_run(path: Path | str) -> Run:
    """Read the finished run in `path`.

    Raises:
        UserError: the run is not finished, a file is missing, truncated or of another schema, config.yaml (or the world
            that it names) is not what the run was made with, the manifest names another run than the config, or steps
            are missing. The message ends with what to do.
    """
    path = Path(path)
    data = identity.read_manifest(path)
    if data["status"] != "finished":
        raise UserError(f"{path} is not finished (status '{data['status']}'): run the same command again to finish it")
    config = _read_config(path)
    identity.check_config(path, data, config)
    if manifest.config_hash(config) != data["config_hash"]:
        raise UserError(
            f"{path}/config.yaml is not what the run was made with (or the world's files under data/worlds changed "
            f"since): restore them, or {files.MOVE}"
        )
    if data["method"] == manifest.WARM_START:
        steps, timings, rollouts = (kind.empty_table() for kind in schema.TRAINED.values())
    else:
        steps, timings, rollouts = trained_tables(path)
        groups = steps["groups_sampled"].to_pylist()
        expected = list(range(1, length.whole(config["training"], groups) + 1))
        for name, table in (("steps", steps), ("timings", timings)):
            if table["step"].to_pylist() != expected:
                raise UserError(f"{path}/{name}.parquet does not hold steps 1 to {len(expected)}; {files.MOVE}")
    evaluation = files.read_table(path / "eval.parquet", schema.EVAL_SCHEMA, EVALUATE)
    keys = list(zip(*(evaluation[name].to_pylist() for name in schema.EVAL_ORDER), strict=True))
    if not keys or len(set(keys)) != len(keys):
        problem = "holds a sample twice" if keys else "is empty"
        raise UserError(f"{path}/eval.parquet {problem}; {EVALUATE}")
    files.check_content(path, data.get("files") or {})  # last: what is wrong with a table has been said by then
    return Run(path, data, config, steps, timings, rollouts, evaluation)


def validation_files(path: Path) -> list[Path]:
    """List the evaluations of the validation panel in a run directory, in the order of their steps."""
    return sorted((path / "validation").glob("*.parquet"))


EVALUATE = "without it (delete it if it is there) the same command evaluates the last checkpoint again"
WRITE = "without it (delete it if it is there) the same command writes it again"
"""Advice that `RunDirectory.open` makes true."""
_LATER = [name for name, setting in settings(JobConfig).items() if InHash.IF_SET in setting.metadata]


def trained_tables(path: Path) -> list[pa.Table]:
    """Read steps, timings and rollouts of a finished run. Raises UserError as `files.read_table` does."""
    return [files.read_table(path / f"{name}.parquet", kind) for name, kind in schema.TRAINED.items()]


def find_runs(runs_root: Path | str, profile: str, experiment: str) -> list[Path]:
    """List the run directories of one experiment, finished or not: those of warm starts, then by name and seed."""
    base = Path(runs_root) / profile / experiment
    found = [path for path in base.glob("*/*") if path.is_dir() and path.name.isdigit()]
    return sorted(found, key=lambda p: (p.parent.name != manifest.WARM_START, p.parent.name, int(p.name)))


def status_of(path: Path) -> str:
    """Return "finished", "running" (or interrupted), "failed", or "not started" if there is no readable manifest."""
    try:
        return files.read_json(path / "manifest.json").get("status", "not started")
    except UserError:
        return "not started"


def _read_config(path: Path) -> dict:
    """Read the config of a run, without the sections that it does not have."""
    try:
        config = JobConfig.from_yaml(path / "config.yaml").to_dict()
    except UserError as error:
        raise UserError(f"{error}; {WRITE}") from None
    return {name: value for name, value in config.items() if value is not None or name not in _LATER}
