"""Log-probabilities (and entropies) of the tokens that are trained on.

More than half of an agent's tokens are tool results, and rows differ in length. So rows are sorted and passed a few at
a time, each prompt directly followed by its completion (then causal attention needs no mask), and the output head sees
only the positions that predict a loss-mask token. Or rows are packed one behind the other into a single row without
padding, whose positions begin again at 0: models of transformers then let a token attend to its own row alone
(`masking_utils.find_packed_sequence_indices`), on a card by flex attention, which leaves out all other blocks. Or what
several rows begin with is passed once (`training.prefix_tree`), and so is the head for a token that they share.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from reproduce.errors import UserError
from reproduce.precision import wide
from reproduce.training.layout import Layout
from reproduce.training.prefix_tree import prefix_tree
from reproduce.training.sampler_copy import divided
from reproduce.training.tree_attention import NAME, blocks_of, flex_mask

CPU_ROWS = 16  # rows per forward pass on a CPU, where padding costs more than one pass more
CPU_TURNS = 48  # the same where a row is a short turn after a longer prompt
KEPT_LOGITS = 2**27  # tokens x vocabulary; a larger head output is made in chunks and again in the backward pass


class Pass(NamedTuple):
    """A forward pass. network: what the model is called with. row, position: where its loss-mask tokens stand in the
    token ids, before: of the tokens that predict them. place: where they stand in a flattened (B, T), for `placed`.
    which: the token of each place, where one token has several; None: theirs is the same order.
    """

    network: dict
    row: Tensor
    position: Tensor
    before: Tensor
    place: Tensor
    which: Tensor | None = None

    def of_places(self, values: Tensor) -> Tensor:
        """Values of the loss-mask tokens as values of the places."""
        return values if self.which is None else values[self.which]


def token_logps(
    model,
    head: torch.nn.Module,
    inputs: dict,
    mask_BT: Tensor,
    temperature: float,
    entropy: bool = False,
    layout: Layout = Layout.PADDED,
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of loss-mask tokens, and the entropies of the softmax that they are drawn from.

    Args:
        model: the causal LM that is trained, wrappers of data parallelism included.
        head: its output embeddings.
        inputs: prompt_ids and prompt_mask (left-padded), completion_ids and completion_mask (right-padded), all (B, .).
        mask_BT: the loss mask.
        temperature: of the softmax.
        entropy: whether entropies are computed.
        layout: how rows stand; the model must attend accordingly (`tree_attention.attention_for`).

    Returns:
        (logps_BT, entropies_BT or None), in nats, with gradient, 0 outside the loss mask.

    Raises:
        RuntimeError: rows stand in a tree and the model does not attend in one: its numbers would be wrong.
    """
    attends = getattr(getattr(model, "config", None), "_attn_implementation", NAME)
    if layout is Layout.SHARED and attends != NAME:
        raise RuntimeError(f"rows share prefixes, but the model attends by {attends}: open `attention_for`")
    values, places = [], []
    for one in passes(inputs, mask_BT, layout):
        targets = one.network["input_ids"][one.row, one.position]
        with _scoring(head, one.row, one.before, targets, temperature, entropy):
            values.append(one.of_places(model(**one.network, use_cache=False).logits))
        places.append(one.place)
    values, places = torch.cat(values), torch.cat(places)
    return placed(values[:, 0], places, mask_BT), placed(values[:, 1], places, mask_BT) if entropy else None


def passes(inputs: dict, mask_BT: Tensor, layout: Layout = Layout.PADDED) -> Iterator[Pass]:
    """The forward passes over a batch: of rows of similar length, or one. inputs, layout: as for `token_logps`."""
    prompts_B, lengths_B = inputs["prompt_mask"].sum(1), inputs["completion_mask"].sum(1)
    if layout is not Layout.PADDED:
        kind = _packed if layout is Layout.PACKED else _shared
        yield kind(inputs, mask_BT, prompts_B, prompts_B + lengths_B)
        return
    turns = inputs["completion_ids"].shape[1] < inputs["prompt_ids"].shape[1]
    order = (prompts_B + lengths_B if turns else lengths_B).argsort(stable=True)
    few = order.device.type == "cpu" and not divided()  # divided weights: all processes make equally many passes
    for rows in order.split(CPU_TURNS if turns else CPU_ROWS) if few else [order]:
        ids = _joined(inputs, rows, prompts_B[rows], int((prompts_B + lengths_B)[rows].max()))
        row, token = mask_BT[rows].nonzero(as_tuple=True)
        position = prompts_B[rows][row] + token
        yield Pass({"input_ids": ids}, row, position, position - 1, rows[row] * mask_BT.shape[1] + token)


