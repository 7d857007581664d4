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

CPU_ROWS = 16  # rows per forward pass on a CPU, where padding costs more than one pass more
KEPT_LOGITS = 2**27  # tokens x vocabulary; a larger head output is made in chunks and again in the backward pass


def token_logps(
    model, head: torch.nn.Module, inputs: dict, mask_BT: Tensor, temperature: float, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """(logps_BT, entropies_BT or None): nats, of the softmax at `temperature`, with gradient, 0 outside `mask_BT`.

    model: the causal LM that is trained, wrappers of data parallelism included. head: its output embeddings.
    inputs: prompt_ids and prompt_mask (left-padded), completion_ids and completion_mask (right-padded), all (B, .).
    Raises UserError for a model that changes the head's logits afterwards.
    """
    prompts_B, lengths_B = inputs["prompt_mask"].sum(1), inputs["completion_mask"].sum(1)
    order = lengths_B.argsort(stable=True)
    values, places = [], []
    for rows in order.split(CPU_ROWS) if order.device.type == "cpu" else [order]:
        ids = _joined(inputs, rows, prompts_B[rows], int((prompts_B + lengths_B)[rows].max()))
        row, token = mask_BT[rows].nonzero(as_tuple=True)
        position = prompts_B[rows][row] + token
        with _scoring(head, row, position - 1, ids[row, position], temperature, entropy):
            values.append(model(input_ids=ids, use_cache=False).logits)
        places.append(rows[row] * mask_BT.shape[1] + token)
    values, places = torch.cat(values), torch.cat(places)

    def placed(column):
        return column.new_zeros(mask_BT.numel()).index_copy(0, places, column).view(mask_BT.shape)

    return placed(values[:, 0]), placed(values[:, 1]) if entropy else None


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
        logps = torch.log_softmax(original(states).float() / temperature, dim=-1)
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
