"""Episodes on another sampler: one training step, its records, and the trainer's probabilities beside the sampler's.

The same test with vLLM, where it is installed, and with a stand-in that samples by full forward passes.
"""

import json

import pytest
import torch
from forward_sampler import ForwardSampler
from house import config, loaded, trainer
from vllm_tiny import CONFIG, needs_vllm

from reproduce.rollouts.engines.host import open_engine
from reproduce.training.tiny_model import build_model


def lm():
    """A model on MiniHouse's words with heads as large as vLLM's attention on a CPU wants them."""
    t = loaded()[1]
    return build_model(
        len(t),
        0,
        hidden_size=64,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        intermediate_size=64,
        pad_id=t.pad_token_id,
        bos_id=t.bos_token_id,
        eos_id=t.eos_token_id,
    )


@pytest.fixture(params=["stand-in", "vllm"])
def host(request):
    made = open_engine(CONFIG)
    if request.param == "vllm":
        needs_vllm()
    else:
        made._start = lambda model: ForwardSampler(model, CONFIG.top_logprobs)
    yield made
    made.close()


def test_a_step_of_episodes_on_another_sampler(host, tmp_path):
    job = config(steps=1)
    made = trainer(tmp_path, job, lm(), host=host)
    before = [parameter.clone() for parameter in made.model.parameters()]
    made.train()
    (part,) = made.run.parts.glob("*.steps.json")
    step = json.loads(part.read_text())["metrics"]
    episodes, turns = 2 * 4, 4
    assert step["engine_requests"] == step["tool_calls"] == episodes * turns
    assert step["sampler_gap_mean"] < 1e-3 and abs(step["sampler_ratio_mean"] - 1) < 1e-3
    assert step["entropy"] > 0 and step["trained_tokens"] == step["sampled_tokens"]
    after = list(made.model.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
