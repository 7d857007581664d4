"""How much is measured, sides that take turns, and the rows that come out: on the terminal and as a CSV file."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from reproduce.runs.files import write_bytes
from reproduce.runs.manifest import machine, versions

AIMS = {"rollout": (">=", 5.0), "step": ("<=", 1.2), "scienceworld": (">=", 10.0), "alfworld": (">=", 100.0)}
AIMS |= {"lm rollout": (">=", 5.0), "lm pass": (">=", 3.0), "lm tree": (">=", 3.0), "lm step": (">=", 3.0)}
"""Aim of a comparison's headline ratio."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured. demonstrations: for the warm start, where none is cached; turns: of an episode of the
    environments."""

    prompts: int = 16
    group: int = 16
    repetitions: int = 5
    steps: int = 6
    calls: int = 20
    subprocesses: int = 4
    demonstrations: int = 6000
    env_repetitions: int = 3
    turns: int = 30


QUICK = Sizes(4, 4, 2, 2, calls=5, subprocesses=1, demonstrations=1600, env_repetitions=1, turns=6)


@dataclass(frozen=True)
class Measurement:
    """One line of the table: `left` over `right` is `ratio`, the median over `repetitions` paired measurements."""

    comparison: str
    measure: str
    left_name: str
    left: float
    right_name: str
    right: float
    ratio: float
    ratio_low: float
    ratio_high: float
    repetitions: int
    aim: str = ""
    met: str = ""
    note: str = ""


def missing(comparison: str, measure: str, left: str, right: str, reason: str) -> Measurement:
    """The row of what cannot be measured here, and why."""
    note = f"not available here: {' '.join(reason.split())}"
    return Measurement(comparison, measure, left, math.nan, right, *[math.nan] * 4, 0, note=note)


def paired(comparison: str, measure: str, taken: dict[str, list], headline=False, note="", value=float) -> Measurement:
    """The row of two sides, name -> measurements, paired by repetition; value: the number of a measurement.

    headline: the comparison's aim (`AIMS`) is about this row. Raises ValueError on lists of different or no length.
    """
    (left_name, lefts), (right_name, rights) = ((name, list(map(value, found))) for name, found in taken.items())
    ratios = [a / b if b else math.nan for a, b in zip(lefts, rights, strict=True)]
    if not ratios:
        raise ValueError(f"{comparison}: nothing was measured")
    ratio, aim, met = float(np.median(ratios)), "", ""
    if headline and comparison in AIMS:
        sign, bound = AIMS[comparison]
        aim, met = f"{sign} {bound:g}", "yes" if (ratio >= bound if sign == ">=" else ratio <= bound) else "no"
    sides = left_name, float(np.median(lefts)), right_name, float(np.median(rights))
    return Measurement(comparison, measure, *sides, ratio, min(ratios), max(ratios), len(ratios), aim, met, note)


def in_turn(title: str, sides: dict[str, Callable], repetitions: int) -> dict[str, list]:
    """Name -> what side(repetition) gave in each repetition; who is first changes, and the first one is not counted."""
    taken = {name: [] for name in sides}
    for repetition in track(range(repetitions + 1), title, console=Console(stderr=True)):
        for name in list(sides)[:: 1 if repetition % 2 else -1]:
            taken[name].append(sides[name](repetition))
    return {name: found[1:] for name, found in taken.items()}


def write_csv(path: Path, rows: list[Measurement], origin: str, quick: bool, threads: int = 1) -> None:
    """One line per row, with the machine and the versions behind it; replaces the file in one step."""
    facts = {"weights": origin, "quick": quick, "threads": threads}
    facts |= {name: machine()[name] for name in ("cpu", "cores", "memory_gb")}
    facts |= {name: versions()[name] for name in ("python", "torch", "trl", "transformers")}
    text = pd.DataFrame([asdict(row) | facts for row in rows]).to_csv(index=False, float_format="%.6g", na_rep="nan")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode())


def show(console: Console, rows: list[Measurement], origin: str, threads: int = 1) -> None:
    """Prints the table, the weights' origin and the machine."""
    title = "Speed as ratios: left over right, median \\[smallest, largest] of paired repetitions"
    table = Table("measure", title=title, title_justify="left")
    for name in ("left", "right", "ratio", "aim"):
        table.add_column(name, justify="right", no_wrap=True)
    section = None
    for row in rows:
        if section != (section := (row.comparison, row.left_name, row.right_name)):
            table.add_section()
            table.add_row(f"[bold]{row.comparison}: {row.left_name} / {row.right_name}[/bold]")
        ratio = f"{row.ratio:.2f} \\[{row.ratio_low:.2f}, {row.ratio_high:.2f}]"
        values = [_number(row.left), _number(row.right), ratio] if row.repetitions else ["-", "-", "-"]
        note = f"\n[dim]{escape(row.note)}[/dim]" if row.note else ""
        table.add_row(row.measure + note, *values, f"{row.aim}: {row.met}" if row.aim else "")
    console.print(table)
    if origin:
        console.print(f"weights: {origin}", highlight=False)
    facts = machine()
    console.print(
        f"machine: {facts['cpu']}, {facts['cores']} cores, {'one thread' if threads == 1 else f'{threads} threads'}",
        highlight=False,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
