"""The record of the trials of `make tune`: what every run of a table's tuning directories came to, finished or not."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from reproduce.config.tables import SECTIONS
from reproduce.errors import UserError
from reproduce.runs.manifest import WARM_START, hashed
from reproduce.runs.reader import Run, find_runs, read_run, status_of
from reproduce.training.trackers import flat
from reproduce.yaml_files import read_yaml


@dataclass(frozen=True)
class Trial:
    """A line of the record: one row of the table (or its warm start) under one combination of settings.

    success: pass@1 on the validation panel, percent, mean over `seeds`, `questions` and `samples` of each; low, high:
    its 95 % interval over seeds and questions (`analysis.statistics.crossed`), over questions alone for one seed; None
    where no run has finished. differing: every setting in which the combinations of this table differ, with its value
    here, those that the table's file set meanwhile too. unfinished: seeds that failed or still run. config_hash: of
    every finished run. commit: the code's.
    """

    settings: str
    differing: str
    method: str
    success: float | None
    low: float | None
    high: float | None
    seeds: str
    unfinished: str
    questions: int
    samples: int
    config_hash: str
    commit: str


def directories(root: Path, profile: str, table: str) -> list[Path]:
    """The tuning directories of a table, sorted by name."""
    return sorted(path for path in (root / profile).glob(f"tune{table}.*") if path.is_dir())


def trials(root: Path, profile: str, table: str) -> list[Trial]:
    """Every trial, by combination and row. UserError for a broken run, for runs of different configs in a directory,
    and for one that was evaluated on anything but the validation panel."""
    bases = {base: find_runs(root, profile, base.name) for base in directories(root, profile, table)}
    begun = {base: [path for path in runs if (path / "manifest.json").is_file()] for base, runs in bases.items()}
    found = {base: runs for base, runs in begun.items() if runs}
    settings = {base: _settings(runs[0]) for base, runs in found.items()}
    keys = sorted({key for of in settings.values() for key in of})
    keys = [key for key in keys if len({of.get(key) for of in settings.values()}) > 1]
    lines = []
    for base, runs in found.items():
        differing = " ".join(f"{key}={settings[base].get(key)}" for key in keys)
        lines += _of_directory(root, profile, base, runs, differing)
    return lines


def _of_directory(root: Path, profile: str, base: Path, paths: list[Path], differing: str) -> Iterator[Trial]:
    from analysis import load, pairing

    by_name: dict[str, list[Path]] = {}
    for path in paths:
        by_name.setdefault(path.parent.name, []).append(path)
    runs = {path: _validated(path) for path in paths if status_of(path) == "finished"}
    scores = load.load_source(profile, base.name, root).scores if runs else {}
    for name, of_name in by_name.items():
        finished = [runs[path] for path in of_name if path in runs]
        score = scores[name] if finished else None
        estimate = pairing.estimate(score) if finished else None
        yield Trial(
            base.name.partition(".")[2],
            differing,
            name,
            *(None if score is None else round(100 * getattr(estimate, end), 2) for end in ("value", "low", "high")),
            seeds=",".join(str(run.seed) for run in finished),
            unfinished=", ".join(f"{path.name} {status_of(path)}" for path in of_name if path not in runs),
            questions=len(score.questions) if score else 0,
            samples=finished[0].config["evaluation"]["samples"] if finished else 0,
            config_hash=" ".join(run.manifest["config_hash"] for run in finished),
            commit=" ".join(dict.fromkeys(_commit(run) for run in finished)),
        )


def _validated(path: Path) -> Run:
    run = read_run(path)
    split = run.config["evaluation"]["split"]
    if split != "validation":
        raise UserError(f"{path} was evaluated on the split {split}, not validation: move it away")
    return run


def _commit(run: Run) -> str:
    commit = run.manifest["code_commit"]
    return f"{str(commit)[:12]}{' (changed)' if run.manifest['code_dirty'] else ''}"


def _settings(path: Path) -> dict[str, str]:
    """Every setting of the run that the rows of a table share, as dotted key -> value."""
    config = read_yaml(path / "config.yaml")
    shared = {name: hashed(name, config[name]) for name in SECTIONS if config.get(name) is not None}
    own = {f"training.{name}" for name in config.get("training_changes") or {}}
    return {key: str(value) for key, value in flat(shared).items() if key not in own}


def write(path: Path, found: list[Trial]) -> None:
    """The record as CSV, a line per trial."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(found, columns=list(Trial.__annotations__)).to_csv(path, index=False, lineterminator="\n")


def text(found: list[Trial]) -> str:
    """A line per trial, grouped by combination, each with the mean over its rows, the warm start left out.

    Where the combinations did not all finish the same rows and seeds, on panels of one size, it says so: their means
    do not compare.
    """
    lines, made = [], set()
    for settings, group in itertools.groupby(found, key=lambda trial: trial.settings):
        members = list(group)
        trained = [t for t in members if t.method != WARM_START and t.success is not None]
        made.add(tuple((t.method, t.seeds, t.questions, t.samples) for t in trained))
        over = f"{len(trained)} methods" if len(trained) > 1 else "".join(t.method for t in trained)
        lines.append(f"{settings}: {np.mean([t.success for t in trained]):.1f} % over {over}" if trained else settings)
        for t in members:
            parts = [] if t.success is None else [f"{t.success:5.1f} [{t.low:.1f}, {t.high:.1f}]", f"seeds {t.seeds}"]
            parts += [f"unfinished: {t.unfinished}"] if t.unfinished else []
            lines.append(f"    {t.method:24} {'  '.join(parts)}")
    if len(made) > 1:
        lines.append("These combinations differ in their rows, seeds or panels: compare lines of one method and seeds.")
    return "\n".join(lines)
