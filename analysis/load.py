"""Read the logged results of one experiment, published or the user's own, into the same data frames.

Published: `data/results/<profile>/<experiment>/` holds one file per kind for all runs. Own:
`runs/<profile>/<experiment>/` holds a directory per row and seed, of which only finished ones are read. Either way
every frame has the columns `method` (in a table of variants: the variant's name) and `seed`; the warm start's
evaluation rows have the method `warm_start`.
Anything missing or unreadable raises `UserError` naming the file; a method that has no runs is simply absent.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import style
from reproduce.arguments import DEFAULT_PROFILE
from reproduce.config.sections import start_of
from reproduce.errors import UserError
from reproduce.runs import files, identity, schema
from reproduce.runs.publish import VALIDATION
from reproduce.runs.reader import find_runs, status_of, validation_files
from reproduce.runs.shared import table_config
from reproduce.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parent.parent
RESULTS = "results"
SCHEMAS = {"steps": schema.STEPS_SCHEMA, "eval": schema.EVAL_SCHEMA, "rollouts": schema.ROLLOUTS_SCHEMA}


@dataclass(frozen=True)
class Scores:
    """The evaluation of one method: `correct_SQN` (bool; seeds x questions x samples) and the labels of its axes.

    shared: it belongs to all seeds of the others (the warm start). starts: the warm start of each seed; empty: one.
    """

    seeds: tuple[int, ...]
    questions: tuple[str, ...]
    levels_Q: np.ndarray
    families_Q: np.ndarray
    splits_Q: np.ndarray
    correct_SQN: np.ndarray
    shared: bool = False
    starts: tuple[int, ...] = ()

    def begun_at(self, starts: Collection[int]) -> "Scores":
        """The same without the seeds that begin at other warm starts."""
        keep = [i for i, start in enumerate(self.starts) if start in starts]
        seeds, kept = (tuple(values[i] for i in keep) for values in (self.seeds, self.starts))
        return replace(self, seeds=seeds, correct_SQN=self.correct_SQN[keep], starts=kept)

    @cached_property
    def strata_Q(self) -> np.ndarray:
        """The stratum of each question, a number per split, family and level: the panel fixes the size of each."""
        axes = zip(self.splits_Q, self.families_Q, self.levels_Q, strict=True)
        labels = [f"{split}/{family}/{level}" for split, family, level in axes]
        return np.unique(labels, return_inverse=True)[1]


@dataclass(frozen=True, eq=False)
class Source:
    """One experiment's logged results, a key of caches. `origin` is "results" (published) or "runs" (the user's own).

    config: what the runs share, and `rows`: name -> method, algorithm, training (see `reproduce.runs.shared`).
    reference: the config of the published table 2 of the same profile, {} if there is none.
    """

    profile: str
    experiment: str
    origin: str
    folder: Path
    manifests: list[dict]
    config: dict
    reference: dict = field(default_factory=dict, repr=False)
    runs: tuple[tuple[str, int, Path], ...] = field(default=(), repr=False)
    kept: frozenset[str] | None = None  # the rows that the frames hold; None: all
    begun: frozenset[int] | None = None  # the warm starts of the runs that the frames hold; None: all

    def only(self, methods: Iterable[str]) -> "Source":
        """The same results without the other rows."""
        kept = frozenset(methods)
        return replace(self, kept=kept, manifests=[m for m in self.manifests if m.get("method") in kept])

    def _frame(self, kind: str, order: list[str]) -> pd.DataFrame:
        if self.origin == RESULTS:
            expected = schema.labelled(SCHEMAS[kind])
            frame = files.read_table(self.folder / f"{kind}.parquet", expected, files.RESTORE).to_pandas()
        else:
            runs = [run for run in self.runs if kind == "eval" or run[0] != style.WARM_START]
            frames = [schema.labelled(SCHEMAS[kind]).empty_table().to_pandas()]
            for method, seed, folder in runs:
                run = files.read_table(folder / f"{kind}.parquet", SCHEMAS[kind]).to_pandas()
                more = [column for column in run if column not in SCHEMAS[kind].names]
                frames.append(run.assign(method=method, seed=seed)[[*frames[0].columns, *more]])
            frame = pd.concat(frames[1:] or frames, ignore_index=True)
        return self._held(frame).sort_values(["method", "seed", *order], kind="stable", ignore_index=True)

    def _held(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame without the rows and warm starts that this source leaves out."""
        if self.kept is not None:
            frame = frame[frame["method"].isin(self.kept)]
        if self.begun is not None:
            runs = frame[["method", "seed"]].drop_duplicates()
            here = [self.start(method, seed) in self.begun for method, seed in runs.itertuples(index=False)]
            frame = frame.merge(runs[here], on=["method", "seed"])
        return frame

    @cached_property
    def evals(self) -> pd.DataFrame:
        """A row per method, seed, question and sample (eval.parquet); sorted."""
        return self._frame("eval", ["question_id", "sample"])

    @cached_property
    def validation(self) -> pd.DataFrame:
        """A row per run, evaluation of the validation panel during training, question and sample; empty if no run has
        any. `checkpoint` is "step <n>"."""
        labels = schema.labelled(schema.EVAL_SCHEMA)
        frames = [labels.empty_table().to_pandas()]
        if self.origin == RESULTS:
            path = self.folder / VALIDATION
            frames += [files.read_table(path, labels, files.RESTORE).to_pandas()] if path.exists() else []
        else:
            for method, seed, folder in self.runs:
                for path in validation_files(folder):
                    rows = files.read_table(path, schema.EVAL_SCHEMA).to_pandas()
                    frames.append(rows.assign(method=method, seed=seed)[frames[0].columns])
        return self._held(pd.concat(frames[1:] or frames, ignore_index=True))

    @cached_property
    def steps(self) -> pd.DataFrame:
        """A row per method, seed and RL step (steps.parquet); sorted."""
        return self._frame("steps", ["step"])

    @cached_property
    def rollouts(self) -> pd.DataFrame:
        """A row per method, seed, logged RL step and trajectory (rollouts.parquet); sorted."""
        return self._frame("rollouts", ["step", "group", "row"])

    def where(self, kind: str) -> str:
        """The file (published) or folder (own runs) that `kind` came from, for messages."""
        return str(self.folder / f"{kind}.parquet") if self.origin == RESULTS else str(self.folder)

    @property
    def methods(self) -> list[str]:
        """The methods that have evaluation rows, in the order of the tables; the evaluated warm start is one."""
        return style.order(self.evals["method"])

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """Method -> its score array. All methods must have been evaluated on the same panel, or `UserError`."""
        found = {m: _scores(self, m, rows) for m, rows in self.evals.groupby("method")}
        panels = {(s.questions, s.correct_SQN.shape[2]): m for m, s in found.items()}
        if len(panels) > 1:
            (a, b) = list(panels.items())[:2]
            raise UserError(
                f"{self.where('eval')}: {a[1]} ({len(a[0][0])} questions x {a[0][1]} samples) and {b[1]} "
                f"({len(b[0][0])} x {b[0][1]}) were evaluated on different panels; run both with the same config"
            )
        return {m: found[m] for m in style.order(found)}

    def start(self, method: str, seed: int) -> int | None:
        """The warm start at which a run begins; None where all begin at one."""
        start = self.config.get("warm_start") or {}
        if not start.get("seeds_each"):
            return None
        return int(seed) if method == style.WARM_START else start_of(int(seed), start)

    @cached_property
    def comparable(self) -> "Source":
        """The runs that begin at warm starts which all rows have, for what compares rows without pairing their runs.

        The source itself where all rows have the same warm starts, or where none is common.
        """
        runs = {(m["method"], m["seed"]) for m in self.manifests if m["method"] != style.WARM_START}
        starts: dict[str, set[int | None]] = {}
        for method, seed in runs:
            starts.setdefault(method, set()).add(self.start(method, seed))
        common = frozenset.intersection(*map(frozenset, starts.values())) if starts else frozenset()
        if not common or all(common == found for found in starts.values()):
            return self
        kept = [m for m in self.manifests if self.start(m["method"], m["seed"]) in common]
        return replace(self, begun=common, manifests=kept)

    @property
    def begun_note(self) -> str:
        """For a caption: at which warm starts the runs begin, where others are left out (`comparable`); else ""."""
        if self.begun is None:
            return ""
        return f" Runs at warm start {', '.join(map(str, sorted(self.begun)))}, the ones that all rows have."

    @property
    def table(self) -> str:
        """The table's name, such as "2"."""
        return self.experiment.removeprefix("table").partition(".")[0]

    @property
    def settings(self) -> str:
        """The settings of the command line under which the runs were made, as their folder names them; "" for none."""
        return self.experiment.partition(".")[2]

    def manifest(self, method: str) -> list[dict]:
        """The manifests of the row's runs, ordered by seed."""
        return sorted((m for m in self.manifests if m.get("method") == method), key=lambda m: m.get("seed", 0))


