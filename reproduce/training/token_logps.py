"""Log-probabilities (and entropies) of the tokens that are trained on.

More than half of an agent's tokens are tool results, and rows differ in length. So rows are sorted and passed a few at
a time, each prompt directly followed by its completion (then causal attention needs no mask), and the output head sees
only the positions that predict a loss-mask token.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from reproduce.errors import UserError
from reproduce.precision import wide

CPU_ROWS = 16  # rows per forward pass on a CPU, where padding costs more than one pass more
CPU_TURNS = 48  # the same where a row is a short turn after a longer prompt
KEPT_LOGITS = 2**27  # tokens x vocabulary; a larger head output is made in chunks and again in the backward pass


def token_logps(
    model, head: torch.nn.Module, inputs: dict, mask_BT: Tensor, temperature: float, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """(logps_BT, entropies_BT or None): nats, of the softmax at `temperature`, with gradient, 0 outside `mask_BT`.

    model: the causal LM that is trained, wrappers of data parallelism included. head: its output embeddings.
    inputs: prompt_ids and prompt_mask (left-padded), completion_ids and completion_mask (right-padded), all (B, .).
    Raises UserError for a model that changes the head's logits afterwards.
    """
    values, places = [], []
    for ids, row, position, place in passes(inputs, mask_BT):
        with _scoring(head, row, position - 1, ids[row, position], temperature, entropy):
            values.append(model(input_ids=ids, use_cache=False).logits)
        places.append(place)
    values, places = torch.cat(values), torch.cat(places)
    return placed(values[:, 0], places, mask_BT), placed(values[:, 1], places, mask_BT) if entropy else None


def passes(inputs: dict, mask_BT: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """(ids, row, position, place) of each forward pass, over rows of similar length.

    ids: (rows of the pass, width) token ids. row, position: where its loss-mask tokens stand in ids. place: where they
    stand in a flattened (B, T), for `placed`. inputs: as for `token_logps`.
    """
    prompts_B, lengths_B = inputs["prompt_mask"].sum(1), inputs["completion_mask"].sum(1)
    turns = inputs["completion_ids"].shape[1] < inputs["prompt_ids"].shape[1]
    order = (prompts_B + lengths_B if turns else lengths_B).argsort(stable=True)
    for rows in order.split(CPU_TURNS if turns else CPU_ROWS) if order.device.type == "cpu" else [order]:
        ids = _joined(inputs, rows, prompts_B[rows], int((prompts_B + lengths_B)[rows].max()))
        row, token = mask_BT[rows].nonzero(as_tuple=True)
        yield ids, row, prompts_B[rows][row] + token, rows[row] * mask_BT.shape[1] + token


def placed(values: Tensor, places: Tensor, mask_BT: Tensor) -> Tensor:
    """values_BT with the values of loss-mask tokens at their places, 0 elsewhere."""
    return values.new_zeros(mask_BT.numel()).index_copy(0, places, values).view(mask_BT.shape)


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
    """The output embeddings of a causal LM; UserError if its log-probs are not the softmax of their output."""
    if getattr(model.config, "final_logit_softcapping", None):
        raise UserError(f"model: {type(model).__name__} changes logits after its head, which scoring does not follow")
    return model.get_output_embeddings()
