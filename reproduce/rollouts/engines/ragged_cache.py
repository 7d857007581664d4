"""A key-value cache whose rows have lengths of their own, and the attention that reads it.

A forward pass takes the new tokens of all rows one behind the other, as one row (1, N): the last token of every row
first, then the tokens before it in rows that got several at once (a tool result). Linear layers see no padding.
Attention has two parts: one query for each row; and the rows with several, padded to the longest of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "ragged"
GROW = 64  # columns that a block begins with


@dataclass(frozen=True)
class Plan:
    """Which token of a pass stands where. N tokens, of which the first R are the last ones of rows 0 to R - 1.

    row_N, column_N: the place in the cache of every token. last_R1W: mask (R, 1, 1, W) of the last tokens, additive.
    rows_M: rows that got more than one token. query_ML: which token of the pass is their l-th one, padded with any.
    valid_ML: where it is one. earlier_M1LW: their mask, additive.
    """

    row_N: Tensor
    column_N: Tensor
    last_R1W: Tensor
    rows_M: Tensor | None = None
    query_ML: Tensor | None = None
    valid_ML: Tensor | None = None
    earlier_M1LW: Tensor | None = None


def planned(fed: Sequence[int], counts: Sequence[int], device, dtype: torch.dtype) -> Plan:
    """The plan of a pass.

    Args:
        fed: tokens of each row that are in the cache, (R,).
        counts: new tokens of each row, (R,), at least 1.
        device, dtype: of the attention masks.
    """
    fed_R, count_R = torch.tensor(fed, device=device), torch.tensor(counts, device=device)
    last_R = fed_R + count_R - 1
    width = int(last_R.max()) + 1
    columns = torch.arange(width, device=device)
    last_R1W = _additive(columns[None] <= last_R[:, None], dtype)[:, None, None]
    everything = torch.arange(len(fed), device=device)
    rows_M = (count_R > 1).nonzero()[:, 0]
    if not len(rows_M):
        return Plan(everything, last_R, last_R1W)
    earlier_M = count_R[rows_M] - 1
    step_L = torch.arange(int(earlier_M.max()), device=device)
    valid_ML = step_L[None] < earlier_M[:, None]
    column_ML = fed_R[rows_M][:, None] + step_L[None]
    before_M = len(fed) + earlier_M.cumsum(0) - earlier_M
    query_ML = torch.where(valid_ML, before_M[:, None] + step_L[None], 0)
    reach = int(column_ML[valid_ML].max()) + 1
    earlier_M1LW = _additive(columns[None, None, :reach] <= column_ML[:, :, None], dtype)[:, None]
    return Plan(
        torch.cat([everything, rows_M[:, None].expand_as(valid_ML)[valid_ML]]),
        torch.cat([last_R, column_ML[valid_ML]]),
        last_R1W,
        rows_M,
        query_ML,
        valid_ML,
        earlier_M1LW,
    )


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, -torch.inf)


class _Layer(CacheLayerMixin):
    """Keys and values of one layer, blocks of (rows, heads, columns, head size), written where the plan says."""

    def __init__(self, cache: "RaggedCache"):
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states, value_states):
        shape = (self.cache.rows, key_states.shape[-3], self.cache.columns, key_states.shape[-1])
        self.keys, self.values = key_states.new_zeros(shape), value_states.new_zeros(shape)
        self.is_initialized = True

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        plan = self.cache.plan
        self.keys[plan.row_N, :, plan.column_N] = key_states[0].transpose(0, 1)
        self.values[plan.row_N, :, plan.column_N] = value_states[0].transpose(0, 1)
        return self.keys, self.values

    def get_mask_sizes(self, query_length):
        return self.cache.columns, 0

    def get_seq_length(self):
        return 0

    def get_max_length(self):
        return -1


class RaggedCache:
    """Room for `rows` rows of `columns` tokens. plan: of the pass in progress. cache: what Transformers is given."""

    def __init__(self, layers: int, rows: int, columns: int):
        self.rows, self.columns = rows, columns
        self.plan: Plan | None = None
        self.layers = [_Layer(self) for _ in range(layers)]
        self.cache = Cache(layers=self.layers)

    def make_room(self, rows: int, columns: int) -> None:
        """Grow to hold at least as much, keeping the contents."""
        if rows <= self.rows and columns <= self.columns:
            return
        self.rows = max(rows, self.rows)
        if columns > self.columns:
            self.columns = max(columns, self.columns * 3 // 2)
        for layer in self.layers:
            if layer.is_initialized:
                layer.keys, layer.values = self._grown(layer.keys), self._grown(layer.values)

    def _grown(self, old: Tensor) -> Tensor:
        new = old.new_zeros((self.rows, old.shape[1], self.columns, old.shape[3]))
        new[: old.shape[0], :, : old.shape[2]] = old
        return new

    def row(self, row: int, length: int) -> list[tuple[Tensor, Tensor]]:
        """Copies of the keys and values (heads, length, size) of a row's first `length` tokens, for each layer."""
        return [(layer.keys[row, :, :length].clone(), layer.values[row, :, :length].clone()) for layer in self.layers]

    def write(self, row: int, length: int, blocks: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Put the first `length` tokens of what `row` gave into another row."""
        for layer, (keys, values) in zip(self.layers, blocks, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(keys, values)
            layer.keys[row, :, :length] = keys[:, :length]
            layer.values[row, :, :length] = values[:, :length]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one row over another."""
        for layer in self.layers:
            for block in (layer.keys, layer.values):
                block[target, :, :length] = block[source, :, :length]


def attention(module, query, key, value, attention_mask, ragged: Plan | None = None, **kwargs) -> tuple[Tensor, None]:
    """Attention (1, N, heads, size) of a pass, for Transformers' registry; key and value are the blocks of the layer.

    Raises:
        TypeError: the model does not hand the plan down to its attention.
    """
    if ragged is None:
        raise TypeError(f"{type(module).__name__} does not pass keyword arguments to its attention")
    options = kwargs | {"is_causal": False}
    count, width = ragged.last_R1W.shape[0], ragged.last_R1W.shape[-1]
    last = query[0, :, :count].transpose(0, 1)[:, :, None]
    found = sdpa_attention_forward(
        module, last, key[:count, :, :width], value[:count, :, :width], ragged.last_R1W, **options
    )
    output = found[0].transpose(0, 1)  # (1, R, heads, size)
    if ragged.rows_M is None:
        return output, None
    width = ragged.earlier_M1LW.shape[-1]
    queries = query[0][:, ragged.query_ML].transpose(0, 1)
    rows = ragged.rows_M
    keys, values = key[:, :, :width][rows], value[:, :, :width][rows]
    found = sdpa_attention_forward(module, queries, keys, values, ragged.earlier_M1LW, **options)
    return torch.cat([output, found[0][ragged.valid_ML][None]], dim=1), None


AttentionInterface.register(NAME, attention)


def forward(model, cache: RaggedCache, fed: Sequence[int], news: Sequence[Sequence[int]]) -> Tensor:
    """Pass new tokens of rows 0 to R - 1 and keep their keys and values.

    Args:
        model: any decoder of Transformers that takes `past_key_values`, `position_ids` and `logits_to_keep`.
        cache: whose rows hold the tokens before.
        fed: how many those are, for each row.
        news: the new tokens of each row, at least one.

    Returns:
        logits (R, V) after the last new token of each row.
    """
    device = model.device
    cache.make_room(len(fed), max(f + len(n) for f, n in zip(fed, news, strict=True)))
    cache.plan = plan = planned(fed, [len(new) for new in news], device, model.dtype)
    tokens = [new[-1] for new in news] + [token for new in news for token in new[:-1]]
    kinds = getattr(model.config, "layer_types", None)  # models that have them take a mask for each
    output = model(
        input_ids=torch.tensor([tokens], device=device),
        attention_mask=dict.fromkeys(kinds) if kinds else None,
        position_ids=plan.column_N[None],
        past_key_values=cache.cache,
        use_cache=True,
        logits_to_keep=torch.arange(len(fed), device=device),
        ragged=plan,
    )
    return output.logits[0]
