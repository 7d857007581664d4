"""Measurements: tokens and seconds of runs (own ones, or the committed results) and the rows of `make bench`.

A run counts for the plan of another table where model, device and number type are the same; what its method adds
to a trajectory counts for every profile.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from reproduce.commands.plan.assumptions import Assumptions
from reproduce.commands.plan.work import Shape, shape_of
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.runs import files, manifest, schema
from reproduce.runs.reader import find_runs
from reproduce.yaml_files import read_yaml

BASELINE = "grpo"
SOURCES = OWN, COMMITTED, BENCH = "own runs", "committed results", "make bench"


@dataclass(frozen=True)
class Observed:
    """Counts (as `work.work` takes them) and seconds of one run's finished RL steps. other: seconds beside its stages,
    None if not known yet; where: the manifests of the runs of this source."""

    job: JobConfig
    counts: dict[str, float]
    sampling: float
    training: float
    other: float | None
    total: float | None
    machine: str
    source: str
    where: str = ""


def committed(root: Path) -> list[Observed]:
    """Every trained run below data/results: `<root>/<profile>/<experiment>`. No folder gives none."""
    found: list[Observed] = []
    for folder in sorted(p.parent for p in Path(root).glob("*/*/manifests.json")):
        config = read_yaml(folder / "config.yaml")
        steps = files.read_table(folder / "steps.parquet", schema.labelled(schema.STEPS_SCHEMA)).to_pandas()
        for made in json.loads((folder / "manifests.json").read_text()):
            if made["method"] != manifest.WARM_START:
                job = _job(config, made)
                of_run = steps[(steps["method"] == job.name) & (steps["seed"] == job.seed)]
                found.append(_observed(job, of_run, made, COMMITTED, "data/results/*/*/manifests.json"))
    return found


def own(root: Path) -> list[Observed]:
    """Every run below a runs root that has done at least one RL step, finished or not."""
    folders = sorted(p for p in Path(root).glob("*/*") if p.is_dir())
    paths = (path for folder in folders for path in find_runs(root, folder.parent.name, folder.name))
    return [seen for path in paths if path.name != manifest.WARM_START and (seen := _own(path, root))]


def _own(path: Path, root: Path) -> Observed | None:
    try:
        steps, made = _steps(path), files.read_json(path / "manifest.json")
        cost = {name: float(steps[name].sum()) for name in schema.TIMINGS} | (made.get("cost") or {})
        job, where = JobConfig.from_yaml(path / "config.yaml"), f"{root}/*/*/*/*/manifest.json"
        return _observed(job, steps, made | {"cost": cost}, OWN, where) if len(steps) else None
    except (UserError, KeyError, TypeError):  # of another version, or cut short: it says nothing about speed
        return None


def _steps(path: Path) -> pd.DataFrame:
    """Metrics and seconds of the steps that a run has done, finished or not."""
    if (path / "timings.parquet").is_file():
        tables = (("steps", schema.STEPS_SCHEMA), ("timings", schema.TIMINGS_SCHEMA))
        steps, timings = (files.read_table(path / f"{name}.parquet", kind).to_pandas() for name, kind in tables)
        return steps.merge(timings, on="step")
    parts = [files.read_json(part) for part in sorted((path / "parts").glob("*.steps.json"))]
    columns = [*schema.STEP_METRICS, *schema.TIMINGS]
    return pd.DataFrame([part["metrics"] | part["seconds"] for part in parts], columns=columns, dtype=float)


def _observed(job: JobConfig, steps: pd.DataFrame, made: dict, source: str, where: str) -> Observed:
    totals = steps[list(schema.TOTALS)].sum()
    sampled, trained, calls, trajectories = (float(totals[name]) for name in schema.TOTALS)
    results = max(0.0, float((steps["completion_tokens_mean"] * steps["trajectories"]).sum()) - trained)
    counts = {"steps": len(steps), "trajectories": trajectories, "sampled": sampled, "trained": trained}
    cost = made["cost"]
    sampling, training, total = (cost.get(f"seconds_{name}") for name in ("rollout", "train", "total"))
    other = None if total is None else total - sampling - training - (cost.get("seconds_eval") or 0.0)
    counts |= {"calls": calls, "results": results}
    return Observed(job, counts, sampling, training, other, total, machine_name(made["machine"]), source, where)


def _job(config: dict, made: dict) -> JobConfig:
    """The job of a published run, from its table's config.yaml and its manifest."""
    row, variant = config["rows"][made.get("variant") or made["method"]], made.get("variant")
    data = {key: value for key, value in config.items() if key != "rows"}
    data |= {"method": row["method"], "seed": made["seed"], "algorithm": row["algorithm"], "variant": variant}
    data |= {"training": config["training"] | row["training"], "training_changes": row["training"] if variant else {}}
    return JobConfig.from_dict(data, "committed results")


