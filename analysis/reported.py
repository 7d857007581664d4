"""The numbers that papers and their authors report, from `data/papers/`. Nothing in them was measured here."""

import csv
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.text_table import MISSING, TextTable
from reproduce.errors import UserError

COLUMNS = tuple("paper table model method dataset split metric value reported_by confidence source source_url".split())
REPORTED_BY = ("the paper", "the authors, outside the paper", "third party")
CONFIDENCE = ("high", "low")
TITLE = "Reported numbers (not measured here)"
METHODS = ("GRPO", "REINFORCE++", "DAPO", "GPPO", "CISPO", "GiGPO", "ARPO", "AEPO")
SHARED = ("WebWalkerQA",)
"""Datasets that tables of several kinds hold: alone they do not make a table one of ours."""


@dataclass(frozen=True)
class Reported:
    """Which reported numbers stand beside a table: `datasets` are the columns; `what` says what they are of.

    by_split: a column is a dataset and a split, such as "ALFWorld OOD". metrics: what a metric starts with; None: any.
    """

    datasets: tuple[str, ...]
    what: str
    methods: tuple[str, ...] = METHODS
    by_split: bool = False
    metrics: tuple[str, ...] | None = None


def load_reported(directory: str | Path) -> pd.DataFrame:
    """All `*.csv` of a directory of reported numbers as one frame, a row per printed cell, in file and row order.

    Columns: `file` (name without suffix), then `COLUMNS`, all strings; `value` is the cell as printed. `number` is the
    cell as a float where it is one, NaN where it is a range, a bound or text; its unit is what `metric` says (percent
    for accuracies). `split` is "-" where the source has none. `reported_by` and `confidence` hold one of `REPORTED_BY`
    and `CONFIDENCE`. Raises UserError, naming file and line, if the directory has no CSV, a header differs from
    `COLUMNS`, a row has more or fewer cells, or a cell is blank or not one of the allowed values.
    """
    directory = Path(directory)
    paths = sorted(directory.glob("*.csv"))
    if not paths:
        raise UserError(f"{directory}: no CSV file with reported numbers; point to data/papers of the repository")
    records = [(path.stem, *row) for path in paths for row in _read(path)]
    frame = pd.DataFrame(records, columns=["file", *COLUMNS], dtype=object).astype(str)
    frame["number"] = pd.to_numeric(frame["value"], errors="coerce")
    return frame


def _read(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            reader = csv.reader(handle, strict=True)
            header = next(reader, [])
            if tuple(header) != COLUMNS:
                raise UserError(f"{path}: columns are {','.join(header)}; expected {','.join(COLUMNS)}")
            return [_checked(path, reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a readable CSV file ({error}); restore it from the repository") from error


def _checked(path: Path, line: int, row: list[str]) -> list[str]:
    if len(row) != len(COLUMNS):
        raise UserError(f"{path}, line {line}: {len(row)} cells, expected {len(COLUMNS)}; repair the row")
    for column, cell in zip(COLUMNS, row, strict=True):
        if not cell.strip():
            raise UserError(f"{path}, line {line}: column '{column}' is blank; fill it in")
    for column, allowed in (("reported_by", REPORTED_BY), ("confidence", CONFIDENCE)):
        if row[COLUMNS.index(column)] not in allowed:
            found = row[COLUMNS.index(column)]
            raise UserError(f"{path}, line {line}: column '{column}' is {found!r}; use one of: {'; '.join(allowed)}")
    return row


def reported_cells(papers: pd.DataFrame, wanted: Reported) -> pd.DataFrame:
    """The rows of data/papers (`load_reported`) on the wanted datasets, a row per source, model, method and metric.

    Columns: reported_by, confidence, source, table, model, method, metric, then the datasets (percent, as printed; NaN
    where the source has none). Only whole-set averages of RL methods, from tables that hold a dataset of this kind and
    not just a shared one; the rest stays in data/papers.
    """
    keys = ["reported_by", "confidence", "source", "table", "model", "method", "metric"]
    frame = papers.assign(dataset=papers["dataset"].str.replace(r" (Avg\.|Overall)$", "", regex=True))
    if wanted.by_split:
        frame = frame.assign(dataset=frame["dataset"] + " " + frame["split"])
    if wanted.metrics is not None:
        frame = frame[frame["metric"].str.startswith(wanted.metrics)]
    frame = frame[frame["dataset"].isin(wanted.datasets) & frame["method"].isin(wanted.methods)]
    kind = frame.groupby(["source", "table"])["dataset"].transform(lambda sets: (~sets.isin(SHARED)).any())
    frame = frame[kind.astype(bool)]
    wide = frame.pivot_table(index=keys, columns="dataset", values="number", aggfunc="first", sort=False)
    wide = wide.reindex(columns=list(wanted.datasets)).reset_index().rename_axis(columns=None)
    ranks = {"_by": wide["reported_by"].map(REPORTED_BY.index), "_method": wide["method"].map(wanted.methods.index)}
    wide = wide.assign(**ranks).sort_values(["_by", "source", "model", "metric", "_method", "table"], kind="stable")
    return wide.drop(columns=list(ranks)).reset_index(drop=True)


def reported_table(papers: pd.DataFrame, wanted: Reported) -> TextTable:
    """The reported numbers as their own block, each row with who reported it."""
    cells = reported_cells(papers, wanted)
    header = ["Model", "Method", "Metric", *wanted.datasets, "Reported by", "Confidence", "Source"]
    rows = []
    for _, row in cells.iterrows():
        numbers = [MISSING if pd.isna(row[d]) else f"{row[d]:.1f}" for d in wanted.datasets]
        source = row["source"] if row["table"] in row["source"] else f"{row['source']}; {row['table']}"
        rows.append(
            [row["model"], row["method"], row["metric"], *numbers, row["reported_by"], row["confidence"], source]
        )
    lines = [
        f"Reported numbers come from models of billions of parameters on {wanted.what}. They are not comparable with "
        "the mini world: no cell of this block may be read against a cell of the measured table.",
        "Percent, as printed. Addresses, level splits, ablations and other tables: data/papers/.",
    ]
    width = len(header)
    words = frozenset({0, 1, 2, width - 3, width - 2, width - 1})
    return TextTable(TITLE, header, rows, notes=lines, words=words, wide=True)
