"""A run directory `runs/<profile>/<experiment>/<method>/<seed>/`. Only this module creates, resumes and finishes one.

    manifest.json    status ("running", "failed", "finished"), config hash, code, versions, machine, cost, error; of a
                     finished run also the SHA-256 of its files, and one of the manifest itself
    config.yaml      the resolved config
    parts/           while running: <step:06d>.rollouts.parquet, then <step:06d>.steps.json, which completes the step;
                     evaluated/ holds the finished batches of a model that is evaluated as it is
    checkpoints/     the trainer's own
    progress.json    {stage, step, total_steps, seconds}, for the display
    steps.parquet, timings.parquet, rollouts.parquet, eval.parquet     merged by `finish`
    tokens/          groups of some steps, token by token (`runs.token_records`), where `training.token_log` is set
    validation/      <step:06d>.parquet, a table as eval.parquet, where `evaluation.validation` is set
    log.txt          stdout and stderr

Every file is replaced in one step, and the manifest says "finished" only once the merged files are on disk. No clock
reading enters steps, rollouts or eval: a run that is killed and resumed has the same bytes as an uninterrupted one.
"""

import json
import math
import resource
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.runs import files, identity, length, manifest, schema, token_records
from reproduce.runs.reader import trained_tables

FRESH = {"config.yaml", "log.txt", "progress.json", ".lock", "parts", "checkpoints"}
"""Names that a directory may hold if its creation was cut short before the manifest."""
BY_STEP = (token_records.FOLDER, "validation")
"""Folders of files that a step may leave beside its part; no hash covers them."""
FOLDERS = ("parts", "checkpoints", *BY_STEP)
TABLES = tuple(f"{name}.parquet" for name in (*schema.TRAINED, "eval"))
FILES = ("manifest.json", "config.yaml", "progress.json", "log.txt", *TABLES)
REMADE = ("config.yaml", "eval.parquet")
"""The files of a finished run that `RunDirectory.open` makes again if they are missing."""
OF_A_SESSION = (*FOLDERS, "progress.json", "tracker.json")
"""Names that a run without a step may have left, and that a run of another config must not find."""