def _scores(source: Source, method: str, rows: pd.DataFrame) -> Scores:
    seeds = tuple(sorted(int(s) for s in rows["seed"].unique()))
    questions = tuple(sorted(rows["question_id"].unique()))
    samples = sorted(rows["sample"].unique())
    expected = len(seeds) * len(questions) * len(samples)
    if len(rows) != expected or rows.duplicated(["seed", "question_id", "sample"]).any():
        counts = rows.groupby("seed").size()
        raise UserError(
            f"{source.where('eval')}: method {method} has {len(rows)} rows where {len(seeds)} seeds x {len(questions)} "
            f"questions x {len(samples)} samples need {expected} (seed {counts.idxmin()} has {counts.min()}); "
            f"{files.RESTORE if source.origin == RESULTS else files.MOVE}"
        )
    rows = rows.sort_values(["seed", "question_id", "sample"])
    correct = rows["correct"].to_numpy(dtype=bool).reshape(len(seeds), len(questions), len(samples))
    first = rows.iloc[: len(questions) * len(samples) : len(samples)]
    levels, families, splits = (first[column].to_numpy() for column in ("level", "family", "split"))
    begun = (source.start(method, seed) for seed in seeds)
    starts = tuple(start for start in begun if start is not None)
    return Scores(seeds, questions, levels, families, splits, correct, method == style.WARM_START, starts)


