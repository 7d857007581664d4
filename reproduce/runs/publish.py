"""Consolidate finished runs into data/results/<profile>/<experiment>/: small, sorted, the same bytes each time.

To stay small, step metrics keep float32 precision and entropies per turn three decimals (nats). Nothing else changes. A
hundred runs of the profile mini take about 2 MB.
"""

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.runs import files, identity, manifest, schema, token_records
from reproduce.runs.reader import Run, find_runs, read_run, status_of, validation_files
from reproduce.runs.shared import table_config

RESULTS = manifest.ROOT / "data" / "results"
TEXT_LIMIT = 1_500_000  # bytes of eval.parquet up to which every text is kept
TEXT_QUESTIONS = 40  # beyond it: the texts of this many questions, first by id, are kept for the diversity figure
TURN_DECIMALS = 3
VALIDATION, RECORDED = "validation.parquet", "recorded"
TABLE = re.compile(r"table\w+")
"""Names of experiments that are published."""


def publish(
    profile: str,
    experiment: str,
    runs_root: Path | str = "runs",
    results_root: Path | str | None = None,
    allow_partial: bool = False,
) -> list[Path]:
    """Write steps, eval, rollouts (first and last step, without text), manifests.json and config.yaml.

    Where runs have them also validation (every evaluation of the validation panel, without text), and `recorded/<row>/`
    with the token records of the row's first seed that has any.

    Every table has `method` and `seed` in front. In a table of variants `method` holds the variant's name, and
    config.yaml says which method with which settings that is. The warm start's eval rows have the method "warm_start".

    Args:
        profile: such as mini.
        experiment: such as table2.
        runs_root: folder of the runs.
        results_root: None: data/results.
        allow_partial: leave unfinished runs out instead of refusing them.

    Returns:
        The files written.

    Raises:
        UserError: runs are missing, unfinished or broken, or do not share one config.
    """
    if not TABLE.fullmatch(experiment):
        raise UserError(
            f"{experiment} is not published: only runs of a table as its file has it are; to publish other settings, "
            "write them into the table's file in reproduce/config/tables"
        )
    paths = find_runs(runs_root, profile, experiment)
    base = Path(runs_root) / profile / experiment
    if not paths:
        raise UserError(f"there are no runs in {base}: run `make reproduce-{experiment} PROFILE={profile}` first")
    unfinished = [path for path in paths if status_of(path) != "finished"]
    if unfinished and not allow_partial:
        more = f" and {len(unfinished) - 1} more" if len(unfinished) > 1 else ""
        raise UserError(f"{unfinished[0]}{more} not finished: finish by running again, or pass --allow-partial")
    runs = [read_run(path) for path in paths if path not in unfinished]
    for run in runs:
        identity.check_place(run.path, run.manifest)
    runs.sort(key=lambda run: (run.name, run.seed))
    trained = [run for run in runs if run.method != manifest.WARM_START]
    if not trained:
        raise UserError(f"there is no finished run in {base}: nothing to publish")
    config = table_config({run.path: run.config for run in trained})
    runs = _without_unused_warm_starts(base, runs, trained, allow_partial)

    target = Path(results_root or RESULTS) / profile / experiment
    target.mkdir(parents=True, exist_ok=True)
    content = {
        "steps.parquet": small_bytes(_stack(trained, "steps", schema.STEPS_SCHEMA)),
        "rollouts.parquet": small_bytes(_stack(trained, "rollouts", schema.ROLLOUTS_SCHEMA, _first_and_last)),
        "eval.parquet": _eval_bytes(_stack(runs, "eval", schema.EVAL_SCHEMA)),
        "config.yaml": yaml.safe_dump(config, sort_keys=False).encode(),
    }
    content |= _validation(trained) | _recorded(trained)
    (target / VALIDATION).unlink(missing_ok=True)  # of an earlier publication
    shutil.rmtree(target / RECORDED, ignore_errors=True)
    for name, data in content.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(target / name, data)
    files.write_json(target / "manifests.json", [_of_results(run.manifest) for run in runs])
    return [target / name for name in (*content, "manifests.json")]


def experiments(profile: str, runs_root: Path | str = "runs") -> list[str]:
    """List the tables that have runs of this profile.

    Raises:
        UserError: no table has any.
    """
    found = [name for name in _with_runs(profile, runs_root) if TABLE.fullmatch(name)]
    if not found:
        raise UserError(f"there are no runs in {Path(runs_root) / profile}: run `make reproduce-table2` first")
    return found


def left_out(profile: str, runs_root: Path | str = "runs") -> list[str]:
    """List the folders of runs that `experiments` leaves out: tables under settings of the command line."""
    return [name for name in _with_runs(profile, runs_root) if not TABLE.fullmatch(name)]


def _with_runs(profile: str, runs_root: Path | str) -> list[str]:
    folders = sorted(path.name for path in (Path(runs_root) / profile).glob("table*"))
    return [name for name in folders if find_runs(runs_root, profile, name)]