class RunDirectory:
    """One run. Use `RunDirectory.open`; steps are numbered from 1."""

    def __init__(self, path: Path, config: JobConfig, data: dict, seconds_before: float):
        self.path = path
        self.config = config
        self.checkpoints = path / "checkpoints"
        self.parts = path / "parts"
        self._manifest = data
        self._seconds_before = seconds_before
        self._opened_at = time.monotonic()

    @classmethod
    def open(cls, path: Path | str, config: JobConfig) -> "RunDirectory":
        """Create the run of `config`, resume it, or open it finished.

        A run of another config that made no step is replaced; its log stays. A finished run without config.yaml gets
        the file again. One without eval.parquet goes back to "running" with all its steps, so that its last checkpoint
        is evaluated again.

        Raises:
            UserError: `path` holds a run of another config that made a step, or something that is not a run. Nothing is
                changed then.
        """
        path = Path(path)
        data = check(path, config)
        text = config.to_text().encode()
        if data is None and replaceable(path):
            for name in OF_A_SESSION:
                shutil.rmtree(path / name, ignore_errors=True)
                (path / name).unlink(missing_ok=True)
        if data is not None and data["status"] == "finished":
            lost = missing(path)
            if "config.yaml" in lost:
                files.write_bytes(path / "config.yaml", text)
                data = _with_hash_of(path, data, "config.yaml")
            if "eval.parquet" not in lost:
                run = cls(path, config, data, 0.0)
                run._remove_leftovers()
                return run
            if config.method != manifest.WARM_START:
                _take_apart(path)
        path.mkdir(parents=True, exist_ok=True)
        (path / "parts").mkdir(exist_ok=True)
        (path / "checkpoints").mkdir(exist_ok=True)
        for leftover in [*path.glob("*.tmp"), *(path / "parts").glob("*.tmp")]:
            leftover.unlink(missing_ok=True)
        fresh = manifest.new_manifest(config)
        if data is None:
            data = fresh
        else:  # the code, versions and machine of the last session count; the first start time stays
            data = {**fresh, "started_at": data["started_at"]}
        files.write_bytes(path / "config.yaml", text)
        files.write_json(path / "manifest.json", data)
        return cls(path, config, data, _seconds_so_far(path))

    @property
    def status(self) -> str:
        """The status on disk: "running", "failed" or "finished"."""
        return files.read_json(self.path / "manifest.json").get("status", "unknown")

    def last_complete_step(self) -> int:
        """Return the last step n such that steps 1..n are all on disk; 0 if there is none."""
        if self._manifest["status"] == "finished":
            path = self.path / "steps.parquet"
            return files.read_table(path, schema.STEPS_SCHEMA).num_rows if path.exists() else 0
        step = 0
        while _step_file(self.path, step + 1).exists() and _rollouts_file(self.path, step + 1).exists():
            step += 1
        return step

    def drop_steps_after(self, step: int) -> None:
        """Forget the steps after `step`, which the checkpoint to resume from does not know."""
        complete = sorted(self.parts.glob("*.steps.json"), reverse=True)
        beside = [path for folder in BY_STEP for path in (self.path / folder).glob("*.*")]
        for path in [*complete, *self.parts.glob("*.rollouts.parquet"), *beside]:
            if int(path.name.split(".")[0]) > step:
                path.unlink()

    def write_step(self, step: int, metrics: Mapping[str, float], rollouts, seconds: Mapping[str, float]) -> None:
        """Write one complete RL step. It survives a kill once this returns.

        Args:
            step: 1 + `last_complete_step()`.
            metrics: names of `schema.STEP_METRICS` (missing ones become NaN), of `schema.SEARCH_COSTS`, of
                `schema.ENGINE_METRICS`, `schema.SAMPLED_SUCCESS`, and of the form `schema.PART_METRIC`; the same ones
                in every step.
            rollouts: a DataFrame or list of dicts with the columns of `schema.ROLLOUTS_SCHEMA`; `step` may be left out.
            seconds: `rollout` and `train` in wall seconds, and `schema.ENGINE_TIMINGS` where vLLM samples.

        Raises:
            ValueError: a metric is unknown, a column is missing, or the step is out of order.
        """
        if step != self.last_complete_step() + 1:
            raise ValueError(f"step {step} does not follow step {self.last_complete_step()}")
        of_parts = sorted(name for name in metrics if schema.PART_METRIC.fullmatch(name))
        further = (*schema.SEARCH_COSTS, *schema.ENGINE_METRICS, schema.SAMPLED_SUCCESS, *of_parts)
        unknown = set(metrics) - {*schema.STEP_METRICS, *further}
        if unknown:
            raise ValueError(f"unknown step metrics {sorted(unknown)}; known: {', '.join(schema.STEP_METRICS)}")
        if hasattr(rollouts, "to_dict"):
            rollouts = rollouts.to_dict("records")
        table = files.rows_table(
            [{**row, "step": step} for row in rollouts], schema.ROLLOUTS_SCHEMA, schema.ROLLOUTS_ORDER, "rollouts"
        )
        line = {name: float(metrics.get(name, math.nan)) for name in schema.STEP_METRICS}
        line |= {name: float(metrics[name]) for name in further if name in metrics}
        times = {f"seconds_{name.removeprefix('seconds_')}": float(value) for name, value in seconds.items()}
        if set(times) - set(schema.ENGINE_TIMINGS) != set(schema.TIMINGS):
            raise ValueError(f"seconds must hold rollout and train, not {sorted(seconds)}")
        files.write_table(_rollouts_file(self.path, step), table, checksums=True)
        files.write_json(_step_file(self.path, step), {"step": step, "metrics": line, "seconds": times})

    def write_tokens(self, record: token_records.TokenRecord) -> None:
        """Write the record of a step's tokens, before the step itself."""
        token_records.write(self.path, record)

    def write_validation(self, step: int, rows: list[dict]) -> None:
        """Write the evaluation after a step, before the step itself. rows: as of `write_eval`."""
        path = self.path / "validation" / f"{step:06d}.parquet"
        path.parent.mkdir(exist_ok=True)
        table = files.rows_table(rows, schema.EVAL_SCHEMA, schema.EVAL_ORDER, "validation")
        files.write_table(path, table, checksums=True)

    def progress(self, stage: str, step: int, total: int) -> None:
        """Report where the run is, for the display: a stage such as "train" or "evaluate", `step` of `total` done."""
        value = {"stage": stage, "step": step, "total_steps": total, "seconds": self._seconds()}
        files.write_json(self.path / "progress.json", value, durable=False)

    def write_eval(self, rows) -> None:
        """Write eval.parquet, sorted by question and sample.

        Args:
            rows: a DataFrame or dicts with the columns of `schema.EVAL_SCHEMA`, and of `schema.VERDICTS` where there
                are any.

        Raises:
            ValueError: there are no rows, or a column is wrong.
        """
        rows = rows.to_dict("records") if hasattr(rows, "to_dict") else list(rows)
        columns = schema.extended(schema.EVAL_SCHEMA, rows[0] if rows else ())
        table = files.rows_table(rows, columns, schema.EVAL_ORDER, "eval")
        if table.num_rows == 0:
            raise ValueError("eval: no rows")
        files.write_table(self.path / "eval.parquet", table)

    def finish(self, cost: Mapping[str, float] | None = None) -> None:
        """Merge the steps, then mark the run finished.

        Args:
            cost: any of seconds_total, seconds_rollout, seconds_train, seconds_eval, sampled_tokens, trained_tokens,
                tool_calls, trajectories, peak_memory_mb. Missing ones are summed from the steps of all sessions, taken
                from the clock of all sessions (seconds_total) or from the process (peak_memory_mb).

        Raises:
            ValueError: steps or eval.parquet are missing.
        """
        if not (self.path / "eval.parquet").is_file():
            raise ValueError("finish: write_eval was not called")
        steps, timings, rollouts = self._merge()
        warm_start = self._manifest["method"] == manifest.WARM_START
        groups = [row["groups_sampled"] for row in steps]
        wanted = 0 if warm_start else length.whole(vars(self.config.training), groups)
        if len(steps) != wanted:
            raise ValueError(f"finish: {len(steps)} of {wanted} steps are complete")
        if not warm_start:
            for name, rows in (("steps", steps), ("timings", timings)):
                columns = schema.extended(schema.TRAINED[name], rows[0] if rows else ())
                files.write_table(self.path / f"{name}.parquet", files.rows_table(rows, columns))
            files.write_table(self.path / "rollouts.parquet", rollouts)
        total = {
            "seconds_total": self._seconds(),
            **{name: sum(row[name] for row in timings) for name in schema.TIMINGS},
            "seconds_eval": None,
            **{name: _total(steps, name) for name in schema.TOTALS},
            "peak_memory_mb": peak_memory_mb(),
        }
        unknown = set(cost or {}) - set(total)
        if unknown:
            raise ValueError(f"unknown cost {sorted(unknown)}; known: {', '.join(total)}")
        total.update(cost or {})
        hashes = {path.name: files.content_hash(path) for path in sorted(self.path.glob("*.parquet"))}
        hashes |= {"config.yaml": files.content_hash(self.path / "config.yaml")}
        done = {**self._manifest, "status": "finished", "finished_at": manifest.now(), "cost": total, "error": None}
        self._manifest = files.sealed({**done, "files": hashes})
        files.write_json(self.path / "manifest.json", self._manifest)
        self._remove_leftovers()

    def note(self, **fields) -> None:
        """Add fields to the manifest that no hash covers, such as the sandbox of the Python tool."""
        self._update(**fields)

    def fail(self, message: str) -> None:
        """Mark the run failed; the next start resumes it. Directories of this machine are removed from the message."""
        self._update(status="failed", error=manifest.without_paths(message))

    def _update(self, **fields) -> None:
        self._manifest = {**self._manifest, **fields}
        files.write_json(self.path / "manifest.json", self._manifest)

    def _merge(self) -> tuple[list[dict], list[dict], pa.Table]:
        steps, timings, tables = [], [], [schema.ROLLOUTS_SCHEMA.empty_table()]
        for step in range(1, self.last_complete_step() + 1):
            part = files.read_json(_step_file(self.path, step))
            steps.append({"step": step, **part["metrics"]})
            timings.append({"step": step, **part["seconds"]})
            tables.append(files.read_table(_rollouts_file(self.path, step), schema.ROLLOUTS_SCHEMA))
        return steps, timings, pa.concat_tables(tables)

    def _remove_leftovers(self) -> None:
        if self.parts.is_dir():
            shutil.rmtree(self.parts)

    def _seconds(self) -> float:
        return round(self._seconds_before + time.monotonic() - self._opened_at, 3)


