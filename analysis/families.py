"""Which comparisons test a paper's claim and which explore: families of p-values that are adjusted together.

The confirmatory comparisons stand in `families.yaml`. Their p-values hold together (Holm); those of every other
comparison of a table are adjusted for the false discovery rate (Benjamini & Hochberg). Two rows that are the same runs
are one comparison with a third row, and none with each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import pairing, statistics
from analysis.load import Scores, Source
from analysis.statistics import CONFIDENCE, Effect, Estimate
from analysis.training_steps import identical
from reproduce.errors import UserError
from reproduce.yaml_files import read_yaml

FILE = Path(__file__).with_suffix(".yaml")


@dataclass(frozen=True)
class Comparison:
    """`row` against a row, or against the best of several."""

    row: str
    against: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """The confirmatory comparisons of one table. margin: points inside which an effect counts as none. written: when
    they were written down."""

    paper: str
    margin: float
    comparisons: tuple[Comparison, ...]
    written: str = "after the published runs had been seen, binding for later ones"


@cache
def confirmatory(table: str) -> Family | None:
    """The family of a table, from `families.yaml`; None where every comparison explores."""
    for name, found in read_yaml(FILE).items():
        try:
            if table in found["tables"]:
                pairs = tuple(Comparison(c["row"], tuple(c["against"])) for c in found["comparisons"])
                more = {"written": found["written"]} if "written" in found else {}
                return Family(found["paper"], float(found["margin"]), pairs, **more)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{FILE}: {name} lacks tables, paper, margin or comparisons ({error!r})") from None
    return None


def same_runs(source: Source) -> dict[str, str]:
    """Row -> the first row that is the same runs, step by step; only rows that have such a row."""
    found: dict[str, str] = {}
    for a, b in identical(source):
        found[b] = found.get(b, found.get(a, a))
    return found


def are_same_runs(source: Source, a: str, b: str) -> bool:
    """Whether two rows are the same runs, step by step."""
    first = same_runs(source)
    return first.get(a, a) == first.get(b, b)


def against_best(row: Scores, others: Mapping[str, Scores]) -> tuple[str, Estimate, float]:
    """(the best of `others`, the row's difference to the best with its interval, two-sided p-value).

    The best is not chosen before it is tested: the row lies above the best if it lies above each of the n others, so
    the larger of these one-sided p-values holds (intersection-union test, Berger 1982); it lies below the best if it
    lies below any, so n times the smallest holds (Bonferroni). p is twice the smaller of the two, and the interval
    consists of the bounds that belong to them. Both are undefined (NaN) where a row has a single run.
    """
    found = {name: pairing.difference(row, other) for name, other in others.items()}
    best = min(found, key=lambda name: found[name].value)
    effects, n = list(found.values()), len(found)
    above = np.max([effect.p_above() for effect in effects])
    below = n * np.min([effect.p_below() for effect in effects])
    low = np.min([effect.interval().low for effect in effects])
    high = np.min([effect.interval(1 - (1 - CONFIDENCE) / n).high for effect in effects])
    return best, Estimate(found[best].value, float(low), float(high)), float(np.minimum(1, 2 * min(above, below)))


def tested(source: Source) -> pd.DataFrame:
    """A row per confirmatory comparison whose rows all have runs.

    Columns: method, against, best (of several, the highest mean), difference with `_low` and `_high` (points), p,
    p_holm, p_within (two one-sided tests: the p-value of "the effect is at least the margin away from 0"; NaN against
    the best of several), margin (points), n_seeds, n_against.
    """
    family, scores, rows = confirmatory(source.table), source.scores, []
    for pair in family.comparisons if family else ():
        if not {pair.row, *pair.against} <= scores.keys():
            continue
        others = {name: scores[name] for name in pair.against}
        if len(others) > 1:
            best, found, p = against_best(scores[pair.row], others)
            p_within, against = np.nan, f"best of {len(others)}"
        else:
            against = best = pair.against[0]
            effect = pairing.difference(scores[pair.row], scores[best])
            found, p, p_within = effect.interval(), effect.p(), effect.p_within(family.margin / 100)
        ends = {"difference": found.value, "difference_low": found.low, "difference_high": found.high}
        row = {"method": pair.row, "against": against, "best": best} | {c: 100 * x for c, x in ends.items()}
        row |= {"p": p, "p_holm": np.nan, "p_within": p_within, "margin": family.margin}
        rows.append(row | {"n_seeds": len(scores[pair.row].seeds), "n_against": len(scores[best].seeds)})
    columns = "method against best difference difference_low difference_high p p_holm p_within margin n_seeds n_against"
    frame = pd.DataFrame(rows, columns=columns.split())
    return frame.assign(p_holm=statistics.holm(frame["p"].to_numpy(dtype=float)))


@dataclass(frozen=True)
class Adjusted:
    """Row -> adjusted p-value of its comparison; the confirmatory rows; how many comparisons explore."""

    p: dict[str, float]
    confirmed: tuple[str, ...]
    exploratory: int


def adjust(source: Source, effects: Mapping[tuple[str, str], Effect]) -> Adjusted:
    """The p-values of (row, against) -> effect, each row once: confirmatory ones by Holm over their family, the others
    by the false discovery rate over them, rows of the same runs counted once."""
    frame, twins = tested(source), same_runs(source)
    holm = {(r.method, r.against): r.p_holm for r in frame.itertuples()}
    confirmed = {pair: holm[pair] for pair in effects if pair in holm}
    first = {pair: tuple(twins.get(row, row) for row in pair) for pair in effects}
    raw: dict[tuple, float] = {}
    for pair, effect in effects.items():
        if pair not in confirmed and first[pair][0] != first[pair][1] and np.isfinite(effect.p()):
            raw.setdefault(first[pair], effect.p())
    adjusted = dict(zip(raw, statistics.discoveries(list(raw.values())), strict=True))
    found = {row: confirmed.get((row, b), adjusted.get(first[row, b], np.nan)) for row, b in effects}
    return Adjusted(found, tuple(row for row, _ in confirmed), len(raw))
