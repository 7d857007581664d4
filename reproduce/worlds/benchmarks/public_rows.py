"""Read rows of question files as their owners publish them: other column names, and xbench's encryption."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from reproduce.errors import UserError

SAME = (
    {"question", "problem", "prompt", "query"},
    {"answer", "finalanswer", "answers", "goldenanswers", "groundtruth"},
    {"id", "taskid", "uniqueid", "problemidx"},
    {"level"},
    {"category"},
)
"""Names of one column in public releases, without case, blanks and underscores.

Sources: GAIA on the Hub ("Question", "Final answer", "task_id", "Level"), MATH-500 ("problem", "unique_id"), AIME
("ID", "Problem", "Answer"), FlashRAG ("golden_answers"), xbench ("prompt").
"""

_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4}){5,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
SECRET = ("prompt", "question", "answer", "reference_steps")


def canonical(row: Any, columns: tuple[str, ...]) -> Any:
    """Rename the columns that a public release names otherwise, for those of `columns` that the row lacks.

    Nothing is renamed if two columns could be meant. A row that is no mapping is returned as it is.
    """
    if not isinstance(row, Mapping):
        return row
    found = dict(row)
    for column in columns:
        if column not in row:
            family = next((names for names in SAME if _plain(column) in names), {_plain(column)})
            others = [name for name in row if _plain(name) in family and name not in columns]
            if len(others) == 1:
                found[column] = found.pop(others[0])
    return found


def decrypted(row: Any, where: str) -> Any:
    """Return a row of xbench in plain text.

    xbench-ai/xbench-evals publishes its columns as base64 of the text XOR the repeated bytes of the row's `canary`, so
    that no crawler learns them. A row whose question is no base64 is already plain and returned as it is.

    Raises:
        UserError: the row cannot be decrypted; the message begins with `where` (file and line).
    """
    if not isinstance(row, Mapping):
        return row
    texts = {name: row[name] for name in SECRET if isinstance(row.get(name), str) and row[name]}
    question = texts.get("prompt") or texts.get("question") or ""
    if not _BASE64.fullmatch(question):
        return row
    key = row.get("canary")
    if not isinstance(key, str) or not key:
        raise UserError(f"{where}: the row is encrypted and has no 'canary' to decrypt it with; take the owners' file")
    return {**row, **{name: _plain_text(text, key.encode(), f"{where}: key {name!r}") for name, text in texts.items()}}


def _plain_text(secret: str, key: bytes, where: str) -> str:
    try:
        data = base64.b64decode(secret, validate=True)
        return bytes(byte ^ key[i % len(key)] for i, byte in enumerate(data)).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise UserError(f"{where} cannot be decrypted with the row's 'canary'; fetch the file again") from None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", str(name).lower())