def _step_file(path: Path, step: int) -> Path:
    return path / "parts" / f"{step:06d}.steps.json"


def _rollouts_file(path: Path, step: int) -> Path:
    return path / "parts" / f"{step:06d}.rollouts.parquet"


def _with_hash_of(path: Path, data: dict, name: str) -> dict:
    """Update the hash of a file that was written again: settings that change no result may differ in it."""
    if "files" not in data:
        return data
    data = files.sealed({**data, "files": {**data["files"], name: files.content_hash(path / name)}})
    files.write_json(path / "manifest.json", data)
    return data


def missing(path: Path) -> list[str]:
    """List those of `REMADE` that a finished run lacks.

    Raises:
        UserError: it lacks eval.parquet, and its steps are damaged too.
    """
    lost = [name for name in REMADE if not (path / name).exists()]
    if "eval.parquet" in lost and files.read_json(path / "manifest.json")["method"] != manifest.WARM_START:
        trained_tables(path)
    return lost


def _take_apart(path: Path) -> None:
    """Write the parts of a finished run again, as `write_step` had written them."""
    steps, timings, rollouts = trained_tables(path)
    (path / "parts").mkdir(exist_ok=True)
    step_R = rollouts["step"].to_numpy()
    for line, times in zip(steps.to_pylist(), timings.to_pylist(), strict=True):
        step = line.pop("step")
        times.pop("step")
        files.write_table(_rollouts_file(path, step), rollouts.filter(pa.array(step_R == step)), checksums=True)
        files.write_json(_step_file(path, step), {"step": step, "metrics": line, "seconds": times})


