"""Several vLLMs in one process, one after the other or side by side: the end of one takes nothing from another."""

import gc
import weakref
from dataclasses import replace

import pytest
import vllm_tiny
from engine_checks import gap, sampled
from tiny import tokenizer
from torch import distributed

from reproduce.errors import UserError
from reproduce.rollouts.engines.vllm_engine import VllmEngine
from reproduce.rollouts.engines.vllm_install import vllm_version

pytestmark = pytest.mark.skipif(vllm_version() is None, reason=vllm_tiny.MISSING)


@pytest.fixture(autouse=True)
def alone():
    """No other vLLM is open, and none stays open."""
    vllm_tiny.close_sampler()
    gc.collect()
    assert not distributed.is_initialized(), "some vLLM is still open"
    yield
    gc.collect()
    assert not distributed.is_initialized(), "the last vLLM took its process groups along"


def start():
    from reproduce.rollouts.engines.vllm_local import LocalVllm

    return LocalVllm(vllm_tiny.tied_model(), vllm_tiny.CONFIG, "cpu")


def works(sampler, *seeds):
    """It takes new weights and samples from them."""
    for seed in seeds:
        lm = vllm_tiny.model(seed, scale=3.0)
        sampler.load(lm)
        assert gap(lm, sampled(VllmEngine(sampler, [], tokenizer().eos_token_id, 1.0, 0))) < 1e-4


def weights_of(sampler):
    """A weak reference to the first layer's weights, which die with vLLM's model."""
    (model,) = sampler._llm.apply_model(lambda model: model)
    return weakref.ref(next(model.parameters()))


def test_one_that_was_closed_and_is_collected_later():
    first = start()
    works(first, 0)
    first.close()
    assert not distributed.is_initialized()
    second = start()
    del first
    gc.collect()
    works(second, 1, 2)
    second.close()
    second.close()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["the older ends first", "the newer ends first"])
def test_two_side_by_side(order):
    pair = [start(), start()]
    works(pair[0], 0)
    works(pair[1], 1)
    works(pair[0], 2)
    ended, left = (pair[i] for i in order)
    weights = weights_of(ended)
    ended.close()
    assert weights() is None, "its memory is free, though the object is still there"
    works(left, 3, 4)
    left.close()


def test_one_that_nobody_closed_is_collected():
    first, second = start(), start()
    weights = weights_of(first)
    del first
    gc.collect()
    assert weights() is None
    works(second, 0)
    third = start()
    second.close()
    works(third, 1)
    third.close()


def test_a_start_that_failed_takes_nothing_along():
    from reproduce.rollouts.engines.vllm_local import LocalVllm

    with pytest.raises(UserError, match="too little memory"):
        LocalVllm(vllm_tiny.model(), replace(vllm_tiny.CONFIG, kv_cache_gb=1e-4, max_context=2048), "cpu")
    made = start()
    gc.collect()
    works(made, 0)
    made.close()
