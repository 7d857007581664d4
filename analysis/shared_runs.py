"""Runs that stand in several published tables: the same settings and seed, trained in each of them on its own.

They are an experiment that nobody planned: tables were trained from different commits, so runs that share settings and
seed must have the same logs up to their last common step, or a commit changed what a method does.
"""

import json
from typing import NamedTuple

import numpy as np

from analysis import load, style
from analysis.load import Source
from reproduce.yaml_files import read_yaml

SECTIONS = ("task", "model", "warm_start", "entropy_tokens")
"""What a run's steps depend on beside its row and its training; how it is evaluated does not matter to them."""


class Pair(NamedTuple):
    """A run of one table and a run of another with the same settings and seed, as (table, row)."""

    first: tuple[str, str]
    second: tuple[str, str]
    seed: int


def settings(config: dict) -> dict[str, str]:
    """Row -> everything that its runs' steps depend on but the seed, as text. The number of steps is not part of it.

    config: of a `Source`.
    """
    shared, found = {section: config.get(section) for section in SECTIONS}, {}
    for name, row in (config.get("rows") or {}).items():
        training = (config.get("training") or {}) | (row.get("training") or {})
        training.pop("steps", None)
        own = {"method": row["method"], "algorithm": row.get("algorithm") or {}, "training": training}
        found[name] = json.dumps(shared | own, sort_keys=True)
    return found


def published(source: Source) -> dict[str, Source]:
    """Table -> its published results, for tables of the profile with a row like one of this one's; {} for own runs."""
    if source.origin != load.RESULTS:
        return {}
    found, mine = {source.table: source}, set(settings(source.config).values())
    for path in sorted(source.folder.parent.glob("table*/config.yaml")):
        if path.parent != source.folder and mine & set(settings(read_yaml(path)).values()):
            other = load.load_source(source.profile, path.parent.name, load.RESULTS, source.folder.parents[2])
            found[other.table] = other
    return found


def pairs(sources: dict[str, Source]) -> list[Pair]:
    """Every two runs of different tables that share settings and seed."""
    runs = [
        (key, table, row, seed)
        for table, source in sorted(sources.items())
        for row, key in settings(source.config).items()
        for seed in sorted(source.steps.loc[source.steps["method"] == row, "seed"].unique())
    ]
    found = []
    for i, (key, table, row, seed) in enumerate(runs):
        same = [other for other in runs[i + 1 :] if other[0] == key and other[3] == seed and other[1] != table]
        found += [Pair((table, row), (other[1], other[2]), int(seed)) for other in same]
    return found


def differing_columns(pair: Pair, sources: dict[str, Source]) -> list[str]:
    """The columns of steps.parquet in which two runs differ in any step that both have; missing equals missing."""
    frames = []
    for table, row in (pair.first, pair.second):
        steps = sources[table].steps
        frames.append(steps[(steps["method"] == row) & (steps["seed"] == pair.seed)].set_index("step"))
    common = frames[0].index.intersection(frames[1].index)
    columns = [c for c in frames[0].columns.intersection(frames[1].columns) if c not in ("method", "seed")]
    a, b = (frame.loc[common, columns].to_numpy(dtype=float) for frame in frames)
    equal = ((a == b) | (np.isnan(a) & np.isnan(b))).all(axis=0)
    return [column for column, same in zip(columns, equal, strict=True) if not same]


def notes(source: Source, name=style.name) -> list[str]:
    """Which runs of a published table stand in other tables too, and whether they are equal there. name: of rows."""
    sources = published(source)
    mine = [pair for pair in pairs(sources) if source.table in (pair.first[0], pair.second[0])]
    if not mine:
        return []
    where: dict[str, set[str]] = {}
    for pair in mine:
        own, other = (pair.first, pair.second) if pair.first[0] == source.table else (pair.second, pair.first)
        where.setdefault(own[1], set()).add(other[0])
    by_tables: dict[str, list[str]] = {}
    for row, tables in where.items():
        by_tables.setdefault(", ".join(sorted(tables)), []).append(name(row))
    shown = "; ".join(f"{', '.join(rows)}: table {tables}" for tables, rows in by_tables.items())
    unequal = sum(bool(differing_columns(pair, sources)) for pair in mine)
    verdict = f"all {len(mine)} pairs" if not unequal else f"{len(mine) - unequal} of {len(mine)} pairs"
    return [
        f"The same settings and seeds stand in other tables, whose evidence is not independent of this one: {shown}. "
        f"Of these runs, trained in either table from its own commits, {verdict} are equal in every column of every "
        "common step."
    ]
