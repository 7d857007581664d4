"""Measurements: tokens and seconds of runs (own ones, or the committed results) and the rows of `make bench`.

A run counts for the plan of another table where model, device and number type are the same; what its method adds
to a trajectory counts for every profile.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from reproduce.commands.plan.assumptions import Assumptions
from reproduce.commands.plan.shapes import Shape, shape_of
from reproduce.commands.plan.speed import Measured, Point, fitted
from reproduce.commands.plan.workload import Counts, Effort, measured_rl, parts_of
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.runs import files, manifest, schema
from reproduce.runs.reader import find_runs
from reproduce.training.flops import model_of, vocabulary_of
from reproduce.yaml_files import read_yaml

BASELINE = "grpo"
NAMED = 60
"""Characters that the names of the tables behind a number may take."""
OWN, COMMITTED, BENCH = "own runs", "committed results", "make bench"
_COUNTED = ("completion_tokens", "sampled_tokens", "trained_tokens", "tool_calls", "trajectories")


@dataclass(frozen=True)
class Observed:
    """Counts and seconds of one run's finished RL steps. other: seconds beside its stages, None if not known yet."""

    job: JobConfig
    counts: Counts
    sampling: float
    training: float
    other: float | None
    total: float | None
    machine: str
    source: str
    where: str = ""  # the manifests of the runs of this source

    def point(self, assume: Assumptions) -> Point:
        """For `speed.fitted`."""
        shape = shape_of(self.job, assume)
        model = model_of(self.job.model, vocabulary_of(self.job))
        critic, reference, *_ = parts_of(self.job)
        effort = Effort(1.0, 1.0, 1.0, critic, reference, "as measured")
        work = measured_rl(self.job, model, shape, effort, self.counts)
        return Point(work, self.sampling, self.training, float("nan") if self.other is None else self.other)


def committed(root: Path) -> list[Observed]:
    """Every trained run below data/results: `<root>/<profile>/<experiment>`. No folder gives none."""
    found: list[Observed] = []
    for folder in sorted(p.parent for p in Path(root).glob("*/*/manifests.json")):
        config = read_yaml(folder / "config.yaml")
        steps = files.read_table(folder / "steps.parquet", schema.labelled(schema.STEPS_SCHEMA)).to_pandas()
        for made in json.loads((folder / "manifests.json").read_text()):
            if made["method"] == manifest.WARM_START:
                continue
            name = made.get("variant") or made["method"]
            of_run = steps[(steps["method"] == name) & (steps["seed"] == made["seed"])]
            cost = made["cost"]
            stages = cost["seconds_rollout"] + cost["seconds_train"] + cost["seconds_eval"]
            found.append(
                Observed(
                    _job(config, name, made),
                    _counts(of_run),
                    cost["seconds_rollout"],
                    cost["seconds_train"],
                    cost["seconds_total"] - stages,
                    cost["seconds_total"],
                    machine_name(made["machine"]),
                    COMMITTED,
                    "data/results/*/*/manifests.json",
                )  # fmt: skip
            )
    return found


def own(root: Path) -> list[Observed]:
    """Every run below a runs root that has done at least one RL step, finished or not."""
    found = []
    for base in sorted(p for p in Path(root).glob("*/*") if p.is_dir()):
        for path in find_runs(root, base.parent.name, base.name):
            seen = None if path.name == manifest.WARM_START else _own(path, f"{root}/*/*/*/*/manifest.json")
            if seen is not None:
                found.append(seen)
    return found


def _own(path: Path, where: str) -> Observed | None:
    try:
        job = JobConfig.from_yaml(path / "config.yaml")
        made = files.read_json(path / "manifest.json")
        steps, times = _steps(path)
        machine = machine_name(made["machine"])
    except (UserError, KeyError, TypeError):  # of another version, or cut short: it says nothing about speed
        return None
    if not len(steps):
        return None
    cost = made.get("cost") or {}
    total, sampling, training = cost.get("seconds_total"), times["seconds_rollout"].sum(), times["seconds_train"].sum()
    other = None if total is None else total - sampling - training - (cost.get("seconds_eval") or 0.0)
    return Observed(job, _counts(steps), float(sampling), float(training), other, total, machine, OWN, where)


