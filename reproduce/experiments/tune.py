"""`make tune`: the settings that all rows of a table share, tried on the validation panel and never on the test panel.

Every combination of the values asked for is a grid of its own, in `runs/<profile>/tune<table>.<settings>/`, with the same
budget for every method, resumed like a table's. The record that it writes holds every trial that these runs contain, of
this command and of earlier ones, so that no trial is left out because of how it ended.
"""

import argparse
import csv
import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from reproduce.errors import UserError
from reproduce.experiments import grid
from reproduce.experiments.config import JobConfig
from reproduce.experiments.pins import pinned
from reproduce.experiments.resolve import resolve
from reproduce.runs.manifest import WARM_START
from reproduce.runs.reader import Run, find_runs, read_run, status_of

VALUE = re.compile(r"[A-Za-z0-9.+-]+")
COLUMNS = ("settings", "method", "success", "low", "high", "seeds", "questions", "samples", "config_hash", "commit")
"""Columns of the record. success, low, high: pass@1 on the validation panel, percent, with its 95 % stratified bootstrap
interval over seeds x questions; config_hash and commit: of every run, joined by a space."""


@dataclass(frozen=True)
class Trial:
    """One line of the record, as in `COLUMNS`."""

    settings: str
    method: str
    success: float
    low: float
    high: float
    seeds: str
    questions: int
    samples: int
    config_hash: str
    commit: str


def choices(words: list[str]) -> dict[str, list[str]]:
    """`["training.epochs=1,2", …]` -> key -> its values as text. UserError for anything else, or a key given twice."""
    found: dict[str, list[str]] = {}
    for word in words:
        key, sign, text = word.partition("=")
        values = text.split(",")
        if not sign or not re.fullmatch(r"\w+(\.\w+)+", key) or not all(VALUE.fullmatch(value) for value in values):
            raise UserError(f"'{word}' is no setting to try: write section.key=value,value (training.epochs=1,2)")
        if key in found or len(set(values)) < len(values):
            raise UserError(f"'{word}' names a setting or a value twice")
        if any(key.rpartition(".")[2] == other.rpartition(".")[2] for other in found):
            raise UserError(f"'{word}' ends as another setting does: try one of them at a time")
        found[key] = values
    return found


def combinations(tried: dict[str, list[str]]) -> list[dict[str, str]]:
    """Every combination of one value a key, in order; without keys one, empty: the table's settings as they are."""
    return [dict(zip(tried, values, strict=True)) for values in itertools.product(*tried.values())]


def label(settings: dict[str, str]) -> str:
    """The combination as one word, such as "learning_rate-5e-4_epochs-2"; "as-it-is" for none."""
    return "_".join(f"{key.rpartition('.')[2]}-{value}" for key, value in settings.items()) or "as-it-is"


def trial_job(job: JobConfig, settings: dict[str, str]) -> JobConfig:
    """The job under these settings, evaluated on the validation panel, without small test evaluations in between.

    UserError for a key that the config does not know.
    """
    data = job.to_dict()
    for key, text in settings.items():
        *sections, last = key.split(".")
        place = data
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            raise UserError(f"{key} is not a setting of {job.experiment} in profile {job.profile}")
        place[last] = _value(text)
    data["evaluation"] |= {"split": "validation", "checks": None}
    data["experiment"] = f"tune{job.experiment.removeprefix('table')}.{label(settings)}"
    return JobConfig.from_dict(data, f"{label(settings)} of {job.experiment}")


def _value(text: str):
    try:
        return float(text) if re.search(r"\d[eE]", text) else yaml.safe_load(text)  # YAML takes 5e-4 for a word
    except ValueError:
        return text


