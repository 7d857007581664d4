"""What a checkpoint holds beside the trainer's own files: what the run carries from step to step, and a marker.

The marker is written last, so that a checkpoint cut short by a kill does not count.
"""

from pathlib import Path

import torch

from reproduce.errors import UserError
from reproduce.training.parallel import processes

COMPLETE = "complete"
CARRIED = "carried.pt"


def complete(folder: Path, carried: dict[str, dict]) -> None:
    """Completes the checkpoint in `folder` with what the run carries: name -> state."""
    torch.save(carried | {"processes": processes()}, folder / CARRIED)
    (folder / COMPLETE).touch()


def load_carried(folder: Path, device) -> dict[str, dict]:
    """What the run carries, from the checkpoint in `folder`: name -> state, tensors on `device`.

    UserError if it is missing, or if another number of processes wrote it.
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
    """The newest complete checkpoint below `folder`, or None. A checkpoint cut short by a kill does not count."""
    found = [p.parent for p in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda p: int(p.name.rsplit("-", 1)[1]), default=None)