def _results(folder: Path, profile: str, experiment: str) -> Source:
    path = folder / "manifests.json"
    manifests = files.read_json_value(path, files.RESTORE)
    if not isinstance(manifests, list) or not all(isinstance(m, dict) for m in manifests):
        raise UserError(f"{path} is not a list of manifests; {files.RESTORE}")
    for number, manifest in enumerate(manifests, start=1):
        identity.require_fields(manifest, f"{path}, manifest {number},", files.RESTORE)
    manifests = [{**m, "method": m.get("variant") or m["method"]} for m in manifests]
    config = read_yaml(folder / "config.yaml")
    rows = config.get("rows") or {}
    for name, seed in ((m["method"], m["seed"]) for m in manifests):
        if rows and name not in rows and name != style.WARM_START:
            raise UserError(f"{path} has a run of {name}, config.yaml has none; {files.RESTORE}")
        if seed not in rows.get(name, {}).get("seeds", [seed]):
            raise UserError(f"{path} has a run of {name} with seed {seed}, config.yaml has none; {files.RESTORE}")
    return Source(profile, experiment, RESULTS, folder, manifests, config)


def _runs(folder: Path, profile: str, experiment: str) -> Source:
    manifests, runs, configs = [], [], {}
    for path in find_runs(folder.parent.parent, profile, experiment):
        if status_of(path) != "finished":
            continue
        manifest = identity.read_manifest(path)
        identity.check_place(path, manifest)
        config = read_yaml(path / "config.yaml")
        identity.check_config(path, manifest, config)
        warm = path.parent.name == style.WARM_START
        if not warm:
            configs[path] = config
            if not {"method", "seed", "training"} <= config.keys():
                raise UserError(f"{path}/config.yaml is not the config of a run; {files.MOVE}")
        name = path.parent.name
        manifests.append({**manifest, "method": name})
        runs.append((name, manifest["seed"], path))
    if not runs:
        raise UserError(f"{folder} holds no finished run; run `make reproduce-{experiment}` to the end")
    return Source(profile, experiment, "runs", folder, manifests, table_config(configs), runs=tuple(runs))


def _how_to_get(profile: str, experiment: str, published: bool) -> str:
    """The results that are missing and the commands that make them; results are published from own runs."""
    table = experiment.removeprefix("table").partition(".")[0]
    wanted = "" if profile == DEFAULT_PROFILE else f" PROFILE={profile}"
    train = f"`make reproduce-table{table}{wanted}`"
    if not published:
        return f"no runs of profile {profile} yet; run {train}"
    return f"no published results for profile {profile}; run {train}, then `make publish{wanted} TABLE={table}`"


def load_source(
    profile: str = "mini", experiment: str = "table2", source: str | Path = RESULTS, data_root: Path | None = None
) -> Source:
    """The logged results of an experiment. Its tables of rows are read when they are first asked for.

    Args:
        profile: such as `mini`.
        experiment: such as `table2`, or `table2.<settings>` for runs under settings of the command line.
        source: "results" for the published ones, else the folder that holds the user's runs (usually `runs`).
        data_root: the folder of published results (default: `data/`), read for the table that settings are compared to
            in both cases.

    Raises:
        UserError: there is nothing to read, or a file is broken.
    """
    base = (Path(data_root) if data_root else ROOT / "data") / "results" / profile
    published = str(source) == RESULTS
    folder = base / experiment if published else Path(source) / profile / experiment
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist: {_how_to_get(profile, experiment, published)}")
    found = (_results if published else _runs)(folder, profile, experiment)
    reference = base / "table2" / "config.yaml"
    return replace(found, reference=read_yaml(reference) if reference.exists() else {})
