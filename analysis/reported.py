"""The numbers that papers and their authors report, from `data/papers/`. Nothing in them was measured here."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from reproduce.errors import UserError

COLUMNS = (
    "paper", "table", "model", "method", "dataset", "split", "metric", "value",
    "reported_by", "confidence", "source", "source_url",
)  # fmt: skip
REPORTED_BY = ("the paper", "the authors, outside the paper", "third party")
CONFIDENCE = ("high", "low")


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