def _steps(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics and seconds of the steps that a run has done, finished or not."""
    if (path / "timings.parquet").is_file():
        tables = (("steps", schema.STEPS_SCHEMA), ("timings", schema.TIMINGS_SCHEMA))
        return tuple(files.read_table(path / f"{name}.parquet", kind).to_pandas() for name, kind in tables)
    parts = [files.read_json(part) for part in sorted((path / "parts").glob("*.steps.json"))]
    return (
        pd.DataFrame([part["metrics"] for part in parts], columns=list(schema.STEP_METRICS), dtype=float),
        pd.DataFrame([part["seconds"] for part in parts], columns=list(schema.TIMINGS), dtype=float),
    )


def _counts(steps: pd.DataFrame) -> Counts:
    completion = float((steps["completion_tokens_mean"] * steps["trajectories"]).sum())
    total = {name: float(steps[name].sum()) for name in _COUNTED[1:]}
    return Counts(
        len(steps), total["trajectories"], total["sampled_tokens"], total["trained_tokens"], total["tool_calls"],
        max(0.0, completion - total["trained_tokens"]),
    )  # fmt: skip


def _job(config: dict, name: str, made: dict) -> JobConfig:
    row = config["rows"][name]
    shared = {key: value for key, value in config.items() if key != "rows"}
    data = {
        **shared, "method": row["method"], "seed": made["seed"], "algorithm": row["algorithm"],
        "training": {**config["training"], **row["training"]}, "variant": made.get("variant"),
        "training_changes": row["training"] if made.get("variant") else {},
    }  # fmt: skip
    return JobConfig.from_dict(data, "committed results")


def bench(path: Path) -> list[Observed]:
    """The rows `step` of a bench file: one RL step of each method, profile mini's model. No file gives none."""
    if not path.is_file():
        return []
    with path.open() as file:
        rows = list(csv.DictReader(file))
    steps = {(r["measure"], r[f"{side}_name"]): float(r[side]) for r in rows if r["comparison"] == "step"
             for side in ("left", "right")}  # fmt: skip
    forced = next((float(r["left"]) for r in rows if r["measure"].startswith("forced tokens")), None)
    if not steps or forced is None or rows[0]["quick"] == "True":
        return []
    found = []
    for method in sorted({name for _, name in steps}):
        job = TableConfig.load(2).jobs("mini", [method], [0])[0]
        kept = float(job.training.prompts_per_step * job.training.group_size)
        counts = Counts(
            1, kept, steps["sampled tokens", method], steps["trained tokens", method], 0.0, kept * forced
        )  # fmt: skip
        # the CPU's share of the wall time: what else runs on the machine is not the method's
        quiet = min(1.0, steps["CPU seconds of the same", method] / steps["seconds, rollout and training", method])
        seconds = (steps[f"seconds, {stage}", method] * quiet for stage in ("rollout", "training"))
        name = machine_name({"cpu": rows[0]["cpu"], "cores": int(rows[0]["cores"]), "gpu": None})
        found.append(Observed(job, counts, *seconds, None, None, name, BENCH))
    return found


def machine_name(facts: dict) -> str:
    """A machine as manifests describe it, in words."""
    return facts.get("gpu") or f"{facts['cpu']}, {facts['cores']} cores"


def speed_for(job: JobConfig, observed: list[Observed], assume: Assumptions) -> Measured | None:
    """Speeds of the job's model on its device, from the runs of the first source that has any; None without any.

    Sources, best first: own runs, the committed results, the bench; one of this machine goes before one of another.
    """
    fits = [seen for seen in observed if _same_work(seen.job, job)]
    if not fits:
        return None
    here = machine_name(manifest.machine(job.training.device))
    order = (OWN, COMMITTED, BENCH)
    best = min({(seen.machine != here, order.index(seen.source)) for seen in fits})
    chosen = [seen for seen in fits if (seen.machine != here, order.index(seen.source)) == best]
    names = _few({seen.job.experiment for seen in chosen}, chosen[0].where)
    points = [seen.point(assume) for seen in chosen]
    source = f"{chosen[0].source} ({chosen[0].machine})" if best[1] == 2 else (
        f"{chosen[0].source}: {len(chosen)} runs of {names} ({chosen[0].machine})"
    )  # fmt: skip
    device = "CPU" if job.training.device == "cpu" else chosen[0].machine
    return fitted(points, source, device)


def _few(experiments: set[str], where: str) -> str:
    """The tables' names; of many only the number, and the files that name them."""
    names = ", ".join(sorted(experiments))
    return names if len(names) <= NAMED else f"{len(experiments)} tables and trials ({where})"


def _same_work(seen: JobConfig, job: JobConfig) -> bool:
    a, b = seen.training, job.training
    return seen.model == job.model and (a.device, a.dtype, a.lora) == (b.device, b.dtype, b.lora)


def shape_for(job: JobConfig, observed: list[Observed], assume: Assumptions) -> Shape:
    """The shape of the table's trajectories: of its own `BASELINE` runs where there are any, else `shape_of`."""
    expected = shape_of(job, assume)
    fits = [
        seen for seen in observed
        if seen.job.task == job.task and seen.job.model == job.model and _baseline(seen.job) and seen.source != BENCH
    ]  # fmt: skip
    if not fits:
        return expected
    own_ones = [seen for seen in fits if seen.source == OWN]
    counts = [seen.counts for seen in own_ones or fits]
    kept = sum(c.trajectories for c in counts)
    calls = sum(c.calls for c in counts) / kept
    rows = calls if job.task.episodes is not None else 1.0
    return Shape(
        expected.prompt * rows / expected.rows, sum(c.sampled for c in counts) / kept,
        sum(c.results for c in counts) / kept, calls, rows, f"{(own_ones or fits)[0].source}, {BASELINE}",
    )  # fmt: skip


def _baseline(job: JobConfig) -> bool:
    return job.method == BASELINE and not job.algorithm


def efforts(observed: list[Observed]) -> dict[str, Effort]:
    """row -> what it samples, trains on and calls against `BASELINE` in the same committed table, mean of tables."""
    ratios: dict[str, list[tuple[JobConfig, float, float, float]]] = {}
    for experiment in sorted({seen.job.experiment for seen in observed}):
        of_table = [seen for seen in observed if seen.job.experiment == experiment and seen.source == COMMITTED]
        base = _means([seen for seen in of_table if _baseline(seen.job) and seen.job.variant is None])
        if base is None:
            continue
        for name in sorted({seen.job.name for seen in of_table}):
            runs = [seen for seen in of_table if seen.job.name == name]
            means = _means(runs)
            ratios.setdefault(name, []).append((runs[0].job, *(m / b for m, b in zip(means, base, strict=True))))
    found = {}
    for name, values in ratios.items():
        critic, reference, *_ = parts_of(values[0][0])
        sampled, trained, calls = (sum(v[i] for v in values) / len(values) for i in (1, 2, 3))
        found[name] = Effort(sampled, trained, calls, critic, reference, f"{COMMITTED} against {BASELINE}")
    return found


def _means(runs: list[Observed]) -> tuple[float, float, float] | None:
    if not runs:
        return None
    kept = sum(seen.counts.trajectories for seen in runs)
    totals = ((seen.counts.sampled, seen.counts.trained, seen.counts.calls) for seen in runs)
    return tuple(sum(column) / kept for column in zip(*totals, strict=True))
