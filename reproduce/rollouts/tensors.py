"""Named tensors that only the rollouts know: turns, anchor observations, which rows and tokens belong together.

Rows are in the order of `Batch.training_rows()`: one per trajectory, or one per turn if every turn is a prompt. We
build a tensor only if a part of a method asks for it by name (`Algorithm.advantage_needs`, `loss_needs`), except for
SINGLE_TURNS. _BT: one column per completion token (forced ones included), -1 where a row is padded; int64.

    turns_BT     turn of each token: the number of tool results, or turns, before it. A result belongs to the turn that
                 called for it.
    anchors_BT   the observation that the token's turn started from: the text of the last tool result, or the bare
                 question in turn 0. Two ids are equal if and only if group and text are the same, whatever came before.
    owners_BT    row of the trajectory that the token was first part of. Tokens of two rows with the same owner at the
                 same position are one token, sampled once, in the shared prefix of a tree; without forks, each row owns
                 itself.
    sides_BT     1 in side rows (`algorithms.parts.state.SideRows`), 0 in others.
    correct_BT   1 in rows of a trajectory whose answer is correct, 0 in others.
    regions_BT   bits of the regions that the token is part of (`rollouts.regions`).
    trajectories_B      number of the row's trajectory, in the order of the rows.
    trajectory_turns_B  turns of the row's whole trajectory.
    turn_weights_BT     float: `parts.turn_means.turn_weights` of these rows, 0 where a row is padded.
"""

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from reproduce.algorithms.parts.turn_means import trajectory_turns, turn_weights
from reproduce.rollouts.grammar import Grammar
from reproduce.rollouts.regions import token_regions
from reproduce.rollouts.token_path import TokenPath

PADDING = -1
SINGLE_TURNS = ("turn_weights_BT", "trajectory_turns_B")
"""Tensors for means over trajectories if rows are single turns: a row does not know its trajectory."""


def companions(names: Collection[str], single_turns: bool) -> tuple[str, ...]:
    """Name what must come with the tensors of a loss: turns of rows of single turns need `SINGLE_TURNS`."""
    return SINGLE_TURNS if single_turns and "turns_BT" in names else ()


class TrainingRow(NamedTuple):
    """One row of a training batch: a path, the trajectory that it is or belongs to, and their group's number.

    side: it is a side row.
    """

    group: int
    trajectory: object
    path: TokenPath
    side: bool = False


def _sides(rows: list[TrainingRow]) -> list[list[int]]:
    return [[int(row.side)] * row.path.length for row in rows]


def _turns(rows: list[TrainingRow]) -> list[list[int]]:
    return [row.path.turns for row in rows]


def _anchors(rows: list[TrainingRow]) -> list[list[int]]:
    ids: dict[tuple[int, str | None], int] = {}
    filled = []
    for row in rows:
        observations = [ids.setdefault((row.group, text), len(ids)) for text in row.trajectory.observations]
        filled.append([observations[turn] for turn in row.path.turns])
    return filled


def _owners(rows: list[TrainingRow]) -> list[list[int]]:
    place = {(row.group, row.trajectory.row): number for number, row in enumerate(rows)}
    filled: list[list[int]] = []
    for number, (group, trajectory, path, _) in enumerate(rows):
        inherited, own = path.inherited, path.length - path.inherited
        shared = filled[place[group, trajectory.parent]][:inherited] if trajectory.parent >= 0 else []
        filled.append([*shared, *([number] * own)])
    return filled


def trajectory_numbers(rows: list[TrainingRow]) -> list[int]:
    """Return trajectories_B as a list."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(id(row.trajectory), len(numbers)) for row in rows]


_BY_TOKEN = {"turns_BT": _turns, "anchors_BT": _anchors, "owners_BT": _owners, "sides_BT": _sides}
_OF_BATCH = ("correct_BT", "regions_BT")
_BY_ROW = ("trajectories_B", "trajectory_turns_B", "turn_weights_BT")


def rollout_tensors(
    batch, names: tuple[str, ...], width: int, device, grammar: Grammar | None = None
) -> dict[str, Tensor]:
    """Build named tensors of a collected batch.

    Args:
        batch: a `reproduce.rollouts.collector.Batch` of B training rows.
        names: of the tensors.
        width: T of the `_BT` tensors.
        device: where they go.
        grammar: decodes completions; regions_BT alone needs it.

    Returns:
        name -> tensor, (B, width) or (B,).

    Raises:
        ValueError: a name is unknown (the message lists the known ones), or a completion is longer than `width`.
    """
    known = (*_BY_TOKEN, *_OF_BATCH, *_BY_ROW)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"the rollouts give no tensor {', '.join(unknown)}; they give {', '.join(known)}")
    rows = batch.training_rows()
    longest = max((row.path.length for row in rows), default=0)
    if longest > width:
        raise ValueError(f"a completion has {longest} tokens, more than the width {width}")
    found = {name: _padded(_BY_TOKEN[name](rows), width, device) for name in names if name in _BY_TOKEN}
    if "correct_BT" in names:
        rewards = [group.rewards[i] for _, group, i in batch.rows() for _ in group.trajectories[i].paths]
        correct = [[int(reward.correct)] * row.path.length for row, reward in zip(rows, rewards, strict=True)]
        found["correct_BT"] = _padded(correct, width, device)
    if "regions_BT" in names:
        found["regions_BT"] = _padded([token_regions(grammar, row.path.completion) for row in rows], width, device)
    if any(name in _BY_ROW for name in names):
        trajectories_B = torch.tensor(trajectory_numbers(rows), dtype=torch.int64, device=device)
        mask_BT = _padded([[int(s) for s in row.path.sampled] for row in rows], width, device) == 1
        turns_BT = _padded(_turns(rows), width, device)
        found["trajectories_B"] = trajectories_B
        found["trajectory_turns_B"] = trajectory_turns(mask_BT, turns_BT, trajectories_B)
        found["turn_weights_BT"] = turn_weights(mask_BT, turns_BT, trajectories_B)
    return {name: found[name] for name in names}


def _padded(rows: list[list[int]], width: int, device) -> Tensor:
    filled = [row + [PADDING] * (width - len(row)) for row in rows]
    return torch.tensor(filled, dtype=torch.int64, device=device).reshape(len(rows), width)
