"""Load the SFT set of the warm start (ARPO-SFT-54K, LLaMA-Factory's ShareGPT format): whole trajectories.

A row has `conversations`, a list of {"from", "value"} that a person and the model write in turn, and may have `system`.
The model's text holds tool calls and, between `<result>` tags, the tools' answers. We show those answers and do not
train on them, as in RL (whether the released training masks them is not known). A backspace in a system prompt is
repaired as in the RL sets.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reproduce.errors import UserError
from reproduce.tools.reading import json_rows, parquet_rows
from reproduce.worlds.benchmarks.datasets.rl import BACKSPACE_BUG, BACKSPACE_REPAIR

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
_RESULT = re.compile(r"(<result>.*?</result>)", re.DOTALL)


@dataclass(frozen=True)
class SFTRow:
    """One row.

    messages: role and content, the system prompt first if there is one, up to the last question. pieces: what follows,
    in order: (text, whether it is trained on).
    """

    messages: list[dict[str, str]]
    pieces: list[tuple[str, bool]]


def read_sft(path: Path, limit: int | None = None) -> Iterator[SFTRow]:
    """Yield the rows of a `.json`, `.jsonl` or `.parquet` file, at most `limit` of them.

    Raises:
        UserError: the file or a row is malformed; the message names it.
    """
    if path.suffix == ".parquet":
        rows = enumerate(parquet_rows(path, ("conversations",)), start=1)
    elif path.suffix in (".json", ".jsonl"):
        rows = json_rows(path)
    else:
        raise UserError(f"{path}: an SFT set must be a .json, .jsonl or .parquet file")
    for made, (number, row) in enumerate(rows):
        if made == limit:
            return
        yield _row(row, f"{path}, row {number}")


def _row(row: Any, where: str) -> SFTRow:
    said = row.get("conversations") if isinstance(row, dict) else None
    if not isinstance(said, list) or not all(isinstance(m, dict) and str(m.get("from")) in ROLES for m in said):
        raise UserError(f"{where}: 'conversations' must be a list of messages from {', '.join(ROLES)}")
    if not all(isinstance(m.get("value"), str) and m["value"].strip() for m in said):
        raise UserError(f"{where}: every message needs a non-empty 'value'")
    roles = [ROLES[m["from"]] for m in said]
    if roles != ["user", "assistant"] * (len(said) // 2) or not said:
        raise UserError(f"{where}: a question and an answer must follow each other, and an answer come last")
    system = row.get("system")
    if not isinstance(system, str | None):
        raise UserError(f"{where}: 'system' must be a string")
    messages = [{"role": "system", "content": system.replace(BACKSPACE_BUG, BACKSPACE_REPAIR)}] if system else []
    messages.append({"role": "user", "content": said[0]["value"]})
    pieces = []
    for role, message in zip(roles[1:], said[1:], strict=True):
        if role == "user":  # a tool's answer that is a separate message
            pieces.append((message["value"], False))
        else:
            parts = _RESULT.split(message["value"])
            pieces += [(part, number % 2 == 0) for number, part in enumerate(parts) if part]
    return SFTRow(messages, pieces)
