"""Records of tokens for tests: a committed one, and one that is full of hostile text."""

import dataclasses
from functools import cache
from pathlib import Path

from reproduce.commands.trees import cli
from reproduce.runs import token_records
from reproduce.runs.token_records import TokenRecord

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror='window.hacked = 1'>",
    "<!--<script>",
    "\"'`&amp;&lt;]]>",
    "\u0000\u0007\u001b[31m\u007f\r\n\t",
    "\u202egnihtemos\u2066\u200b",
    "\u2028\u2029",
    "a" * 20_000,
]


@cache
def committed(name: str = "aepo", step: int = 1) -> TokenRecord:
    return token_records.read(token_records.path_of(cli.COMMITTED / name, step))


def hostile() -> TokenRecord:
    """A committed record, of whose texts each is hostile."""
    record = committed()
    group = dataclasses.replace(
        record.groups[0], prompt=HOSTILE[0], gold=HOSTILE[1], question_id=HOSTILE[1], family="<b>"
    )
    rows = []
    for t in group.trajectories:
        (path,) = t.paths
        pieces = [HOSTILE[i] if i < len(HOSTILE) else piece for i, piece in enumerate(path.pieces)]
        words = {"actions": [HOSTILE[0]] * len(t.actions), "results": [HOSTILE[1]] * len(t.results)}
        made = dataclasses.replace(path, pieces=pieces)
        rows.append(
            dataclasses.replace(t, paths=[made], answer=HOSTILE[0], ended=HOSTILE[2], opening=HOSTILE[1], **words)
        )
    group = dataclasses.replace(group, trajectories=rows)
    return dataclasses.replace(record, method=HOSTILE[0], name=HOSTILE[1], groups=[group])


def saved(folder: Path, *records: TokenRecord) -> Path:
    """A run directory with these records."""
    folder.mkdir(exist_ok=True)
    for record in records:
        token_records.write(folder, record)
    return folder
