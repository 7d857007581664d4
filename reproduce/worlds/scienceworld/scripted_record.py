"""The rows of `scripted.measure` in a folder, kept one by one: no finished episode is lost.

While episodes are played, `success_rules.part.jsonl` grows by a line each: the settings first, one line per session
(the code that plays the following rows), and the rows. When all are played, `success_rules.parquet` holds the rows and
`success_rules.json` settings and sessions, and the other file is removed.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from reproduce.errors import UserError
from reproduce.locks import locked
from reproduce.runs.files import read_json, read_table, rows_table, write_json, write_table
from reproduce.runs.manifest import code_version
from reproduce.worlds.scienceworld.environment import MOVE_LIMIT, SIMPLIFICATION, TURNS
from reproduce.worlds.scienceworld.pool import VERSION
from reproduce.worlds.scienceworld.scripted import POLICIES

SCHEMA = pa.schema(
    {
        "policy": pa.string(),
        "split": pa.string(),
        "kind": pa.string(),  # task type
        "task": pa.string(),  # task type/variation
        "turns": pa.int32(),
        "gold_length": pa.int32(),  # actions in the expert's path, 0 for policies that do not follow it
        "score": pa.int32(),  # -100 to 100, at the end of the episode
        "released": pa.bool_(),
        "strict": pa.bool_(),
    }
)
"""A row per episode."""

ROWS, ABOUT, PART = "success_rules.parquet", "success_rules.json", "success_rules.part.jsonl"
COMMAND = "python -m reproduce.commands.check_scienceworld"


def settings(episodes: int, seed: int) -> dict:
    """Return the settings that decide the rows, apart from the simulator's own randomness. episodes: tasks of each
    split.
    """
    return {
        "episodes": episodes,
        "seed": seed,
        "policies": list(POLICIES),
        "turns": TURNS,
        "move_limit": MOVE_LIMIT,
        "simplification": SIMPLIFICATION,
        "scienceworld": VERSION,
    }


class Record:
    """Rows played so far (`rows`), and whether those are all (`complete`). Made by `open_record`."""

    def __init__(self, folder: Path, wanted: dict):
        self.folder, self.settings = folder, wanted
        self.rows: list[dict] = []
        self.sessions: list[dict] = []
        self.complete = (folder / ROWS).is_file()
        self._lock = threading.Lock()
        if self.complete:
            self.rows, about = read_record(folder)
            self._refuse_others(about["settings"], folder / ABOUT)
            self.sessions = about["sessions"]
        else:
            self._read_part()

    @property
    def finished(self) -> set[tuple[str, str]]:
        """(policy, task id) of the rows."""
        return {(row["policy"], row["task"]) for row in self.rows}

    def start(self) -> None:
        """Record the code that plays the rows from now on."""
        if not self._part.stat().st_size:
            self._write({"settings": self.settings})
        self.sessions.append(dict(zip(("code_commit", "code_dirty"), code_version(), strict=True)))
        self._write({"session": self.sessions[-1]})

    def add(self, row: dict) -> None:
        """Keep a row; it is on disk when this returns. Safe between threads."""
        with self._lock:
            self._write({"row": row})
            self.rows.append(row)

    def finish(self, order: list[str]) -> None:
        """Write the parquet file and its settings. order: the task ids, in the order of the panel."""
        places = {task: place for place, task in enumerate(order)}
        self.rows.sort(key=lambda row: (places[row["task"]], POLICIES.index(row["policy"])))
        about = {"made_by": COMMAND, "settings": self.settings, "sessions": self.sessions}
        write_json(self.folder / ABOUT, about)
        write_table(self.folder / ROWS, rows_table(self.rows, SCHEMA))
        self.complete = True

    @property
    def _part(self) -> Path:
        return self.folder / PART

    def _write(self, line: dict) -> None:
        with open(self._part, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read_part(self) -> None:
        text = self._part.read_text("utf-8")
        whole = text[: text.rfind("\n") + 1]
        if len(whole) < len(text):  # the end of a command that was killed while it wrote
            with open(self._part, "rb+") as file:
                file.truncate(len(whole.encode()))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                ((name, value),) = json.loads(line).items()
                {"settings": self._refuse_others, "session": self.sessions.append, "row": self.rows.append}[name](value)
            except (ValueError, KeyError, AttributeError):
                raise UserError(
                    f"{self._part}, line {number}: not what this command writes; move the file away and run again"
                ) from None

    def _refuse_others(self, found: dict, path: Path | None = None) -> None:
        for name in self.settings | found:
            old, new = found.get(name), self.settings.get(name)
            if old != new:
                raise UserError(
                    f"{path or self._part} is of other settings ({name}: {old} there, {new} now); "
                    "name another --out, or move it away"
                )


@contextmanager
def open_record(folder: Path, wanted: dict) -> Iterator[Record]:
    """Open the record in `folder` (made if missing) for these settings, held by this process alone until the end.

    Raises:
        UserError: it has other settings or is broken, or another process writes it.
    """
    if folder.is_file():
        raise UserError(f"--out: {folder} is a file; name a folder")
    with locked(folder / PART, f"another command writes to {folder}; wait for its end or name another --out", "--out"):
        try:
            yield Record(folder, wanted)
        finally:  # empty: only the lock made it; complete: a command was killed between its last two steps
            part = folder / PART
            if part.is_file() and (not part.stat().st_size or (folder / ROWS).is_file()):
                part.unlink()


def read_record(folder: Path) -> tuple[list[dict], dict]:
    """Read (rows, {"made_by", "settings", "sessions"}) of a complete record.

    Raises:
        UserError: a file is missing or broken.
    """
    folder = Path(folder)
    for name in (ROWS, ABOUT):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing; run {COMMAND} --out {folder.name}")
    about = read_json(folder / ABOUT)
    for name in ("settings", "sessions"):
        if name not in about:
            raise UserError(f"{folder / ABOUT} lacks the key '{name}'; move the folder away and run {COMMAND} again")
    return read_table(folder / ROWS, SCHEMA).to_pylist(), about
