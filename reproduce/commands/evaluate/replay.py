"""Whether a replay gave what the recorded run had: eval.parquet, byte for byte."""

import dataclasses
from pathlib import Path

from reproduce.config.tables import JobConfig
from reproduce.paths import shown
from reproduce.runs.reader import read_run, status_of

FILE = "eval.parquet"


def compared(job: JobConfig, root: Path, recorded: str) -> tuple[str, bool]:
    """(what to say, whether it is a difference) of the replay of one set. recorded: the profile of recorded runs."""
    own = job.directory(root)
    other = dataclasses.replace(job, profile=recorded).directory(root)
    if status_of(other) != "finished":
        return f"{job.name}: replayed; there is no finished run in {shown(other)} to compare it with", False
    if (own / FILE).read_bytes() == (other / FILE).read_bytes():
        return f"{job.name}: replayed byte for byte ({shown(own / FILE)} is {shown(other / FILE)})", False
    one, two = read_run(own).eval.to_pylist(), read_run(other).eval.to_pylist()
    same = sum(a["text"] == b["text"] for a, b in zip(one, two, strict=False))
    return f"{job.name}: the replay differs from {shown(other)}: {same} of {len(two)} texts are equal", True
