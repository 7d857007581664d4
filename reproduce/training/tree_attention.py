"""Attention in a tree of tokens (`training.prefix_tree`): each token attends to its ancestors and itself.

On a card that is flex attention, which leaves out blocks of other branches. On a CPU scaled-dot-product attention works
row by row: the queries are a row's own tokens, the keys and values its whole path, gathered from the line, so that a
shared prefix has one key and one value with one gradient. Rows of similar shape are computed together. A dense mask
over the whole line makes a pass 1.4 times as long at a prompt of 300 tokens and 16 rows of 100 (SmolLM2's shape, one
thread).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from reproduce.attention import attending
from reproduce.errors import UserError
from reproduce.training.layout import Layout
from reproduce.training.prefix_tree import PrefixTree

NAME = "prefix_tree"
"""The attention's name in transformers' registry."""
FAMILIES = ("llama", "qwen2", "qwen3")
"""Types of models whose attention is this one where no layer has a window."""
PADDING = 0.3
"""The share of the pairs of queries and keys that rows computed together may waste on padding."""
CALL = 200_000
"""Pairs of queries and keys that cost about as much as one call more. Measured on one thread, at 64 to 576 units."""


class Block(NamedTuple):
    """Rows that attend in one call: R rows of Q queries and K keys at most.

    queries_RQ, keys_RK: places in the line, 0 where a row is padded. asked_RQ: whether a query is one. mask: (R, 1, Q,
    K), whether a query attends to a key.
    """

    queries_RQ: Tensor
    asked_RQ: Tensor
    keys_RK: Tensor
    mask: Tensor


class Blocks(NamedTuple):
    """All rows of a tree. back_N: where the blocks' answers, one behind the other, hold those of the line."""

    blocks: list[Block]
    back_N: Tensor


def blocks_of(tree: PrefixTree) -> Blocks:
    """The calls that cover every token of a tree once."""
    parts = _alike(tree.own_B.tolist(), tree.lengths_B.tolist())
    blocks = [_block(tree, torch.tensor(part)) for part in parts]
    line = torch.cat([block.queries_RQ[block.asked_RQ] for block in blocks])
    return Blocks(blocks, line.argsort())


def _alike(own: list[int], lengths: list[int]) -> list[list[int]]:
    """Rows that have tokens of their own, in parts that are worth one call each."""
    found: list[list[int]] = []
    pairs = 0
    for row in sorted((row for row, count in enumerate(own) if count), key=lambda row: (own[row], lengths[row])):
        pairs += own[row] * lengths[row]
        if found:
            part = [*found[-1], row]
            padded = len(part) * own[row] * max(lengths[other] for other in part)
            if padded <= (1 + PADDING) * pairs + CALL:
                found[-1] = part
                continue
        found.append([row])
        pairs = own[row] * lengths[row]
    return found


def _block(tree: PrefixTree, rows_R: Tensor) -> Block:
    own_R1, lengths_R1 = tree.own_B[rows_R][:, None], tree.lengths_B[rows_R][:, None]
    q, k = torch.arange(int(own_R1.max())), torch.arange(int(lengths_R1.max()))
    asked, held = q < own_R1, k < lengths_R1
    queries = torch.where(asked, tree.starts_B[rows_R][:, None] + q, 0)
    keys = torch.where(held, tree.places_BL[rows_R][:, : len(k)], 0)
    depths_RQ = lengths_R1 - own_R1 + q
    return Block(queries, asked, keys, (held[:, None] & (k <= depths_RQ[..., None]))[:, None])


def flex_mask(ends_N: Tensor):
    """The mask of `prefix_tree.tree_mask` as flex attention's blocks. ends_N: of a `PrefixTree`, on a card or not."""
    from torch.nn.attention.flex_attention import create_block_mask

    def descends(batch, head, query, key):
        return (key <= query) & (query < ends_N[key])

    sizes = dict(B=None, H=None, Q_LEN=len(ends_N), KV_LEN=len(ends_N))
    return create_block_mask(descends, **sizes, device=ends_N.device, _compile=ends_N.is_cuda)


def attend(module, query, key, value, attention_mask, scaling=None, dropout=0.0, *, tree, **options):
    """Transformers' interface of an attention.

    Args:
        query, key, value: (1, heads, N, head size), of a line of N tokens.
        attention_mask: not read.
        tree: `Blocks`, or what `flex_mask` gives.

    Returns:
        (answers (1, N, heads, head size), None).
    """
    if not isinstance(tree, Blocks):
        from transformers.integrations.flex_attention import flex_attention_forward

        return flex_attention_forward(module, query, key, value, tree, scaling=scaling, dropout=dropout)
    _, heads, tokens, size = query.shape
    kv_heads = key.shape[1]
    lines = [values[0].transpose(0, 1).flatten(1) for values in (query, key, value)]
    found = [_answers(block, *lines, kv_heads, size, scaling, dropout) for block in tree.blocks]
    return torch.cat(found).index_select(0, tree.back_N).view(1, tokens, heads, size), None


def _answers(block: Block, query, key, value, kv_heads: int, size: int, scaling, dropout: float) -> Tensor:
    """Answers (queries that are asked, heads x size). Query heads of one key head become more queries of it."""
    (R, Q), K = block.queries_RQ.shape, block.keys_RK.shape[1]
    asked = query.index_select(0, block.queries_RQ.flatten()).view(R, Q, kv_heads, -1, size).permute(0, 2, 3, 1, 4)
    held = [
        values.index_select(0, block.keys_RK.flatten()).view(R, K, kv_heads, size).transpose(1, 2)
        for values in (key, value)
    ]
    each = asked.shape[2]
    mask = block.mask.expand(R, each, Q, K).reshape(R, 1, each * Q, K)
    found = scaled_dot_product_attention(
        asked.reshape(R, kv_heads, each * Q, size), *held, attn_mask=mask, dropout_p=dropout, scale=scaling
    )
    found = found.view(R, kv_heads, each, Q, size).permute(0, 3, 1, 2, 4).reshape(R, Q, -1)
    return found[block.asked_RQ]


AttentionInterface.register(NAME, attend)


def check_model(model) -> None:
    """Check that a model can attend in a tree.

    Raises:
        UserError: its layers attend in another way.
    """
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if config.model_type not in FAMILIES or kinds != {"full_attention"}:
        kind = config.model_type if config.model_type not in FAMILIES else f"{config.model_type} with windows"
        raise UserError(f"training.shared_prefixes: is for {', '.join(FAMILIES)} without windows, not for {kind}")


@contextmanager
def attention_for(model, layout: Layout) -> Iterator[None]:
    """While open, the model attends as its rows stand, in backward passes too.

    Args:
        model: without wrappers.
        layout: of rows: in a tree (`NAME`), or, on a card, packed (flex attention). Otherwise nothing changes.
    """
    name = {Layout.SHARED: NAME, Layout.PACKED: "flex_attention"}.get(layout)
    if name is None or (layout is Layout.PACKED and model.device.type == "cpu"):
        yield
        return
    with attending(model, name):
        yield
