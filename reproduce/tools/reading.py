"""Read rows of JSON, JSON-lines, CSV and parquet files, and clean them. Errors name file and row.

Every loader of question files, training sets, corpora and recordings reads through this module, so their texts are
valid Unicode in one normal form (`reproduce.text.clean`) and a file means the same everywhere.
"""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reproduce.errors import UserError
from reproduce.text import cleaned


def find(folder: Path, candidates: tuple[str, ...], name: str) -> Path:
    """Find the first of `candidates` that is a file in `folder`.

    Raises:
        UserError: none is.
    """
    for candidate in candidates:
        if (folder / candidate).is_file():
            return folder / candidate
    raise UserError(f"{folder}: no file for {name!r} (looked for {' and '.join(candidates)}); check the data directory")


def check_rows(path: Path, found: int, expected: int) -> None:
    """Compare the number of rows of a file with the published one.

    Raises:
        UserError: they differ.
    """
    if found != expected:
        raise UserError(
            f"{path}: {found} rows, the published file has {expected}; fetch it again, "
            "or pass check_rows=False if this is a subset on purpose"
        )


def parsed(text: bytes, where: str) -> Any:
    """Parse a JSON text in UTF-8 and clean it. where: file and line, for the error.

    Raises:
        UserError: the text is not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return cleaned(json.loads(text.decode()))
    except RecursionError:
        raise UserError(f"{where}: JSON nested too deeply; repair or remove it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 at byte {error.start}; fetch the file again") from None
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON ({error}); repair or remove it") from None


def json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (number from 1, row) of a file of JSON lines, or of one JSON list. A byte-order mark is ignored.

    The number is that of the line, or of the row in a list. Lines are read one at a time.

    Raises:
        UserError: the file cannot be read, or a line is malformed.
    """
    with _opened(path) as file:
        first = file.readline()
        while first and not _text(first).strip():
            first = file.readline()
        file.seek(0)
        if _is_list(first):
            rows = parsed(_text(file.read()), f"{path}")
            if not isinstance(rows, list):
                raise UserError(f"{path}: expected a JSON list or JSON lines")
            yield from enumerate(rows, start=1)
            return
        for number, line in enumerate(file, start=1):
            if _text(line).strip():
                yield number, parsed(_text(line), f"{path}, line {number}")


def any_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (number from 1, row) of a file of rows: `.parquet`, `.csv` with a line of column names, or JSON
    (`json_rows`).
    """
    if path.suffix == ".parquet":
        yield from enumerate(parquet_batches(path), start=1)
    elif path.suffix == ".csv":
        yield from enumerate(_csv_rows(path), start=1)
    else:
        yield from json_rows(path)


def _csv_rows(path: Path) -> Iterator[dict[str, str]]:
    with _opened(path) as file:
        try:
            text = _text(file.read()).decode()
            for row in csv.DictReader(io.StringIO(text, newline=""), strict=True):
                if None in row or None in row.values():
                    raise csv.Error("a row has another number of columns than the first line")
                yield cleaned(row)
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 at byte {error.start}; fetch the file again") from None
        except csv.Error as error:
            raise UserError(f"{path}: not valid CSV ({error}); fetch the file again") from None


def json_value(path: Path) -> Any:
    """Read a whole JSON file and clean its value. Raises UserError as `parsed` does."""
    with _opened(path) as file:
        return parsed(_text(file.read()), f"{path}")


def parquet_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Read all rows of a parquet file, cleaned.

    Raises:
        UserError: the file cannot be read, or one of `columns` is missing.
    """
    with _readable(path) as file:
        table = file.read(use_threads=False)
        for column in columns:
            if column not in table.column_names:
                raise UserError(f"{path}: column {column!r} is missing; expected {', '.join(columns)}")
        return cleaned(table.to_pylist())


def parquet_batches(path: Path, columns: tuple[str, ...] | None = None, rows: int = 4096) -> Iterator[dict[str, Any]]:
    """Yield the rows of a parquet file, cleaned, while at most `rows` of them are held in memory.

    Args:
        path: the file.
        columns: which columns to read, as far as the file has them; None: all.
        rows: rows of a batch.

    Raises:
        UserError: the file cannot be read.
    """
    with _readable(path) as file:
        wanted = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=rows, columns=wanted, use_threads=False):
            yield from cleaned(batch.to_pylist())


@contextmanager
def _readable(path: Path):
    """Open a parquet file. Any error of pyarrow about a damaged file becomes a UserError."""
    import pyarrow
    import pyarrow.parquet

    try:
        yield pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]}); fetch it again") from None


def _opened(path: Path):
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(f"{path}: cannot read the file ({error.strerror}); check the path") from None


def _text(line: bytes) -> bytes:
    """The line without a byte-order mark."""
    return line.removeprefix(b"\xef\xbb\xbf")


def _is_list(first: bytes) -> bool:
    """Whether a file with this first line is one JSON list. A line that is a whole list by itself is a row."""
    if not _text(first).lstrip().startswith(b"["):
        return False
    try:
        value = json.loads(_text(first).decode())
    except (ValueError, RecursionError):
        return True
    return not isinstance(value, list) or not value or isinstance(value[0], (dict, list))