def _packed(inputs: dict, mask_BT: Tensor, prompts_B: Tensor, tokens_B: Tensor) -> Pass:
    """All rows as one, (1, all tokens)."""
    everything = torch.arange(len(mask_BT), device=mask_BT.device)
    width = int(tokens_B.max())
    columns = torch.arange(width, device=mask_BT.device).expand(len(mask_BT), -1)
    kept = columns < tokens_B[:, None]
    ids = _joined(inputs, everything, prompts_B, width)[kept][None]
    row, token = mask_BT.nonzero(as_tuple=True)
    position = (tokens_B.cumsum(0) - tokens_B + prompts_B)[row] + token
    network = {"input_ids": ids, "position_ids": columns[kept][None]}
    return Pass(network, torch.zeros_like(row), position, position - 1, row * mask_BT.shape[1] + token)


def _shared(inputs: dict, mask_BT: Tensor, prompts_B: Tensor, tokens_B: Tensor) -> Pass:
    """All rows as the line of their tree, (1, its tokens); a token that several rows train is scored once."""
    ids_BL = joined(inputs, prompts_B, tokens_B)
    tree = prefix_tree(ids_BL, tokens_B)
    row, token = mask_BT.nonzero(as_tuple=True)
    column = prompts_B[row] + token
    position, which = tree.places_BL[row, column].unique(return_inverse=True)
    before = position.new_zeros(len(position)).index_copy(0, which, tree.places_BL[row, column - 1])
    of_tree = blocks_of(tree) if ids_BL.device.type == "cpu" else flex_mask(tree.ends_N)
    network = {"input_ids": tree.ids_N[None], "position_ids": tree.depths_N[None], "tree": of_tree}
    return Pass(network, torch.zeros_like(position), position, before, row * mask_BT.shape[1] + token, which)


def placed(values: Tensor, places: Tensor, mask_BT: Tensor) -> Tensor:
    """values_BT with the values of loss-mask tokens at their places, 0 elsewhere.

    Args:
        values: one per loss-mask token. places: of each in the flattened (B, T).
    """
    return values.new_zeros(mask_BT.numel()).index_copy(0, places, values).view(mask_BT.shape)


def joined(inputs: dict, prompts_B: Tensor, tokens_B: Tensor) -> Tensor:
    """ids (B, longest row): prompts without padding, directly followed by their completions; right-padded.

    inputs: as for `token_logps`. prompts_B, tokens_B: tokens of each prompt, and with its completion.
    """
    return _joined(inputs, torch.arange(len(tokens_B), device=tokens_B.device), prompts_B, int(tokens_B.max()))


def _joined(inputs: dict, rows: Tensor, prompts_B: Tensor, width: int) -> Tensor:
    """ids (rows, width): each prompt without its padding, directly followed by its completion."""
    both = torch.cat([inputs["prompt_ids"][rows], inputs["completion_ids"][rows]], dim=1)
    padding_B = inputs["prompt_ids"].shape[1] - prompts_B
    columns = padding_B[:, None] + torch.arange(width, device=rows.device)
    return both.gather(1, columns.clamp(max=both.shape[1] - 1))


@contextmanager
def _scoring(head, row: Tensor, position: Tensor, targets: Tensor, temperature: float, entropy: bool) -> Iterator[None]:
    """While open, `head` returns (tokens, 2), log-prob of the target and entropy at (row, position), and no logits.

    Inside the model's own forward pass, so that wrappers of data parallelism see a normal one.
    """
    original = head.forward

    def chunk(states, targets):
        logps = torch.log_softmax(wide(original(states)) / temperature, dim=-1)
        picked = logps.gather(-1, targets[:, None])[:, 0]
        heights = -(logps.exp() * logps.clamp(min=-1e4)).sum(-1) if entropy else torch.zeros_like(picked)
        return torch.stack([picked, heights], dim=1)

    def forward(states):
        states = states[row, position]
        size = max(1, KEPT_LOGITS // head.weight.shape[0])
        if len(states) <= size:
            return chunk(states, targets)
        pairs = zip(states.split(size), targets.split(size), strict=True)
        return torch.cat([checkpoint(chunk, *pair, use_reentrant=False) for pair in pairs])

    head.forward = forward
    try:
        yield
    finally:
        del head.forward


def scored_head(model) -> torch.nn.Module:
    """The output embeddings of a causal LM.

    Raises:
        UserError: its log-probabilities are not the softmax of their output.
    """
    if getattr(model.config, "final_logit_softcapping", None):
        raise UserError(f"model: {type(model).__name__} changes logits after its head, which scoring does not follow")
    return model.get_output_embeddings()
