"""Models and rows that the checks share: random weights, a tokenizer made here, rows of random tokens.

Nothing is downloaded. A check that must do what training does calls the trainer's own parts: scoring, micro-batches,
float32 copies, adapters, the method's loss.
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from reproduce.algorithms import load
from reproduce.commands import random_model
from reproduce.training.master_weights import in_float32
from reproduce.training.micro_batches import own_parts, whole_loss
from reproduce.training.token_logps import scored_head, token_logps
from reproduce.worlds.tags import SYSTEM_PROMPT

METHOD = "grpo"
RATE = 1e-4
"""A step that bfloat16 weights can hold: smaller ones show in the float32 copies first."""


@dataclass(frozen=True)
class Scale:
    """device, and sizes. shape: of the model; rows, prompt, completion: of a mini-batch, in rows and tokens."""

    device: str
    shape: dict
    rows: int
    prompt: int
    completion: int

    @property
    def on_card(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def width(self) -> int:
        """Tokens of a row."""
        return self.prompt + self.completion


DRY = Scale("cpu", random_model.TINY, rows=4, prompt=16, completion=24)
SMALL = Scale("cuda", random_model.TINY | dict(hidden_size=512, num_hidden_layers=8, head_dim=64), 8, 64, 192)
"""A model that a processor scores in seconds, for what is compared with one."""
LARGE = Scale("cuda", random_model.QWEN3_1_7B, rows=8, prompt=512, completion=1536)
"""Qwen3-1.7B and rows of the length that the profile `gpu` trains on."""


def tokenizer():
    """A BPE trained on the system prompt: the ids of rows are random, only special tokens matter."""
    return random_model.bpe_tokenizer([SYSTEM_PROMPT], 512)


def model(scale: Scale, dtype: torch.dtype, device: str | None = None, seed: int = 0, tied: bool = True):
    """A random Qwen3 of the scale's shape. device: other than the scale's."""
    made = random_model.qwen3(tokenizer(), scale.shape, seed, context=max(4096, scale.width), tied=tied)
    return made.to(dtype).to(device or scale.device)


def batch(scale: Scale, vocabulary: int, seed: int = 0) -> dict[str, Tensor]:
    """Rows of random tokens under the trainer's names (`training.batch_tensors`), without old log-probs, on the CPU.

    A part of each completion is no loss-mask token, as tool results are; completions differ in length.
    """
    draw = torch.Generator().manual_seed(seed)
    shape = scale.rows, scale.completion
    lengths = torch.randint(scale.completion // 2, scale.completion + 1, (scale.rows, 1), generator=draw)
    return {
        "prompt_ids": torch.randint(3, vocabulary, (scale.rows, scale.prompt), generator=draw),
        "prompt_mask": torch.ones(scale.rows, scale.prompt, dtype=torch.long),
        "completion_ids": torch.randint(3, vocabulary, shape, generator=draw),
        "completion_mask": (torch.arange(scale.completion) < lengths).long(),
        "tool_mask": (torch.rand(shape, generator=draw) < 0.6).long(),
        "advantages": torch.randn(scale.rows, 1, generator=draw).expand(shape).contiguous(),
    }


def on(device: str, rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """The rows on a device."""
    return {name: value.to(device) for name, value in rows.items()}


def mask_of(rows: dict[str, Tensor]) -> Tensor:
    """mask_BT: loss-mask tokens."""
    return (rows["completion_mask"] * rows["tool_mask"]).bool()


def scored(lm, rows: dict[str, Tensor]) -> Tensor:
    """logps_BT of the rows, as the trainer scores them."""
    return token_logps(lm, scored_head(_inner(lm)), rows, mask_of(rows), 1.0)[0]


def optimizer_of(lm):
    """AdamW as the trainer has it: over float32 copies of bfloat16 weights."""
    trained = [parameter for parameter in lm.parameters() if parameter.requires_grad]
    return in_float32(torch.optim.AdamW, lm)([{"params": trained}], lr=RATE)


def update(lm, optimizer, rows: dict[str, Tensor], old_BT: Tensor, tokens_per_pass: int | None) -> tuple[float, float]:
    """(loss, gradient norm) of one update by the trainer's parts: micro-batches, the method's loss, clipping, AdamW."""
    mask_BT, head, algorithm = mask_of(rows), scored_head(_inner(lm)), load(METHOD)

    def score(part: dict, part_mask_BT: Tensor):
        return token_logps(lm, head, part, part_mask_BT, 1.0)

    def loss(logps_BT: Tensor, _) -> Tensor:
        return algorithm.loss(logps_BT, old_BT, rows["advantages"], mask_BT)[0]

    parts = own_parts(rows, mask_BT, tokens_per_pass)
    whole = whole_loss(parts, rows, mask_BT, score, loss, torch.Tensor.backward)
    whole.backward()
    trained = [parameter for parameter in lm.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(whole.detach()), float(norm)


def _inner(lm):
    """The model inside adapters."""
    return lm.get_base_model() if hasattr(lm, "get_base_model") else lm


def clock(device: str) -> float:
    """Seconds, once all that was asked of the device is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()
