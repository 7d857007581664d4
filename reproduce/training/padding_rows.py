"""Rows that fill a batch up to a size that TRL can divide, and count nowhere.

Where every turn is a row, a rollout batch has as many rows as its episodes had turns, but TRL splits it into groups and
mini-batches of equal size. A filler row has an empty loss mask. It is there only for TRL's shuffling and splitting, and
dropped from its mini-batch before anything is computed: a mini-batch with filler is exactly the one of its other rows.
"""

import torch
from torch import Tensor


def first_rows(output: dict, rows: int) -> dict:
    """The first `rows` rows of every tensor of a batch; numbers stay."""
    return {name: value[:rows] if _has_rows(value) else value for name, value in output.items()}


def with_filler(output: dict, multiple: int) -> dict:
    """The batch with rows of zeros behind it: tokens that are in no mask.

    Args:
        output: name -> tensor (B, ...) or number.
        multiple: of which the number of rows becomes one.
    """
    missing = -len(output["completion_mask"]) % multiple
    if not missing:
        return output
    return {
        name: torch.cat([value, value.new_zeros((missing, *value.shape[1:]))]) if _has_rows(value) else value
        for name, value in output.items()
    }


def without_filler(inputs: dict, mask_BT: Tensor) -> dict:
    """The rows of a mini-batch that have a loss-mask token; one row without any if there is no other.

    Args:
        inputs: name -> tensor (B, ...) or number. mask_BT: its loss mask.
    """
    keep_B = mask_BT.any(1)
    if bool(keep_B.all()):
        return inputs
    if not bool(keep_B.any()):
        return first_rows(inputs, 1)
    return {name: value[keep_B] if _has_rows(value) else value for name, value in inputs.items()}


def _has_rows(value) -> bool:
    return torch.is_tensor(value) and value.dim() > 0
