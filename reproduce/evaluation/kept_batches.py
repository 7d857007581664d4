"""Keep the rows of finished batches on disk, so that an evaluation that is killed goes on with the next batch.

    <start:06d>.json    of the batch whose first question has that number: what they are rows of, and the rows

Each batch draws from a stream of its own (`evaluate`), so a resumed evaluation has the rows of an uninterrupted one.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from reproduce.runs.files import write_bytes


class KeptBatches:
    """The finished batches of one evaluation, below `folder`, which is made with the first one.

    of: what the rows depend on; JSON-able. Batches of anything else are sampled again.
    """

    def __init__(self, folder: Path, of: Mapping):
        self.folder, self.of = folder, json.loads(json.dumps(of))

    def rows(self, start: int) -> list[dict] | None:
        """Return the rows of the batch that begins at question `start`; None if it is not there."""
        try:
            found = json.loads(self._file(start).read_text())
        except (OSError, ValueError):
            return None
        return found["rows"] if found["of"] == self.of else None

    def add(self, start: int, rows: list[dict]) -> None:
        """Write down a batch. It survives a kill once this returns; numbers keep all their digits."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self._file(start), json.dumps({"of": self.of, "rows": rows}).encode())

    def _file(self, start: int) -> Path:
        return self.folder / f"{start:06d}.json"
