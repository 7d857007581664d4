"""Checks of sampling: vLLM in the trainer's process with new weights and sleep, its gap to the trainer, speed."""

from importlib.util import find_spec

import torch

from reproduce.commands.check_gpu.bench import DRY, LARGE, SMALL, Scale, clock, model, tokenizer
from reproduce.commands.check_gpu.figures import CannotRun, Figure
from reproduce.config.engine import EngineConfig

PROMPTS, TOKENS = 8, 32
SYNCED = 1e-3
"""Nats a token between vLLM and the trainer in float32: far below what other weights give; assumed."""


def vllm_colocated(dry: bool) -> list[Figure]:
    """vLLM beside the trainer, float32: new weights are what it samples from, before and after it has slept."""
    scale = DRY if dry else SMALL
    lm = model(scale, torch.float32)
    sampler = _opened(lm, scale, top=0)
    try:
        sampler.load(lm)
        before = _gap(lm, scale, _sampled(sampler, lm))
        _change(lm)
        stale = _gap(lm, scale, _sampled(sampler, lm))
        seconds = sampler.load(lm)
        after = _gap(lm, scale, _sampled(sampler, lm))
        found = [
            Figure("gap, nats a token", before, "", SYNCED),
            Figure("gap with the old weights", stale, "", 10 * SYNCED, least=True),
            Figure("gap with the new weights", after, "", SYNCED),
            Figure("handing over weights", seconds, "s"),
        ]
        return found + _slept(lm, scale, sampler)
    finally:
        sampler.close()


def _slept(lm, scale: Scale, sampler) -> list[Figure]:
    """Weights again after a sleep, and what it freed; nothing where this vLLM cannot sleep."""
    if not hasattr(sampler, "sleep"):
        return []
    free = torch.cuda.mem_get_info()[0] if scale.on_card else 0
    sampler.sleep()
    freed = (torch.cuda.mem_get_info()[0] - free) / 1e9 if scale.on_card else float("nan")
    _change(lm)
    sampler.load(lm, always=True)
    found = [Figure("gap after a sleep", _gap(lm, scale, _sampled(sampler, lm)), "", SYNCED)]
    return found + ([Figure("memory that the sleep frees", freed, "GB", 0.0, least=True)] if scale.on_card else [])


def sampler_gap(dry: bool) -> list[Figure]:
    """bfloat16 at Qwen3-1.7B's shape: how far vLLM's log-probs are from the trainer's, and tokens a second."""
    scale = DRY if dry else LARGE
    lm = model(scale, torch.bfloat16)
    sampler = _opened(lm, scale, top=20)
    try:
        sampler.load(lm)
        _sampled(sampler, lm)
        began = clock(scale.device)
        paths = _sampled(sampler, lm, prompts=PROMPTS if dry else 128, tokens=TOKENS if dry else 256)
        seconds = clock(scale.device) - began
        sampled = sum(len(tokens) for _, tokens, _ in paths)
        return [
            Figure("gap, mean nats a token", _gap(lm, scale, paths[:PROMPTS]), "", EngineConfig().max_gap),
            Figure("sampling by vLLM", sampled / seconds, "tokens/s"),
        ]
    finally:
        sampler.close()


def transformers_speed(dry: bool) -> list[Figure]:
    """Tokens a second of the Transformers engine, which profiles without vLLM sample with."""
    from reproduce.rollouts.engines.transformers import TransformersEngine
    from reproduce.rollouts.token_path import TokenPath
    from reproduce.seeding import torch_stream

    scale = DRY if dry else LARGE
    lm = model(scale, torch.bfloat16)
    ids = tokenizer()
    engine = TransformersEngine(lm, [], ids.eos_token_id, 1.0, torch_stream(0, "check"))
    paths = [TokenPath.root(prompt) for prompt in _prompts(lm, PROMPTS if dry else 64)]
    for path in paths:
        path.budget = TOKENS if dry else 128
    began = clock(scale.device)
    engine.run(paths, lambda done: [])
    seconds = clock(scale.device) - began
    return [Figure("sampling by Transformers", sum(path.length for path in paths) / seconds, "tokens/s")]


def _opened(lm, scale: Scale, top: int):
    if find_spec("vllm") is None:
        raise CannotRun("vLLM: pip install -r requirements-gpu.txt")
    from reproduce.rollouts.engines.vllm_local import LocalVllm

    room = dict(memory_share=0.3) if scale.on_card else dict(kv_cache_gb=0.1)
    config = EngineConfig(name="vllm", top_logprobs=top, max_context=1024, max_sequences=64, **room)
    return LocalVllm(lm, config, "cuda:0" if scale.on_card else "cpu")


def _prompts(lm, count: int) -> list[list[int]]:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(3, lm.config.vocab_size, (count, 24), generator=draw).tolist()


def _sampled(sampler, lm, prompts: int = PROMPTS, tokens: int = TOKENS) -> list[tuple[list[int], list[int], list]]:
    """(prompt, sampled tokens, vLLM's log-probs) of each prompt."""
    from reproduce.rollouts.engines.vllm_engine import Request

    asked = _prompts(lm, prompts)
    for number, prompt in enumerate(asked):
        sampler.add(Request(number, prompt, tokens, (), 1.0, number))
    found = {}
    while len(found) < len(asked):
        found |= {segment.id: segment for segment in sampler.step()}
    return [(prompt, found[i].tokens, found[i].logps) for i, prompt in enumerate(asked)]


@torch.no_grad()
def _gap(lm, scale: Scale, paths: list) -> float:
    """Mean |log-prob of the trainer - log-prob of the sampler| a token."""
    gaps = []
    for prompt, tokens, logps in paths:
        ids = torch.tensor([prompt + tokens], device=scale.device)
        logits = lm(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
        own = torch.log_softmax(logits, -1).gather(1, ids[0, len(prompt) :, None])[:, 0].cpu()
        gaps.append((own - torch.tensor(logps)).abs())
    return float(torch.cat(gaps).mean())


@torch.no_grad()
def _change(lm) -> None:
    """Other weights, far enough from the old ones to be told apart."""
    for number, parameter in enumerate(lm.parameters()):
        draw = torch.Generator().manual_seed(number)
        noise = torch.randn(parameter.shape, generator=draw) * 0.02
        parameter.add_(noise.to(parameter.device, parameter.dtype))
