"""The recording of what services answered: a folder of small append-only files that processes share.

Files `00000.jsonl`, `00001.jsonl`, ... hold one JSON object per line, oldest first. A file that has reached
`ROLL_BYTES` never changes again. A line is written in one call and flushed to disk under a file lock. If a crash cuts a
line short, the next writer ends it; readers skip it and log a warning.

    {"key": ..., "kind": "search", "request": {...}, "value": [...]}            an answer, valid for everyone
    {"key": ..., "kind": "search", "request": {...}, "session": ..., "error": "timeout"}     a failure, of one session
"""

import hashlib
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

from reproduce.errors import UserError
from reproduce.locks import locked

logger = logging.getLogger(__name__)

ROLL_BYTES = 4 << 20


class _Place(NamedTuple):
    """Where a line is."""

    path: Path
    offset: int
    length: int


def content_key(kind: str, request: dict) -> str:
    """Compute the SHA-256 of a call: its kind and all that its answer depends on. No key or account enters it."""
    text = json.dumps({"kind": kind, "request": request}, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Recording:
    """Answers and failures by content key. Threads and processes may read and write it at the same time.

    Only keys are held in memory; values are read when they are asked for.

    Args:
        folder: where it lies.
        writable: False for a replay, from an existing folder, which may be read-only.

    Raises:
        UserError: the folder is missing or cannot be made.
    """

    def __init__(self, folder: Path, writable: bool):
        self.folder, self.writable = Path(folder), writable
        self._answers: dict[str, _Place] = {}
        self._failures: dict[str, list[tuple[str, str]]] = {}
        self._read_to: dict[Path, int] = {}
        self._lock = threading.RLock()
        if writable:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{folder}: cannot make the folder of the recording ({error.strerror})") from None
        elif not any(self.folder.glob("*.jsonl")):
            raise UserError(f"{folder}: there is no recording to replay; record one with mode: record")
        self.refresh()

    def __len__(self) -> int:
        return len(self._answers)

    def answer(self, key: str) -> Any:
        """Return the value recorded for `key`: the first one, whatever came later.

        Raises:
            KeyError: there is none.
        """
        with self._lock:
            if key not in self._answers and self.writable:
                self.refresh()  # another process may have asked by now
            place = self._answers[key]
        with open(place.path, "rb") as file:
            file.seek(place.offset)
            return json.loads(file.read(place.length))["value"]

    def failures(self, key: str) -> list[tuple[str, str]]:
        """List (session, error) of every failure recorded for `key`, oldest first."""
        with self._lock:
            return list(self._failures.get(key, ()))

    def add_answer(self, key: str, kind: str, request: dict, value: Any) -> Any:
        """Record an answer. Returns the one that counts, which is an earlier one if another process was faster."""
        line = {"key": key, "kind": kind, "request": request, "value": value}
        return value if self._append(line) else self.answer(key)

    def add_failure(self, key: str, kind: str, request: dict, session: str, error: str) -> None:
        """Record a failure of one session."""
        self._append({"key": key, "kind": kind, "request": request, "session": session, "error": error})

    def _append(self, record: dict) -> bool:
        """Write a line; False if it is an answer that someone else has recorded meanwhile."""
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with self._lock, locked(self.folder / ".lock", None, "search.cache_dir"):
            self.refresh()
            if "value" in record and record["key"] in self._answers:
                return False
            with open(self._last_file(), "ab+") as file:
                end = file.tell()
                if end:
                    file.seek(end - 1)
                    if file.read(1) != b"\n":  # a writer died here: its line ends now, and stays unreadable
                        line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            self.refresh()
        return True

    def _last_file(self) -> Path:
        files = sorted(self.folder.glob("[0-9]*.jsonl"))
        if not files:
            return self.folder / "00000.jsonl"
        full = files[-1].stat().st_size >= ROLL_BYTES
        return self.folder / f"{int(files[-1].stem) + 1:05d}.jsonl" if full else files[-1]

    def refresh(self) -> None:
        """Read the lines that were added since the last time. A line without its end is left for later."""
        with self._lock:
            for path in sorted(self.folder.glob("[0-9]*.jsonl")):
                start = self._read_to.get(path, 0)
                if path.stat().st_size == start:
                    continue
                with open(path, "rb") as file:
                    file.seek(start)
                    for line in file:
                        if not line.endswith(b"\n"):
                            break
                        self._index(path, start, line)
                        start += len(line)
                self._read_to[path] = start

    def _index(self, path: Path, offset: int, line: bytes) -> None:
        try:
            record = json.loads(line)
            key = record["key"]
            if "value" in record:
                self._answers.setdefault(key, _Place(path, offset, len(line)))
            else:
                self._failures.setdefault(key, []).append((record["session"], record["error"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            logger.warning("%s: the line at byte %d is damaged and left out", path.name, offset)
