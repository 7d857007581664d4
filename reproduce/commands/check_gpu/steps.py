"""Checks of training: bfloat16 against the processor's float32, LoRA at 1.7 billion weights, memory and speed."""

from importlib.util import find_spec

import torch

from reproduce.commands.check_gpu.bench import (
    DRY,
    LARGE,
    SMALL,
    batch,
    clock,
    mask_of,
    model,
    on,
    optimizer_of,
    scored,
    update,
)
from reproduce.commands.check_gpu.figures import CannotRun, Figure

UPDATES = 4
MOVED = 1e-6
"""The least of a figure that must not be 0."""
LOSS_GAP, NORM_GAP = 0.02, 0.1
"""Between bfloat16 and float32: of the loss, absolute, and of the gradient norm, as a share; assumed (8 bits)."""
MEMORY_GAP = 0.2
"""Between the estimate and a measured peak, as a share of the peak (issue: within 20 %)."""


def bf16_step(dry: bool) -> list[Figure]:
    """The same updates in float32 on the processor and in bfloat16 on the card: losses and gradient norms."""
    scale = DRY if dry else SMALL
    whole = model(scale, torch.float32, "cpu")
    rows = batch(scale, whole.config.vocab_size)
    with torch.no_grad():
        noise = 0.1 * torch.randn(mask_of(rows).shape, generator=torch.Generator().manual_seed(1))
        old_BT = scored(whole, rows) + noise * mask_of(rows)
    found = []
    for lm, device in ((whole, "cpu"), (model(scale, torch.bfloat16), scale.device)):
        optimizer = optimizer_of(lm)
        own, old = on(device, rows), old_BT.to(device)
        found.append([update(lm, optimizer, own, old, 2 * scale.width) for _ in range(UPDATES)])
    losses = max(abs(a[0] - b[0]) for a, b in zip(*found, strict=True))
    norms = max(abs(a[1] - b[1]) for a, b in zip(*found, strict=True)) / found[0][0][1]
    moved = abs(found[0][-1][0] - found[0][0][0])
    return [
        Figure("loss against float32, largest difference", losses, "", LOSS_GAP),
        Figure("gradient norm against float32, largest difference as a share of the first", norms, "", NORM_GAP),
        Figure("loss moved by the updates", moved, "", MOVED, least=True),
    ]


def lora(dry: bool) -> list[Figure]:
    """Updates of adapters on a model with Qwen3-1.7B's shape, layers computed again: speed, and the peak of memory
    against the estimate."""
    from reproduce.config.sections import LoraConfig
    from reproduce.training.adapters import with_adapters

    if find_spec("peft") is None:
        raise CannotRun("the package peft: pip install -r requirements-gpu.txt")
    scale = DRY if dry else LARGE
    base = model(scale, torch.bfloat16)
    kept = {name: value.detach().clone() for name, value in base.named_parameters() if name.endswith("q_proj.weight")}
    lm = with_adapters(base, LoraConfig(rank=64, alpha=128.0), seed=0)
    base.gradient_checkpointing_enable({"use_reentrant": False})
    base.enable_input_require_grads()
    rows = on(scale.device, batch(scale, base.config.vocab_size))
    with torch.no_grad():
        old_BT = scored(lm, rows)
    optimizer = optimizer_of(lm)
    if scale.on_card:
        torch.cuda.reset_peak_memory_stats()
    loss, norm = update(lm, optimizer, rows, old_BT, 2 * scale.width)
    began = clock(scale.device)
    for _ in range(2):
        loss, norm = update(lm, optimizer, rows, old_BT, 2 * scale.width)
    seconds = (clock(scale.device) - began) / 2
    tokens = int((rows["prompt_mask"].sum() + rows["completion_mask"].sum()).item())
    now = dict(base.named_parameters())
    frozen = max(float((now[_wrapped(name)] - value).abs().max()) for name, value in kept.items())
    found = [
        Figure("loss", loss),
        Figure("gradient norm", norm, "", MOVED, least=True),
        Figure("change of the frozen weights", frozen, "", 0.0),
        Figure("training", tokens / seconds, "tokens/s"),
    ]
    return found + (_against_estimate(scale) if scale.on_card else [])


def _wrapped(name: str) -> str:
    """The name of a weight that an adapter stands beside."""
    return name.removesuffix(".weight") + ".base_layer.weight"


def _against_estimate(scale) -> list[Figure]:
    """The peak that torch counted, against the estimate of a run of these sizes."""
    from dataclasses import replace

    from reproduce.config.tables import TableConfig
    from reproduce.training.memory import PROMPT, REST, estimate

    job = TableConfig.load(2).jobs("gpu", ["grpo"], [0])[0]
    training = replace(
        job.training, prompts_per_step=1, group_size=scale.rows, minibatches=1, tokens_per_pass=2 * scale.width
    )
    task = replace(job.task, max_completion_tokens=scale.width - PROMPT)
    card = torch.cuda.get_device_properties(0).total_memory
    found = estimate(replace(job, training=training, task=task), card)
    peak = float(torch.cuda.max_memory_allocated())
    expected = found.total - found.vllm - max(0.0, found.sampling - found.passes) - REST
    return [
        Figure("peak memory", peak / 1e9, "GB"),
        Figure("estimate of it", expected / 1e9, "GB"),
        Figure("estimate against peak, relative difference", abs(expected - peak) / peak, "", MEMORY_GAP),
    ]


def full_step(dry: bool) -> list[Figure]:
    """Updates of all weights at Qwen3-1.7B's shape in bfloat16 with float32 copies: speed and the peak of memory."""
    scale = DRY if dry else LARGE
    lm = model(scale, torch.bfloat16)
    lm.gradient_checkpointing_enable({"use_reentrant": False})
    rows = on(scale.device, batch(scale, lm.config.vocab_size))
    with torch.no_grad():
        old_BT = scored(lm, rows)
    optimizer = optimizer_of(lm)
    update(lm, optimizer, rows, old_BT, 2 * scale.width)
    began = clock(scale.device)
    loss, norm = update(lm, optimizer, rows, old_BT, 2 * scale.width)
    seconds = clock(scale.device) - began
    tokens = int((rows["prompt_mask"].sum() + rows["completion_mask"].sum()).item())
    found = [Figure("gradient norm", norm, "", MOVED, least=True), Figure("training", tokens / seconds, "tokens/s")]
    if scale.on_card:
        found.append(Figure("peak memory", torch.cuda.max_memory_allocated() / 1e9, "GB"))
    return found
