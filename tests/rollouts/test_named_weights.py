"""Weights that FSDP 2 divides among processes, as a sampler gets them: whole, one by one, adapters merged."""

from pathlib import Path

import pytest
import torch
import vllm_tiny
from process_groups import together
from torch import distributed
from torch.distributed.fsdp import fully_shard

from reproduce.rollouts.engines.weights import divides, named_weights, sampled_dtype, version_of
from reproduce.training.sampler_copy import load_whole, save_whole


def in_parts(lm):
    """The model divided by layers, as training does it."""
    layers = lm.get_base_model().model.layers if hasattr(lm, "get_base_model") else lm.model.layers
    for layer in layers:
        fully_shard(layer)
    return fully_shard(lm)


def adapted(lm):
    """`lm` with adapters that change it, and the policy around it."""
    from reproduce.config.sections import LoraConfig
    from reproduce.training.adapters import with_adapters

    policy = with_adapters(lm, LoraConfig(rank=2, alpha=4.0), 0)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(2))
    return policy


def divided_weights(words):
    """Each of two processes: the weights of a divided model are those of the whole one, in the same order."""
    distributed.init_process_group("gloo")
    make, adapters, folder = getattr(vllm_tiny, words[0]), words[1] == "adapters", Path(words[2])
    whole, divided = make(scale=3.0), make(scale=3.0)
    policy = adapted(whole) if adapters else whole
    expected = [(name, tensor.clone()) for name, tensor in named_weights(whole)]
    trained = in_parts(adapted(divided) if adapters else divided)
    assert divides(divided) and not divides(whole) and version_of(divided) == version_of(divided)
    held = sum(p.to_local().numel() for p in divided.parameters())
    assert held < 0.6 * sum(p.numel() for p in divided.parameters()), "this process has a part"
    found = list(named_weights(divided))
    assert [name for name, _ in found] == [name for name, _ in expected]
    for (name, one), (_, other) in zip(found, expected, strict=True):
        assert torch.equal(one, other) if not adapters else torch.allclose(one, other, atol=1e-7, rtol=0), name
    low = dict(named_weights(divided, torch.bfloat16))
    assert all(torch.equal(low[name], dict(found)[name].bfloat16()) for name in low) or adapters
    divided.config.dtype = torch.bfloat16
    assert sampled_dtype(divided) == torch.bfloat16 and sampled_dtype(whole) == torch.float32
    divided.config.dtype = None

    writes = distributed.get_rank() == 0
    save_whole(trained, folder, writes)
    distributed.barrier()
    with torch.no_grad():
        for parameter in [*trained.parameters(), *policy.parameters()]:
            parameter.zero_()
    load_whole(trained, folder)
    load_whole(policy, folder)
    for model in (divided, whole):
        for (name, one), (_, other) in zip(named_weights(model), expected, strict=True):
            assert torch.allclose(one, other, atol=1e-7, rtol=0), name
    distributed.destroy_process_group()


@pytest.mark.parametrize("make", ["model", "tied_model"])
def test_divided_weights_are_handed_over_whole_saved_and_loaded(make, tmp_path):
    assert together(divided_weights, 2, [make, "plain", str(tmp_path)]) == [0, 0]


def test_adapters_and_the_weights_below_them_are_merged_from_their_parts(tmp_path):
    pytest.importorskip("peft", reason="needs the package peft: pip install -r requirements-gpu.txt")
    assert together(divided_weights, 2, ["model", "adapters", str(tmp_path)]) == [0, 0]
