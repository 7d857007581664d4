"""Cells that papers and others report for a checkpoint, from data/papers: each with who says so and where."""

import csv
from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from analysis.reported import load_reported
from reproduce.runs.manifest import ROOT

DATASETS = {
    "2wiki": "2WikiMultihopQA",
    "hotpotqa": "HotpotQA",
    "musique": "MuSiQue",
    "bamboogle": "Bamboogle",
    "aime24": "AIME24",
    "aime25": "AIME25",
    "math500": "MATH500",
    "gsm8k": "GSM8K",
    "math": "MATH",
    "webwalker": "WebWalkerQA",
    "gaia": "GAIA",
    "hle": "HLE",
    "xbench": "xbench-DeepSearch",
}
"""Question set -> its name in data/papers; parts and averages have an ending more."""
WHOLE = r" (Avg\.|Overall)$"
PAPER, AUTHORS, OTHERS = "the paper", "the authors, outside the paper", "third party"
QUOTED = "cell quoted by a third party"
SNIPPETS = ", snippets only (no browser)"
"""The end of a method's name in ARPO's table 3: searches give snippets, as here unless search.pages is set."""
PAPERS = ROOT / "data" / "papers"


@dataclass(frozen=True)
class Cell:
    """One reported number. dataset: a set or a part of it. by: PAPER, AUTHORS or OTHERS. note: what sets it apart."""

    dataset: str
    value: str
    metric: str
    by: str
    confidence: str
    source: str
    note: str = ""

    @property
    def short(self) -> str:
        """The cell of a table: the number as printed, and what sets it apart."""
        marks = [self.note] if self.note else []
        marks += [mark for mark in ("pass@5", "token F1") if mark in self.metric]
        marks += [what for what in ("lowest of 5 runs", "highest of 5 runs") if what in self.metric]
        return f"{self.value} ({', '.join(marks)})" if marks else self.value


def cells(names: Collection[str], methods: Collection[str]) -> list[Cell]:
    """All cells of the models `names` under `methods`, in the order of the files.

    Cells that are read off pictures, or placed in doubt, are left out (`confidence` low in data/papers).
    """
    found = load_reported(PAPERS)
    found = found[found["model"].isin(names) & (found["confidence"] == "high")]
    plain = found["method"].str.removesuffix(SNIPPETS)
    found = found.assign(snippets=plain != found["method"], plain=plain)
    found = found[found["plain"].isin(methods)]
    return [_cell(row, methods) for _, row in found.iterrows()] + _of_checkpoints(names, methods)


def _cell(row: pd.Series, methods: Collection[str]) -> Cell:
    notes = ["snippets only"] if row["snippets"] else []
    notes += [row["plain"]] if len(methods) > 1 else []
    source = f"{row['source']}; {row['table']}; {row['source_url']}"
    dataset = pd.Series([row["dataset"]]).str.replace(WHOLE, "", regex=True)[0]
    return Cell(dataset, row["value"], row["metric"], row["reported_by"], row["confidence"], source, ", ".join(notes))


def _of_checkpoints(names: Collection[str], methods: Collection[str]) -> list[Cell]:
    """Cells that others measured with the released checkpoints, and the papers' cells that they quote."""
    with open(PAPERS / "checkpoints" / "evaluations_by_others.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] in names and row["method"] in methods]
    made = []
    for row in rows:
        quoted = QUOTED in row["paper"]
        source = f"{row['paper']}; {row['table']}; {row['source_url']}"
        by, note = (PAPER, "quoted") if quoted else (OTHERS, "")
        made.append(
            Cell(row["dataset"], row["value"], row["metric"], by, "second-hand" if quoted else "high", source, note)
        )
    return made
