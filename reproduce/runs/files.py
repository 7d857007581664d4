"""Atomic files: written beside, flushed to disk, then renamed. A reader sees the old file, the new one, or none."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reproduce.errors import UserError
from reproduce.runs.schema import LATER, NULLABLE, extended


def write_bytes(path: Path, data: bytes, durable: bool = True) -> None:
    """Replace `path` by `data` in one step. durable=False skips fsync, for files that nothing depends on."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


WHOLE = 1 << 30
"""Bytes up to which a file is hashed whole. The hash of a larger one covers its size and both ends."""

END = 1 << 24


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hex. Beyond `WHOLE` bytes it covers the size and the first and last
    `END` bytes.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(f"{size}:".encode() + file.read(END))
        file.seek(-END, os.SEEK_END)
        digest.update(file.read())
        return digest.hexdigest()


def write_json(path: Path, value: object, durable: bool = True) -> None:
    """Replace a JSON file in one step."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode(), durable)


MOVE = "move its directory away and run the same command again, which makes the run anew"
"""Advice for a file of a run that is missing or damaged and that no command writes again."""
RESTORE = "restore it from git, or publish the runs again"
"""Advice for a file of published results."""


DIGEST = "digest"
"""The key of a sealed object's own checksum."""


def sealed(value: Mapping) -> dict:
    """Add a checksum of itself to a JSON object; `read_json` checks it."""
    return {**value, DIGEST: _digest(value)}


def _digest(value: Mapping) -> str:
    kept = {key: item for key, item in value.items() if key != DIGEST}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def read_json_value(path: Path, advice: str = MOVE) -> object:
    """Read a JSON file.

    Raises:
        UserError: the file is missing, unreadable or half-written, or gives a key twice. The message names it and ends
            with `advice`.
    """
    try:
        return json.loads(path.read_bytes().decode(), object_pairs_hook=_each_key_once)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is missing; {advice}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {advice}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); {advice}") from None


def read_json(path: Path, advice: str = MOVE) -> dict:
    """As `read_json_value`, for a file that must hold a JSON object."""
    value = read_json_value(path, advice)
    if not isinstance(value, dict):
        raise UserError(f"{path} does not hold a JSON object; {advice}")
    if DIGEST in value and value[DIGEST] != _digest(value):
        raise UserError(f"{path} is damaged: its checksum is another; {advice}")
    return value


def _each_key_once(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key '{next(name for name in names if names.count(name) > 1)}' is given twice")
    return found


def check_content(folder: Path, hashes: Mapping[str, str]) -> None:
    """Compare the files of a folder with their hashes.

    Args:
        folder: the folder.
        hashes: name -> `content_hash`.

    Raises:
        UserError: a file is missing or has another hash.
    """
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path} is missing; {MOVE}")
        if content_hash(path) != expected:
            raise UserError(f"{path} is damaged: its content is not what was written; {MOVE}")


def table_bytes(table: pa.Table, checksums: bool = False) -> bytes:
    """Write a table as zstd parquet. The bytes depend only on the rows, the schema and `checksums` (whether each page
    has one).
    """
    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata(None).combine_chunks()
    pq.write_table(
        table, sink, compression="zstd", compression_level=9, row_group_size=1 << 20, write_page_checksum=checksums
    )
    return sink.getvalue().to_pybytes()


def write_table(path: Path, table: pa.Table, checksums: bool = False) -> None:
    """Replace a parquet file in one step."""
    write_bytes(path, table_bytes(table, checksums))


def read_table(path: Path, schema: pa.Schema, advice: str = MOVE) -> pa.Table:
    """Read a parquet file and check it against a schema: names, order, types, and no nulls where none may be.

    Columns that may be missing (`schema.LATER`) are filled with NaN. The file's columns of `schema.extended` follow the
    others.

    Args:
        path: the file.
        schema: the columns that it must have.
        advice: the end of an error message.

    Raises:
        UserError: the file is missing, truncated, or has another schema; the message names it.
    """
    if not path.is_file():
        raise UserError(f"{path} is {'a folder, not a file' if path.is_dir() else 'missing'}; {advice}")
    try:
        # read in this thread: pyarrow's dataset reader (and its sort) start threads that can abort the process's exit
        source = pa.BufferReader(path.read_bytes())
        table = pq.ParquetFile(source, page_checksum_verification=True).read(use_threads=False)
    except (pa.ArrowInvalid, pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is truncated or not parquet ({reason}); {advice}") from None
    schema = extended(schema, set(table.column_names) - set(schema.names))
    for expected in schema:
        if expected.name not in table.column_names and expected.name in LATER:
            table = table.append_column(expected, pa.array([math.nan] * table.num_rows, expected.type))
        if expected.name not in table.column_names:
            raise UserError(f"{path} lacks the column '{expected.name}': it is of another version; {advice}")
        found = table.schema.field(expected.name).type
        if found != expected.type:
            raise UserError(f"{path}: column '{expected.name}' is {found}, expected {expected.type}; {advice}")
        if expected.name not in NULLABLE and table[expected.name].null_count:
            raise UserError(f"{path}: column '{expected.name}' has empty cells; {advice}")
    extra = set(table.column_names) - set(schema.names)
    if extra:
        raise UserError(f"{path} has the unknown column '{min(extra)}': it is of another version; {advice}")
    return table.select(schema.names).replace_schema_metadata(None)


def rows_table(rows: object, schema: pa.Schema, order: Sequence[str] = (), what: str = "rows") -> pa.Table:
    """Make a table of exactly `schema`, sorted by `order`.

    Args:
        rows: a list of dicts or a pandas DataFrame.
        schema: the columns.
        order: columns to sort by.
        what: the rows' name in an error.

    Raises:
        ValueError: a column is missing or unknown, a value is null or of a wrong type. These are mistakes of the
            caller's code.
    """
    if hasattr(rows, "to_dict"):
        rows = rows.to_dict("records")
    columns = _columns(rows, schema, what)
    if order:
        places = sorted(range(len(columns[order[0]])), key=lambda i: tuple(columns[name][i] for name in order))
        columns = {name: [values[i] for i in places] for name, values in columns.items()}
    try:
        table = pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"{what}: {error}") from error
    return table


def _columns(rows: Iterable[Mapping], schema: pa.Schema, what: str) -> dict[str, list]:
    names = set(schema.names)
    columns: dict[str, list] = {name: [] for name in schema.names}
    for row in rows:
        if row.keys() != names:
            missing, unknown = sorted(names - row.keys()), sorted(row.keys() - names)
            raise ValueError(f"{what}: missing columns {missing}, unknown columns {unknown}")
        for field in schema:
            value = row[field.name]
            if pa.types.is_list(field.type):
                value = [float(x) for x in value]
            elif hasattr(value, "item"):  # a NumPy or torch scalar
                value = value.item()
            if pa.types.is_string(field.type) and isinstance(value, float) and math.isnan(value):
                value = None  # what pandas makes of a missing string
            if value is None and field.name not in NULLABLE:
                raise ValueError(f"{what}: column '{field.name}' is None")
            columns[field.name].append(value)
    return columns
