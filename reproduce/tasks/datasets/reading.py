"""Rows of JSON-lines, JSON and parquet files; what cannot be read is a UserError that names file, line and key."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reproduce.errors import UserError


def find(folder: Path, candidates: tuple[str, ...], name: str) -> Path:
    """The first of `candidates` that is a file in `folder`."""
    for candidate in candidates:
        if (folder / candidate).is_file():
            return folder / candidate
    raise UserError(f"{folder}: no file for {name!r} (looked for {' and '.join(candidates)}); check the data directory")


def check_rows(path: Path, found: int, expected: int) -> None:
    """UserError if a file has another number of rows than the published one."""
    if found != expected:
        raise UserError(
            f"{path}: {found} rows, the published file has {expected}; fetch it again, "
            "or pass check_rows=False if this is a subset on purpose"
        )


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number from 1, parsed row) of every non-blank line."""
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise UserError(
                    f"{path}, line {number}: not valid JSON ({error}); repair or remove the line"
                ) from error


def json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """(row number from 1, row) of a file that is one JSON list, or JSON lines."""
    text = _text(path)
    if not text.lstrip().startswith("["):
        yield from json_lines(path)
        return
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); fetch the file again") from error
    yield from enumerate(rows, start=1)


def parquet_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """All rows. UserError if one of `columns` is missing."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path).read(use_threads=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: not a readable parquet file ({str(error).splitlines()[0]}); fetch it again"
        ) from error
    for column in columns:
        if column not in table.column_names:
            raise UserError(f"{path}: column {column!r} is missing; expected {', '.join(columns)}")
    return table.to_pylist()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; fetch the file again") from error
