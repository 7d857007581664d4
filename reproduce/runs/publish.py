"""Consolidates finished runs into data/results/<profile>/<experiment>/: small, sorted, the same bytes each time."""

from pathlib import Path

import pyarrow as pa
import yaml

from reproduce.errors import UserError
from reproduce.runs import files, manifest, schema
from reproduce.runs.reader import Run, find_runs, read_run, status_of

RESULTS = manifest.ROOT / "data" / "results"
TEXT_LIMIT = 4_000_000  # bytes of eval.parquet up to which every text is kept
TEXT_QUESTIONS = 40  # beyond it: the texts of this many questions, first by id, are kept for the diversity figure


def publish(
    profile: str,
    experiment: str,
    runs_root: Path | str = "runs",
    results_root: Path | str | None = None,
    allow_partial: bool = False,
) -> list[Path]:
    """Writes steps, eval, rollouts (first and last step, without text), manifests.json and config.yaml; returns them.

    Every table has `method` and `seed` in front; the warm start's eval rows have the method "warm_start".
    Raises UserError when runs are missing, unfinished (unless `allow_partial`, which leaves them out), broken, or do
    not share one config.
    """
    paths = find_runs(runs_root, profile, experiment)
    base = Path(runs_root) / profile / experiment
    if not paths:
        raise UserError(f"there are no runs in {base}: run `make reproduce-{experiment} PROFILE={profile}` first")
    unfinished = [path for path in paths if status_of(path) != "finished"]
    if base / manifest.WARM_START not in paths:
        unfinished.insert(0, base / manifest.WARM_START)
    if unfinished and not allow_partial:
        more = f" and {len(unfinished) - 1} more" if len(unfinished) > 1 else ""
        raise UserError(f"{unfinished[0]}{more} not finished: finish by running again, or pass --allow-partial")
    runs = [read_run(path) for path in paths if path not in unfinished]
    runs.sort(key=lambda run: (run.method, run.seed))
    trained = [run for run in runs if run.method != manifest.WARM_START]
    if not trained:
        raise UserError(f"there is no finished run in {base}: nothing to publish")
    config = _shared_config(runs)

    target = Path(results_root or RESULTS) / profile / experiment
    target.mkdir(parents=True, exist_ok=True)
    content = {
        "steps.parquet": files.table_bytes(_stack(trained, "steps", schema.STEPS_SCHEMA)),
        "rollouts.parquet": files.table_bytes(_stack(trained, "rollouts", schema.ROLLOUTS_SCHEMA, _first_and_last)),
        "eval.parquet": _eval_bytes(_stack(runs, "eval", schema.EVAL_SCHEMA)),
        "config.yaml": yaml.safe_dump(config, sort_keys=False).encode(),
    }
    for name, data in content.items():
        files.write_bytes(target / name, data)
    files.write_json(target / "manifests.json", [run.manifest for run in runs])
    return [target / name for name in (*content, "manifests.json")]


def _shared_config(runs: list[Run]) -> dict:
    """What all runs share, with methods, seeds and overrides beside it; UserError when they do not share it."""
    trained = [run for run in runs if run.method != manifest.WARM_START]
    first = trained[0]
    algorithm: dict[str, dict] = {}
    for run in trained:
        if manifest.shared_hash(run.config) != manifest.shared_hash(first.config):
            raise UserError(f"{run.path} and {first.path} have different configs: publish runs of one config only")
        if algorithm.setdefault(run.method, run.config["algorithm"]) != run.config["algorithm"]:
            raise UserError(
                f"{run.path}: '{run.method}' has other algorithm settings than its other seeds; run it again"
            )
    for run in runs:
        expected = {**first.config, "method": manifest.WARM_START, "seed": run.seed}
        if run.method == manifest.WARM_START and manifest.config_hash(expected) != run.manifest["config_hash"]:
            raise UserError(f"{run.path} is the warm start of another config than {first.path}; move it and run again")
    shared = {name: value for name, value in first.config.items() if name not in ("method", "seed", "algorithm")}
    seeds = {run.method: [r.seed for r in trained if r.method == run.method] for run in trained}
    return {**shared, "seeds": seeds, "algorithm": algorithm}


def _stack(runs: list[Run], name: str, expected: pa.Schema, change=lambda table: table) -> pa.Table:
    tables = [labelled(change(getattr(run, name)), run.method, run.seed) for run in runs]
    return pa.concat_tables([schema.labelled(expected).empty_table(), *tables])


def labelled(table: pa.Table, method: str, seed: int) -> pa.Table:
    """The table with the columns `method` and `seed` in front."""
    rows = table.num_rows
    columns = [pa.array([method] * rows, pa.string()), pa.array([seed] * rows, pa.int64()), *table.columns]
    return pa.table(columns, schema=schema.labelled(table.schema))


def _first_and_last(rollouts: pa.Table) -> pa.Table:
    steps = rollouts["step"].to_pylist()
    ends = {min(steps), max(steps)} if steps else set()
    kept = rollouts.filter(pa.array([step in ends for step in steps], pa.bool_()))
    return _without_text(kept, [True] * kept.num_rows)


def _eval_bytes(table: pa.Table) -> bytes:
    data = files.table_bytes(table)
    if len(data) <= TEXT_LIMIT:
        return data
    questions = table["question_id"].to_pylist()
    kept = set(sorted(set(questions))[:TEXT_QUESTIONS])
    return files.table_bytes(_without_text(table, [question not in kept for question in questions]))


def _without_text(table: pa.Table, drop: list[bool]) -> pa.Table:
    texts = [None if gone else text for gone, text in zip(drop, table["text"].to_pylist(), strict=True)]
    return table.set_column(
        table.schema.get_field_index("text"), table.schema.field("text"), [pa.array(texts, pa.string())]
    )