def _without_unused_warm_starts(base: Path, runs: list[Run], trained: list[Run], allow_partial: bool) -> list[Run]:
    """Leave out the warm starts at which only unfinished runs begin.

    Raises:
        UserError: a warm start is of another config or, without `allow_partial`, used by no run or missing.
    """
    wanted = {job.seed: job for job in (JobConfig.from_dict(run.config).warm_start_job() for run in trained)}
    found = {run.seed: run for run in runs if run.method == manifest.WARM_START}
    for seed, run in found.items():
        if seed in wanted and manifest.config_hash(wanted[seed]) != run.manifest["config_hash"]:
            raise UserError(
                f"{run.path} is the warm start of another config than {trained[0].path}; move it and run again"
            )
    if not allow_partial:
        if unused := found.keys() - wanted.keys():
            raise UserError(
                f"no run begins at {found[min(unused)].path}: finish its seeds, move it, or pass --allow-partial"
            )
        if missing := wanted.keys() - found.keys():
            raise UserError(
                f"{base / manifest.WARM_START / str(min(missing))} not finished: finish by running again, or pass "
                "--allow-partial"
            )
    return [run for run in runs if run.method != manifest.WARM_START or run.seed in wanted]


def _stack(runs: list[Run], name: str, expected: pa.Schema, change=lambda table: table) -> pa.Table:
    tables = [labelled(change(getattr(run, name)), run.name, run.seed) for run in runs]
    columns = schema.extended(schema.labelled(expected), {name for table in tables for name in table.column_names})
    return pa.concat_tables([columns.empty_table(), *(_with_all(columns, table) for table in tables)])


def _with_all(columns: pa.Schema, table: pa.Table) -> pa.Table:
    """Add the missing ones of `columns`: NaN for metrics that only other methods have."""
    for field in columns:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.array([math.nan] * table.num_rows, field.type))
    return table.select(columns.names)


def labelled(table: pa.Table, method: str, seed: int) -> pa.Table:
    """Put the columns `method` and `seed` in front of a table."""
    rows = table.num_rows
    columns = [pa.array([method] * rows, pa.string()), pa.array([seed] * rows, pa.int64()), *table.columns]
    return pa.table(columns, schema=schema.labelled(table.schema))


def _first_and_last(rollouts: pa.Table) -> pa.Table:
    steps = rollouts["step"].to_pylist()
    ends = {min(steps), max(steps)} if steps else set()
    kept = rollouts.filter(pa.array([step in ends for step in steps], pa.bool_()))
    return _without_text(kept, [True] * kept.num_rows)


def _validation(trained: list[Run]) -> dict[str, bytes]:
    """Return the file of all evaluations of the validation panel, without text; none if no run has any."""
    tables = [
        labelled(files.read_table(path, schema.EVAL_SCHEMA), run.name, run.seed)
        for run in trained
        for path in validation_files(run.path)
    ]
    if not tables:
        return {}
    table = pa.concat_tables(tables)
    return {VALIDATION: small_bytes(_without_text(table, [True] * table.num_rows))}


def _recorded(trained: list[Run]) -> dict[str, bytes]:
    """Return the token records of the first run of every row that has any. trained: ordered by row and seed."""
    first: dict[str, Run] = {}
    for run in trained:
        if token_records.steps_of(run.path):
            first.setdefault(run.name, run)
    found = {}
    for name, run in first.items():
        for path in (token_records.path_of(run.path, step) for step in token_records.steps_of(run.path)):
            token_records.read(path)  # a broken one is named
            found[f"{RECORDED}/{name}/{path.relative_to(run.path)}"] = path.read_bytes()
    return found


def _eval_bytes(table: pa.Table) -> bytes:
    data = small_bytes(table)
    if len(data) <= TEXT_LIMIT:
        return data
    questions = table["question_id"].to_pylist()
    kept = set(sorted(set(questions))[:TEXT_QUESTIONS])
    return small_bytes(_without_text(table, [question not in kept for question in questions]))


def small_bytes(table: pa.Table) -> bytes:
    """As `files.table_bytes`, with fewer digits (see above) and float64 columns split by byte, which helps zstd."""
    columns, split = [], []
    for field in table.schema:
        column = table[field.name].combine_chunks()
        if pa.types.is_float64(field.type):
            split.append(field.name)
            column = pa.array(column.to_numpy(zero_copy_only=False).astype(np.float32).astype(np.float64))
        elif pa.types.is_list(field.type):
            values = np.round(column.values.to_numpy().astype(np.float64), TURN_DECIMALS).astype(np.float32)
            column = pa.ListArray.from_arrays(column.offsets, pa.array(values))
        columns.append(column)
    small = pa.table(columns, schema=table.schema).replace_schema_metadata(None)
    others = ["turn_entropies.list.element" if pa.types.is_list(f.type) else f.name for f in table.schema]
    sink = pa.BufferOutputStream()
    pq.write_table(
        small,
        sink,
        compression="zstd",
        compression_level=19,
        row_group_size=1 << 20,
        use_byte_stream_split=split,
        use_dictionary=[name for name in others if name not in split],
    )
    return sink.getvalue().to_pybytes()


def _without_text(table: pa.Table, drop: list[bool]) -> pa.Table:
    texts = [None if gone else text for gone, text in zip(drop, table["text"].to_pylist(), strict=True)]
    return table.set_column(
        table.schema.get_field_index("text"), table.schema.field("text"), [pa.array(texts, pa.string())]
    )


def _of_results(data: dict) -> dict:
    """Drop the checksums of files that are not published as they are."""
    return {key: value for key, value in data.items() if key not in ("files", files.DIGEST)}
