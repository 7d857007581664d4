"""Checkpoints beside the trainer's own files: what the run carries from step to step, and a marker.

The marker is written last, once every file is on the disk, and holds the SHA-256 of each. A checkpoint that a kill, a
power cut or a bad disk damaged does not count, and training goes on from the one before it.
"""

import json
import os
from pathlib import Path

import torch

from reproduce.errors import UserError
from reproduce.runs.files import content_hash, write_json
from reproduce.training.parallel import processes

COMPLETE = "complete"
CARRIED = "carried.pt"


def complete(folder: Path, carried: dict[str, dict]) -> None:
    """Completes a checkpoint: what the run carries, and last a marker with the hash of every file.

    Args:
        folder: with the files that the trainer has written.
        carried: name -> state, of tensors and plain values.
    """
    torch.save(carried | {"processes": processes()}, folder / CARRIED)
    found = _files(folder)
    for path in [*found, *{path.parent for path in found}]:
        _to_disk(path)
    write_json(folder / COMPLETE, {str(path.relative_to(folder)): content_hash(path) for path in found})


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != COMPLETE]


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def damage(folder: Path) -> str | None:
    """The first fault of the complete checkpoint in `folder`, or None. Markers of older code are empty and trusted."""
    try:
        text = (folder / COMPLETE).read_bytes()
        for name, expected in (json.loads(text) if text else {}).items():
            if content_hash(folder / name) != expected:
                return f"{name} is not what was written"
    except (OSError, ValueError) as error:
        return str(error)
    return None


def load_carried(folder: Path, device) -> dict[str, dict]:
    """State that the run carries, from a checkpoint.

    Args:
        folder: of the checkpoint.
        device: of the tensors.

    Returns:
        name -> state, as `complete` got it.

    Raises:
        UserError: it is missing, or another number of processes wrote it.
    """
    path = folder / CARRIED
    if not path.is_file():
        raise UserError(f"{path} is missing: delete {path.parent.parent} and run again")
    state = torch.load(path, map_location=device, weights_only=True)
    written_by = state.get("processes", 1)
    if written_by != processes():
        raise UserError(
            f"{path.parent} was written by {written_by} processes, and there are {processes()}: start as "
            f"many, or delete {path.parent.parent} to begin anew"
        )
    return state


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete and undamaged checkpoint below `folder`, or None.

    A checkpoint cut short by a kill does not count. A damaged one is reported, and the one before it is taken.
    """
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    for checkpoint in sorted(found, key=lambda path: int(path.name.rsplit("-", 1)[1]), reverse=True):
        reason = damage(checkpoint)
        if reason is None:
            return checkpoint
        print(f"warning: {checkpoint} is damaged ({reason}): going on from the checkpoint before it", flush=True)
    return None
