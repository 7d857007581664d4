"""Micro-batches: the passes of an update, each within a limit of tokens, whose gradients add up to the whole one's.

A loss may read all tokens of a mini-batch at once: a token mean, a quantile of entropies, a covariance. So it is taken
from the values of all tokens, computed without gradient, and its derivative by each value is then carried into the
network one micro-batch at a time (gradient caching, arXiv 2101.06983). That is exact for every loss and costs one
forward pass more. Processes make equal numbers of passes, since FSDP and ZeRO-3 exchange weights in each.
"""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import torch
from torch import Tensor

from reproduce.training.layout import Layout
from reproduce.training.parallel import process_index, processes, together
from reproduce.training.prefix_tree import cut_in_order, in_order
from reproduce.training.token_logps import joined

Score = Callable[[dict, Tensor], Sequence[Tensor | None]]
"""(rows of a batch, their loss mask) -> tensors (rows, T) with gradient, or None in the place of one."""


class Part(NamedTuple):
    """One pass: the rows of the mini-batch that it holds, and their loss mask (rows, T)."""

    rows: Tensor
    mask_BT: Tensor


def own_parts(inputs: dict, mask_BT: Tensor, limit: int | None, layout: Layout = Layout.PADDED) -> list[Part]:
    """The passes of this process over a mini-batch, as many as every other process makes.

    A row longer than the limit is a pass by itself. A process that has fewer passes than another makes the rest with
    row 0 and an empty mask.

    Args:
        inputs: prompt_mask and completion_mask, (B, .) each, and the ids of both where rows share their beginnings.
        mask_BT: the loss mask.
        limit: tokens of a pass, padding included unless rows are packed, and what rows share once if they share it;
            None: no limit.
        layout: how rows stand in a pass.
    """
    everything = torch.arange(len(mask_BT), device=mask_BT.device)
    prompts_B = inputs["prompt_mask"].sum(1)
    tokens_B = prompts_B + inputs["completion_mask"].sum(1)
    if layout is Layout.SHARED:
        order_B, shared_B = in_order(joined(inputs, prompts_B, tokens_B), tokens_B)
        runs = cut_in_order(tokens_B[order_B].tolist(), shared_B.tolist(), processes(), limit)
        cuts = [[order_B[run].tolist() for run in own] for own in runs]
    else:
        lengths = tokens_B.tolist()
        cuts = [cut(rows, lengths, limit, layout is Layout.PACKED) for rows in dealt(lengths, processes())]
    if len(cuts) == 1 and len(cuts[0]) == 1:
        return [Part(everything, mask_BT)]
    own = [torch.tensor(rows, device=mask_BT.device) for rows in cuts[process_index()]]
    empty = Part(everything[:1], torch.zeros_like(mask_BT[:1]))
    return [Part(rows, mask_BT[rows]) for rows in own] + [empty] * (max(map(len, cuts)) - len(own))


def dealt(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Rows for each process, longest first: each row goes to the process with the fewest tokens so far.

    Args:
        lengths: tokens of each row.
        count: processes.
    """
    found: list[list[int]] = [[] for _ in range(count)]
    least = [(0, process) for process in range(count)]
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        tokens, process = heappop(least)
        found[process].append(row)
        heappush(least, (tokens + lengths[row], process))
    return found


def cut(rows: Sequence[int], lengths: Sequence[int], limit: int | None, packed: bool = False) -> list[list[int]]:
    """Cut rows into runs of at most `limit` tokens; a longer row is a run by itself.

    Args:
        rows: numbers of rows, longest first.
        lengths: tokens of every row, by number.
        limit: None: one run.
        packed: tokens are counted without padding; else each row has those of the run's longest.
    """

    def tokens(part: list[int]) -> int:
        return sum(lengths[row] for row in part) if packed else len(part) * lengths[part[0]]

    found: list[list[int]] = []
    for row in rows:
        if found and (limit is None or tokens([*found[-1], row]) <= limit):
            found[-1].append(row)
        else:
            found.append([row])
    return found


def take(inputs: dict, rows: Tensor) -> dict:
    """The given rows of every tensor of a batch; numbers stay.

    Args:
        inputs: name -> tensor (B, ...) or number.
        rows: their numbers; as many as there are rows, which are then all, in their order: the batch itself.
    """
    if len(rows) == len(inputs["completion_mask"]):
        return inputs
    return {name: value[rows] if torch.is_tensor(value) and value.dim() else value for name, value in inputs.items()}


def values_of(parts: list[Part], inputs: dict, mask_BT: Tensor, score: Score) -> list[Tensor | None]:
    """Values of the whole mini-batch, of all processes.

    Args:
        parts: the passes of this process (`own_parts`).
        inputs: the whole mini-batch. mask_BT: its loss mask.
        score: makes values of the rows of a pass.

    Returns:
        Tensors (B, T), or None, as `score` gives them; gradient flows into the values of this process.
    """
    if len(parts) == processes() == 1:
        return list(score(inputs, mask_BT))
    found = zip(*(score(take(inputs, part.rows), part.mask_BT) for part in parts), strict=True)
    rows = torch.cat([part.rows for part in parts])
    return [None if kind[0] is None else together(torch.cat(kind), rows, mask_BT) for kind in found]


def whole_loss(
    parts: list[Part],
    inputs: dict,
    mask_BT: Tensor,
    score: Score,
    loss: Callable[..., Tensor],
    backward: Callable[[Tensor], None],
) -> Tensor:
    """The loss of the whole mini-batch. Its own backward pass completes the gradient, of which `backward` makes parts.

    Args:
        parts, inputs, mask_BT, score: as of `values_of`.
        loss: called once with what `score` gives, for all rows.
        backward: accumulates the gradient of what it is given, without exchanging it between processes; it is called
            for every micro-batch but the last.
    """
    if len(parts) == 1:
        return loss(*values_of(parts, inputs, mask_BT, score))
    with torch.no_grad():
        values = values_of(parts, inputs, mask_BT, score)
    leaves = [None if value is None else value.requires_grad_() for value in values]
    whole = loss(*leaves)
    given = [leaf for leaf in leaves if leaf is not None]
    found = iter(torch.autograd.grad(whole, given, allow_unused=True, materialize_grads=True))
    factors = [None if leaf is None else next(found) for leaf in leaves]

    def carried(part: Part) -> Tensor:
        scored = score(take(inputs, part.rows), part.mask_BT)
        pairs = [(value, by) for value, by in zip(scored, factors, strict=True) if value is not None]
        return sum((value * torch.where(part.mask_BT, by[part.rows], 0.0)).sum() for value, by in pairs)

    for part in parts[:-1]:
        backward(carried(part))
    last = carried(parts[-1])
    return whole.detach() + (last - last.detach())
