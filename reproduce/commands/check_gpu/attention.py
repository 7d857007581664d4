"""Check of flex attention: rows that are packed into one, without padding, score as they do one by one."""

import torch

from reproduce.commands.check_gpu.bench import SMALL, model
from reproduce.commands.check_gpu.figures import CannotRun, Figure

FLEX_GAP = 1e-3
"""Nats a token in float32 between flex attention on packed rows and scaled-dot-product attention on single ones."""


@torch.no_grad()
def flex(dry: bool) -> list[Figure]:
    """Log-probs of packed rows under flex attention against those of single rows under the default attention."""
    if dry:
        raise CannotRun("a card: flex attention is a kernel that is compiled for it")
    scale = SMALL
    lm = model(scale, torch.float32).eval()
    lengths = [scale.width, scale.width // 2 + 3, 17]
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(3, lm.config.vocab_size, (1, n), generator=draw).to(scale.device) for n in lengths]
    lm.set_attn_implementation("sdpa")
    single = torch.cat([_logps(lm, ids) for ids in rows])
    lm.set_attn_implementation("flex_attention")
    packed = torch.cat(rows, dim=1)
    places = torch.cat([torch.arange(n, device=scale.device) for n in lengths])[None]
    logits = lm(input_ids=packed, position_ids=places, use_cache=False).logits[0].float()
    ends = torch.tensor(lengths).cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    found = [_picked(logits[a : b - 1], packed[0, a + 1 : b]) for a, b in zip(starts, ends, strict=True)]
    gap = float((torch.cat(found) - single).abs().max())
    return [Figure("packed rows against single ones, largest difference", gap, "nats", FLEX_GAP)]


def _logps(lm, ids: torch.Tensor) -> torch.Tensor:
    return _picked(lm(input_ids=ids, use_cache=False).logits[0, :-1].float(), ids[0, 1:])


def _picked(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logits, -1).gather(1, ids[:, None])[:, 0]
