"""Check of flex attention: rows that are packed into one, or share their beginnings, score as they do one by one."""

import torch

from reproduce.commands.check_gpu.bench import SMALL, model
from reproduce.commands.check_gpu.figures import CannotRun, Figure
from reproduce.training.layout import Layout
from reproduce.training.token_logps import scored_head, token_logps
from reproduce.training.tree_attention import attention_for

FLEX_GAP = 1e-3
"""Nats a token in float32 between flex attention on packed rows and scaled-dot-product attention on single ones; of
gradients, the distance as a share of their length.
"""


def flex(dry: bool) -> list[Figure]:
    """Log-probs of packed rows under flex attention against those of single rows under the default attention; of rows
    that share prefixes, gradients too."""
    if dry:
        raise CannotRun("a card: flex attention is a kernel that is compiled for it")
    scale = SMALL
    lm = model(scale, torch.float32).eval()
    lengths = [scale.width, scale.width // 2 + 3, 17]
    lm.set_attn_implementation("sdpa")
    return [_packed(lm, lengths, scale.device), *shared(lm, scale.width, scale.device)]


@torch.no_grad()
def _packed(lm, lengths: list[int], device: str) -> Figure:
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(3, lm.config.vocab_size, (1, n), generator=draw).to(device) for n in lengths]
    single = torch.cat([_logps(lm, ids) for ids in rows])
    packed = torch.cat(rows, dim=1)
    places = torch.cat([torch.arange(n, device=device) for n in lengths])[None]
    with attention_for(lm, Layout.PACKED):
        logits = lm(input_ids=packed, position_ids=places, use_cache=False).logits[0].float()
    ends = torch.tensor(lengths).cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    found = [_picked(logits[a : b - 1], packed[0, a + 1 : b]) for a, b in zip(starts, ends, strict=True)]
    gap = float((torch.cat(found) - single).abs().max())
    return Figure("packed rows against single ones, largest difference", gap, "nats", FLEX_GAP)


def shared(lm, width: int, device: str) -> list[Figure]:
    """Log-probs and gradient of a group, half of whose rows fork off another, in a tree and each row alone."""
    draw = torch.Generator().manual_seed(1)
    prompt, first, second, *forks = torch.randint(3, lm.config.vocab_size, (6, width // 2), generator=draw).to(device)
    cut = width // 5
    completions = torch.stack([first, second, *(torch.cat([first[:cut], fork[cut:]]) for fork in forks)])
    prompts, mask_BT = prompt.repeat(len(completions), 1), torch.ones_like(completions, dtype=torch.bool)
    inputs = dict(prompt_ids=prompts, prompt_mask=torch.ones_like(prompts), completion_ids=completions)
    inputs["completion_mask"] = torch.ones_like(completions)
    found = []
    for layout in (Layout.PADDED, Layout.SHARED):
        lm.zero_grad()
        with attention_for(lm, layout):
            logps_BT, _ = token_logps(lm, scored_head(lm), inputs, mask_BT, 1.0, layout=layout)
            logps_BT.mean().backward()
        gradient = torch.cat([weight.grad.flatten() for weight in lm.parameters()])
        found.append((logps_BT.detach(), gradient))
    (alone_BT, expected), (shared_BT, gradient) = found
    distance = float((gradient - expected).norm() / expected.norm())
    return [
        Figure("shared prefixes, largest difference", float((shared_BT - alone_BT).abs().max()), "nats", FLEX_GAP),
        Figure("shared prefixes, distance of the gradient", distance, "of its length", FLEX_GAP),
    ]


def _logps(lm, ids: torch.Tensor) -> torch.Tensor:
    return _picked(lm(input_ids=ids, use_cache=False).logits[0, :-1].float(), ids[0, 1:])


def _picked(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logits, -1).gather(1, ids[:, None])[:, 0]
