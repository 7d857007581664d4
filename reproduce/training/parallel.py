"""Data parallelism: what each process does of a step, and how the processes put it together.

Every process holds the same rollout batch and computes the same advantages, losses and statistics on the whole of it.
What is divided is what costs: sampling (`training.shards`) and the passes of the networks. Of a mini-batch, each
process passes its own rows; values are then put together, so that the loss is that of the whole mini-batch everywhere,
and its gradient flows into the own rows alone. A loss of any form is therefore the one of a single process.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from reproduce.errors import UserError


def processes() -> int:
    """How many processes train together, as the launcher says; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_index() -> int:
    """The number of this process, from 0. Process 0 alone writes to the run directory."""
    return int(os.environ.get("RANK", "0"))


def own_device(device: str) -> str:
    """The device of this process: `device` itself, or, for plain cuda, the card that the launcher gave it."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if device == "cuda" and local is not None else device


def sampling_part(together: int) -> tuple[int, int]:
    """(i, n): of n groups of `together` neighbouring processes, each of which samples, this process is in group i."""
    return process_index() // together, processes() // together


def leads(together: int) -> bool:
    """Whether this process is the first one of its group, which alone collects what the group samples."""
    return process_index() % together == 0


def check_division(training) -> None:
    """Check that the processes can divide the work of a step.

    Args:
        training: `TrainingConfig`.

    Raises:
        UserError: they do not divide the shards of a rollout batch, or the rows of a mini-batch.
    """
    count, shards = processes(), training.rollout_shards or 1
    if shards % count:
        raise UserError(
            f"{count} processes cannot share training.rollout_shards: {shards}; set it to a multiple of {count} (it "
            "must divide training.prompts_per_step), or start fewer processes"
        )
    rows = training.prompts_per_step * training.group_size // training.minibatches
    if rows % count and training.group_size > 1:
        raise UserError(
            f"{count} processes cannot share the {rows} trajectories of a mini-batch: change training.minibatches, "
            "prompts_per_step or group_size"
        )


def gathered(value) -> list:
    """`value` of every process, in their order; any object that can be pickled. Every process must call it."""
    if processes() == 1:
        return [value]
    found: list = [None] * processes()
    torch.distributed.all_gather_object(found, value)
    return found


def wait_for_all() -> None:
    """Returns once every process has got here."""
    if processes() > 1:
        torch.distributed.barrier()


def add_up(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Adds up the gradients of all processes, which have gradients for the same parameters."""
    for parameter in parameters:
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)


def share_random_state() -> None:
    """Gives every process the global random state of process 0, so that TRL shuffles a batch the same everywhere."""
    if processes() > 1:
        torch.set_rng_state(gathered(torch.get_rng_state())[0])


def together(values: Tensor, rows: Tensor, mask_BT: Tensor) -> Tensor:
    """values_BT of the whole mini-batch from those that each process has for its `rows`, 0 outside their masks.

    Gradient flows into the own values only.

    Args:
        values: (own rows, T).
        rows: their numbers in the mini-batch. A row may be there twice where one of them is 0 everywhere.
        mask_BT: of the whole mini-batch.
    """
    if processes() == 1 and len(rows) == len(mask_BT):
        own_BT = values
    own_BT = values.new_zeros(mask_BT.shape).index_add(0, rows, values)
    if processes() == 1:
        return own_BT
    sum_BT = own_BT.detach().clone()
    torch.distributed.all_reduce(sum_BT)
    return sum_BT + (own_BT - own_BT.detach())


def _on_cpu(storage, location: str):
    """accelerate calls the CPU of process 1 cpu:1, which torch.load does not know by itself."""
    return storage if location.startswith("cpu:") else None


torch.serialization.register_package(9, lambda storage: None, _on_cpu)  # 9: asked before torch's own


class Follower:
    """Stands in for a `RunDirectory` in a process other than the first: it reads where the run is, writes nothing.

    path: of the run directory.
    """

    status = "running"

    def __init__(self, path: Path):
        self.path, self.checkpoints, self.parts = path, path / "checkpoints", path / "parts"

    def _nothing(self, *arguments, **options) -> None:
        """Process 0 does it."""

    drop_steps_after = write_step = write_tokens = write_validation = progress = write_eval = finish = _nothing