def bench(path: Path) -> list[Observed]:
    """The rows `step` of a bench file: one RL step of each method, profile mini's model. No file gives none."""
    rows = list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []
    forced = next((float(r["left"]) for r in rows if r["measure"].startswith("forced tokens")), None)
    steps = {r["measure"]: r for r in rows if r["comparison"] == "step"}
    if not steps or forced is None or rows[0]["quick"] == "True":
        return []
    found = []
    machine = machine_name({"cpu": rows[0]["cpu"], "cores": int(rows[0]["cores"])})
    for side in ("left", "right"):
        value = {measure: float(row[side]) for measure, row in steps.items()}
        name = steps["seconds, training"][f"{side}_name"]
        job = TableConfig.load(2).jobs("mini", [name], [0])[0]
        kept = float(job.training.prompts_per_step * job.training.group_size)
        counts = {"sampled": value["sampled tokens"], "trained": value["trained tokens"], "results": kept * forced}
        # the CPU's share of the wall time: what else runs on the machine is not the method's
        quiet = min(1.0, value["CPU seconds of the same"] / value["seconds, rollout and training"])
        seconds = (value[f"seconds, {stage}"] * quiet for stage in ("rollout", "training"))
        counts |= {"steps": 1, "trajectories": kept, "calls": 0.0}
        found.append(Observed(job, counts, *seconds, None, None, machine, BENCH))
    return found


def machine_name(facts: dict) -> str:
    """A machine as manifests describe it, in words."""
    return facts.get("gpu") or f"{facts['cpu']}, {facts['cores']} cores"


def shape_for(job: JobConfig, observed: list[Observed], assume: Assumptions) -> Shape:
    """The mean shape of trajectories in `BASELINE` runs of the same task, best our own, else `shape_of`."""
    expected = shape_of(job, assume)
    fits = [seen for seen in observed if (seen.job.task, seen.job.model) == (job.task, job.model)]
    fits = [seen for seen in fits if _baseline(seen.job) and seen.source != BENCH]
    fits = [seen for seen in fits if seen.source == OWN] or fits
    if not fits:
        return expected
    total = {name: sum(seen.counts[name] for seen in fits) for name in fits[0].counts}
    sampled, results, calls = (total[name] / total["trajectories"] for name in ("sampled", "results", "calls"))
    rows = calls if job.task.episodes is not None else 1.0
    prompt = expected.prompt * rows / expected.rows
    return Shape(prompt, sampled, results, calls, rows, f"{fits[0].source}, {BASELINE}")


def _baseline(job: JobConfig) -> bool:
    return job.method == BASELINE and not job.algorithm


def factors(observed: list[Observed]) -> dict[str, tuple]:
    """row -> tokens sampled, trained on and calls against `BASELINE` in the same committed table, mean of tables."""
    ratios: dict[str, list[np.ndarray]] = {}
    runs = [seen for seen in observed if seen.source == COMMITTED]
    for experiment in sorted({seen.job.experiment for seen in runs}):
        of_table = [seen for seen in runs if seen.job.experiment == experiment]
        base = [seen for seen in of_table if _baseline(seen.job) and seen.job.variant is None]
        for name in {seen.job.name for seen in of_table} if base else ():
            means = _means([seen for seen in of_table if seen.job.name == name])
            ratios.setdefault(name, []).append(means / _means(base))
    return {name: (*np.mean(rows, axis=0), f"{COMMITTED} against {BASELINE}") for name, rows in ratios.items()}


def _means(runs: list[Observed]) -> np.ndarray:
    """Tokens sampled and trained on, and calls, of a trajectory."""
    totals = [[seen.counts[n] for n in ("sampled", "trained", "calls", "trajectories")] for seen in runs]
    *sums, trajectories = np.sum(totals, axis=0)
    return np.array(sums) / trajectories
