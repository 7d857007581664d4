"""Rows that begin alike as a tree of tokens, in which a shared beginning is one path.

The rows of a group share their prompt, forks their parent's turns too, and messages of an episode what they repeat. The
tree is found from the token ids alone: in alphabetical order a row shares most with the row before it. A token is a
function of the tokens before it, so what several rows begin with is passed once. The tree's tokens stand in one line,
each row's own tokens behind those of the row before; then a token's descendants directly follow it.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class PrefixTree(NamedTuple):
    """N tokens of a tree of B rows, of L columns at most.

    order_B: rows in alphabetical order, which is the order of the tree. ids_N: tokens. depths_N: the column of each in
    its rows, which is its position id. ends_N: where the line goes on after its descendants. places_BL: where the line
    holds a row's tokens; of no meaning behind its end. starts_B, own_B: where a row's own tokens begin, and how many
    they are. lengths_B: tokens of each row.
    """

    order_B: Tensor
    ids_N: Tensor
    depths_N: Tensor
    ends_N: Tensor
    places_BL: Tensor
    starts_B: Tensor
    own_B: Tensor
    lengths_B: Tensor


def in_order(ids_BL: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """Sort rows so that those with a common beginning are neighbours.

    Args:
        ids_BL: token ids, right-padded.
        lengths_B: tokens of each row.

    Returns:
        (order_B, shared_B): the rows in alphabetical order, and how many first tokens each has of the row before it
        there.
    """
    rows = [row[:length] for row, length in zip(ids_BL.tolist(), lengths_B.tolist(), strict=True)]
    order_B = torch.tensor(sorted(range(len(rows)), key=rows.__getitem__), device=ids_BL.device)
    ids_BL, lengths_B = ids_BL[order_B], lengths_B[order_B]
    inside = torch.arange(ids_BL.shape[1], device=ids_BL.device) < torch.minimum(lengths_B[1:], lengths_B[:-1])[:, None]
    alike = (ids_BL[1:] == ids_BL[:-1]) & inside
    shared = alike.long().cumprod(1).sum(1)
    return order_B, torch.cat([shared.new_zeros(1), shared])


def prefix_tree(ids_BL: Tensor, lengths_B: Tensor) -> PrefixTree:
    """The tree of rows of tokens.

    Args:
        ids_BL: token ids, right-padded; one row or more.
        lengths_B: tokens of each row.
    """
    order_B, shared_B = in_order(ids_BL, lengths_B)
    (count, width), device = ids_BL.shape, ids_BL.device
    lengths, columns = lengths_B[order_B], torch.arange(width, device=device)
    own = lengths - shared_B
    starts = torch.cat([own.new_zeros(1), own.cumsum(0)])
    fresh = columns >= shared_B[:, None]  # (B, L): the column is not of the row before
    numbers = torch.arange(count, device=device)[:, None]
    owners = torch.where(fresh, numbers, -1).cummax(0).values
    places = starts[owners] + columns - shared_B[owners]
    following = torch.where(fresh, numbers, count).flip(0).cummin(0).values.flip(0)  # the next fresh row from here on
    after = torch.cat([following[1:], torch.full((1, width), count, device=device)])
    mine = fresh & (columns < lengths[:, None])
    back = order_B.argsort()
    depths = columns.expand(count, -1)[mine]
    line = ids_BL[order_B][mine], depths, starts[after][mine]
    return PrefixTree(order_B, *line, places[back], starts[:-1][back], own[back], lengths_B)


def tree_mask(ends_N: Tensor) -> Tensor:
    """(N, N), query by key: a token attends to its ancestors and itself. ends_N: of a `PrefixTree`."""
    line = torch.arange(len(ends_N), device=ends_N.device)
    return (line <= line[:, None]) & (line[:, None] < ends_N)


def cut_in_order(
    lengths: list[int], shared: list[int], processes: int = 1, limit: int | None = None
) -> list[list[list[int]]]:
    """For each process the runs of neighbouring rows that it passes together, as numbers in the order of the tree.

    Processes get about equally many tokens; one may get no row.

    Args:
        lengths: tokens of each row, in the order of the tree.
        shared: how many of them the row before it has too.
        processes: that share the rows.
        limit: the most tokens of a run, shared ones once; a row longer than that is a run by itself. None: no limit.
    """
    own = [length - common for length, common in zip(lengths, shared, strict=True)]
    total, before = max(1, sum(own)), 0
    found: list[list[list[int]]] = [[] for _ in range(processes)]
    tokens = 0
    for row, new in enumerate(own):
        runs = found[min(processes - 1, (before + new // 2) * processes // total)]
        before += new
        if runs and (limit is None or tokens + new <= limit):
            runs[-1].append(row)
            tokens += new
        else:
            runs.append([row])
            tokens = lengths[row]
    return found
