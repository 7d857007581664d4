"""Named tensors that only the rollouts know: turns, anchor observations, and which tokens a tree shares.

Rows in the order of `Batch.rows()`, one column per completion token (forced ones included), int64, -1 where a row is
padded. They are built only when a part of a method asks for them by name (`Algorithm.advantage_needs`, `loss_needs`).

turns_BT    turn of each token: the number of tool results before it. A result belongs to the turn that called for it.
anchors_BT  the observation that the token's turn started from: the text of the last tool result, or the bare question
            in turn 0. Two ids are equal if and only if group and text are the same; what came before plays no part.
owners_BT   row of the trajectory that the token was first part of. Tokens of two rows with the same owner at the same
            position are one token, sampled once, in the shared prefix of a tree; without forks, each row owns itself.
"""

import torch
from torch import Tensor

from reproduce.rollouts.trajectory import Trajectory

PADDING = -1


def _turns(rows: list[tuple[int, Trajectory]]) -> list[list[int]]:
    return [trajectory.path.turns for _, trajectory in rows]


def _anchors(rows: list[tuple[int, Trajectory]]) -> list[list[int]]:
    ids: dict[tuple[int, str | None], int] = {}
    filled = []
    for group, trajectory in rows:
        observations = [ids.setdefault((group, text), len(ids)) for text in (None, *trajectory.results)]
        filled.append([observations[turn] for turn in trajectory.path.turns])
    return filled


def _owners(rows: list[tuple[int, Trajectory]]) -> list[list[int]]:
    place = {(group, trajectory.row): number for number, (group, trajectory) in enumerate(rows)}
    filled: list[list[int]] = []
    for number, (group, trajectory) in enumerate(rows):
        inherited, own = trajectory.path.inherited, trajectory.path.length - trajectory.path.inherited
        shared = filled[place[group, trajectory.parent]][:inherited] if trajectory.parent >= 0 else []
        filled.append([*shared, *([number] * own)])
    return filled


_BUILDERS = {"turns_BT": _turns, "anchors_BT": _anchors, "owners_BT": _owners}


def rollout_tensors(batch, names: tuple[str, ...], width: int, device) -> dict[str, Tensor]:
    """The tensors `names` of a collected batch (`reproduce.rollouts.collector.Batch`), each (B, width) on `device`.

    Raises ValueError for a name that is not known (listing those that are) and for a completion longer than `width`.
    """
    unknown = [name for name in names if name not in _BUILDERS]
    if unknown:
        raise ValueError(f"the rollouts give no tensor {', '.join(unknown)}; they give {', '.join(_BUILDERS)}")
    rows = [(g, group.trajectories[i]) for g, group, i in batch.rows()]
    longest = max((trajectory.path.length for _, trajectory in rows), default=0)
    if longest > width:
        raise ValueError(f"a completion has {longest} tokens, more than the width {width}")
    return {
        name: torch.tensor(
            [row + [PADDING] * (width - len(row)) for row in _BUILDERS[name](rows)], dtype=torch.int64, device=device
        ).reshape(len(rows), width)
        for name in names
    }
