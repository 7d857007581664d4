"""Join rows of single turns to whole trajectories, and split them again.

If every turn is a prompt, a trajectory is several rows. Rewards, group statistics, discounts and step groups belong to
trajectories, so we compute advantages on joined rows, exactly as if a trajectory were one row.
"""

import torch
from torch import Tensor


class Fold:
    """Maps (B, T) rows of single turns to (J, L) trajectories and back; only loss-mask tokens are kept.

    mask_JL: the trajectories' tokens (J, L).

    Args:
        trajectories_B: trajectory of each row (B,), int64, 0 to J - 1. The rows of one are together, in the order of
            its turns.
        mask_BT: loss mask (B, T).

    Raises:
        ValueError: the rows are in another order, or a trajectory has no loss-mask token.
    """

    def __init__(self, trajectories_B: Tensor, mask_BT: Tensor):
        self.mask_BT = mask_BT
        self._row = trajectories_B[mask_BT.nonzero(as_tuple=True)[0]]
        counts_J = torch.bincount(self._row, minlength=int(trajectories_B.max()) + 1)
        if bool((trajectories_B.diff() < 0).any()) or bool((counts_J == 0).any()):
            raise ValueError("rows of single turns must be sorted by trajectory, and each trajectory needs a token")
        starts_J = counts_J.cumsum(0) - counts_J
        self._column = torch.arange(len(self._row), device=mask_BT.device) - starts_J[self._row]
        columns = torch.arange(int(counts_J.max()), device=mask_BT.device)
        self.mask_JL = columns[None, :] < counts_J[:, None]

    def join(self, values_BT: Tensor) -> Tensor:
        """Put the loss-mask tokens of each trajectory one after another.

        Args:
            values_BT: values (B, T).

        Returns:
            values_JL (J, L), 0 (-1 for whole numbers) behind a trajectory's end.
        """
        behind = 0 if values_BT.is_floating_point() else -1
        values_JL = values_BT.new_full(self.mask_JL.shape, behind)
        values_JL[self._row, self._column] = values_BT[self.mask_BT]
        return values_JL

    def split(self, values_JL: Tensor) -> Tensor:
        """Give every loss-mask token its value back.

        Args:
            values_JL: values (J, L).

        Returns:
            values_BT (B, T), 0 outside the mask.
        """
        values_BT = values_JL.new_zeros(self.mask_BT.shape)
        values_BT[self.mask_BT] = values_JL[self._row, self._column]
        return values_BT


class Whole:
    """The fold of rows that are whole trajectories: nothing changes."""

    def __init__(self, mask_BT: Tensor):
        self.mask_JL = mask_BT

    @staticmethod
    def join(values_BT: Tensor) -> Tensor:
        """Return the same tensor."""
        return values_BT

    @staticmethod
    def split(values_JL: Tensor) -> Tensor:
        """Return the same tensor."""
        return values_JL