def check(path: Path, config: JobConfig) -> dict | None:
    """Read the manifest at `path` if it belongs to `config`. Changes nothing.

    Returns:
        The manifest; None if the directory is free, or holds a run of another config that made no step.

    Raises:
        UserError: the directory belongs to another config or another schema version, or is not a run.
    """
    if not path.exists():
        return None
    if not path.is_dir():
        raise UserError(f"{path} is a file, not a run directory; move it or use another --runs-root")
    for name in (*FILES, *FOLDERS):
        found = path / name
        if found.exists() and found.is_dir() != (name in FOLDERS):
            kinds = ("a folder", "a file")[:: -1 if name in FOLDERS else 1]
            raise UserError(f"{found} is {kinds[0]}, where a run has {kinds[1]}; move it or use another --runs-root")
    if not (path / "manifest.json").exists():
        strange = [p.name for p in sorted(path.iterdir()) if p.name not in FRESH and not p.name.endswith(".tmp")]
        if strange:
            raise UserError(
                f"{path} holds '{strange[0]}' but no manifest.json: not a run; move it or use another --runs-root"
            )
        return None
    data = identity.read_manifest(path)
    found, expected = data.get("config_hash"), manifest.config_hash(config)
    if found != expected:
        if replaceable(path):
            return None
        state = "a finished" if data["status"] == "finished" else "an unfinished"
        raise UserError(
            f"{path} holds {state} run of another config (hash {found}, this one is {expected}); "
            "move it or use another --runs-root"
        )
    identity.check_config(path, data, config.to_dict())
    return data


def replaceable(path: Path) -> bool:
    """Whether `path` holds an unfinished run without a step, a checkpoint or a part of an evaluation.

    Nobody loses anything if a run of another config takes its place.
    """
    if not (path / "manifest.json").exists() or files.read_json(path / "manifest.json").get("status") == "finished":
        return False
    parts, checkpoints = path / "parts", path / "checkpoints"
    made = parts.glob("*.steps.json"), parts.glob("evaluated/*.json"), checkpoints.glob("*"), path.glob("*.parquet")
    return not any(True for found in made for _ in found)


def make_root(root: Path) -> None:
    """Make the folder of all runs. Inside this checkout it gets a .gitignore that hides its contents."""
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        return
    root.mkdir(parents=True, exist_ok=True)
    if root.resolve().is_relative_to(manifest.ROOT):
        (root / ".gitignore").write_text("*\n")


def peak_memory_mb() -> float:
    """Return the peak resident memory of this process, in MB (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def _seconds_so_far(path: Path) -> float:
    """Seconds of earlier sessions, from progress.json; 0 if it is missing or half-written."""
    try:
        return float(json.loads((path / "progress.json").read_text())["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _total(steps: list[dict], name: str) -> float | None:
    values = [row[name] for row in steps if not math.isnan(row[name])]
    return sum(values) if values else None