def trials(root: Path, profile: str, table: str) -> list[Trial]:
    """What all finished tuning runs of a table say, by settings and method; the warm start of each as a method too."""
    bases = sorted(path for path in (root / profile).glob(f"tune{table}.*") if path.is_dir())
    found = []
    for base in bases:
        runs: dict[str, list[Run]] = {}
        for path in find_runs(root, profile, base.name):
            if status_of(path) == "finished":
                run = read_run(path)
                runs.setdefault(run.name, []).append(run)
        settings = base.name.partition(".")[2]
        found += [_trial(settings, name, sorted(of, key=lambda run: run.seed)) for name, of in sorted(runs.items())]
    return found


def _trial(settings: str, method: str, runs: list[Run]) -> Trial:
    from analysis import statistics
    from reproduce.seeding import stream

    frames = [run.frame("eval").assign(seed=run.seed) for run in runs]
    scores = [frame.groupby(["family", "split", "level", "question_id"]).correct.mean() for frame in frames]
    strata = np.array(["/".join(map(str, key[:-1])) for key in scores[0].index])
    scores_SQ = np.stack([score.loc[scores[0].index].to_numpy() for score in scores])
    estimate = statistics.mean(scores_SQ, statistics.draw(stream(0, "tune"), len(runs), strata))
    return Trial(
        settings=settings,
        method=method,
        success=round(100 * estimate.value, 2),
        low=round(100 * estimate.low, 2),
        high=round(100 * estimate.high, 2),
        seeds=",".join(str(run.seed) for run in runs),
        questions=scores_SQ.shape[1],
        samples=len(frames[0]) // scores_SQ.shape[1],
        config_hash=" ".join(run.manifest["config_hash"][:12] for run in runs),
        commit=" ".join(dict.fromkeys(str(run.manifest["code_commit"])[:12] for run in runs)),
    )


def write_record(path: Path, found: list[Trial]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([getattr(trial, name) for name in COLUMNS] for trial in found)


def text(found: list[Trial]) -> str:
    """A line per trial, grouped by settings, each group with the mean over its methods, warm start left out."""
    lines = []
    for settings, group in itertools.groupby(found, key=lambda trial: trial.settings):
        members = list(group)
        trained = [trial.success for trial in members if trial.method != WARM_START]
        lines.append(f"{settings}" + (f": mean over methods {np.mean(trained):.1f}" if trained else ""))
        lines += [
            f"    {t.method:24} {t.success:5.1f} [{t.low:.1f}, {t.high:.1f}]  seeds {t.seeds or '–'}" for t in members
        ]
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reproduce tune",
        description="try shared settings of a table on its validation panel, every method with the same budget",
    )
    parser.add_argument("table", help="number of the table")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=V,V", help="e.g. training.learning_rate=2.5e-4,5e-4 (all pairs)"
    )
    parser.add_argument("--methods", default="grpo", help="methods or groups with commas (default: grpo)")
    parser.add_argument("--seeds", default="0", help="e.g. 0,1 (default: 0)")
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--jobs", type=int, help="runs at a time (default: one per core)")
    parser.add_argument("--runs-root", type=Path, default=Path("runs"))
    parser.add_argument("--csv", type=Path, help="the record (default: <runs>/<profile>/tune<table>.csv)")
    options = parser.parse_args(words)
    try:
        seeds = [int(seed) for seed in options.seeds.split(",")]
    except ValueError:
        raise UserError(f"--seeds {options.seeds}: write numbers with commas, such as 0,1") from None
    jobs = pinned(resolve(options.table, options.profile, options.methods.split(","), seeds))
    tried = combinations(choices(options.set))
    planned = [[trial_job(job, settings) for job in jobs] for settings in tried]  # all checked before any runs
    failures = []
    for number, batch in enumerate(planned, 1):
        print(f"settings {number} of {len(planned)}: {label(tried[number - 1])}", flush=True)
        failures += grid.run(batch, options.runs_root, options.jobs)
    found = trials(options.runs_root, options.profile, options.table)
    record = options.csv or options.runs_root / options.profile / f"tune{options.table}.csv"
    if found:
        write_record(record, found)
        print(text(found))
        print(grid.shown(record))
    for failure in failures:
        print(failure)
    return 1 if failures else 0
