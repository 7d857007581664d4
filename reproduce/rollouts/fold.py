"""Rows of single turns joined to whole trajectories, and taken apart again.

Where every turn has a prompt of its own, a trajectory is several rows. Rewards, group statistics, discounts and step
groups belong to trajectories, so advantages are computed on joined rows, exactly as where a trajectory is one row.
"""

import torch
from torch import Tensor


class Fold:
    """(B, T) rows of single turns to (J, L) trajectories and back; only loss-mask tokens are kept.

    trajectories_B (int64): number of the trajectory of each row, 0 to J - 1; the rows of one stand together, in the
    order of its turns. ValueError if they do not, or if a trajectory has no loss-mask token. `mask_JL`: its tokens.
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
        """values_JL: the loss-mask tokens of each trajectory one after another; 0 (-1 for whole numbers) behind."""
        behind = 0 if values_BT.is_floating_point() else -1
        values_JL = values_BT.new_full(self.mask_JL.shape, behind)
        values_JL[self._row, self._column] = values_BT[self.mask_BT]
        return values_JL

    def split(self, values_JL: Tensor) -> Tensor:
        """values_BT: every loss-mask token gets its value back, 0 elsewhere."""
        values_BT = values_JL.new_zeros(self.mask_BT.shape)
        values_BT[self.mask_BT] = values_JL[self._row, self._column]
        return values_BT


class Whole:
    """The fold of rows that are whole trajectories: nothing to do."""

    def __init__(self, mask_BT: Tensor):
        self.mask_JL = mask_BT

    @staticmethod
    def join(values_BT: Tensor) -> Tensor:
        """The same tensor."""
        return values_BT

    @staticmethod
    def split(values_JL: Tensor) -> Tensor:
        """The same tensor."""
        return values_JL
