"""vLLM itself: weights handed over, the cache of prefixes, seeds, and a server. `make test-vllm` runs these."""

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
import vllm_tiny
from engine_checks import PROMPT, Pages, check_path, gap, sampled
from places import ROOT
from process_groups import free_port, launched
from tiny import encode, tokenizer

from reproduce.algorithms.policies import AEPORollout
from reproduce.config.engine import EngineConfig
from reproduce.errors import UserError
from reproduce.rollouts.agent import AgentLoop, Grammar, Limits
from reproduce.rollouts.engines.vllm_engine import VllmEngine, cost_of
from reproduce.rollouts.engines.vllm_install import vllm_version
from reproduce.rollouts.engines.vllm_local import CPU_BATCH
from reproduce.rollouts.token_path import TokenPath
from reproduce.rollouts.tools import ToolPool
from reproduce.worlds.tool_server import Call

pytestmark = pytest.mark.skipif(vllm_version() is None, reason=vllm_tiny.MISSING)


@pytest.mark.parametrize("make", [vllm_tiny.model, vllm_tiny.tied_model], ids=["untied", "tied"])
def test_new_weights_change_what_is_sampled_and_until_then_the_old_ones_sample(make):
    lm = make(scale=3.0)
    before = sampled(vllm_tiny.engine(lm, stop=[]))
    assert gap(lm, before) < 1e-4
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    stale = VllmEngine(vllm_tiny.sampler(), [], tokenizer().eos_token_id, 1.0, vllm_tiny.child_seed(0, "test"))
    left_behind = sampled(stale)
    assert [p.completion for p in left_behind] == [p.completion for p in before] and gap(lm, left_behind) > 0.05
    after = sampled(vllm_tiny.engine(lm, stop=[]))
    assert gap(lm, after) < 1e-4 and [p.logps for p in after] != [p.logps for p in before]


def test_more_prompts_than_one_pass_holds_are_sampled_with_their_own_seeds():
    lm = vllm_tiny.model(scale=2.0)
    rng = np.random.default_rng(0)
    paths = [TokenPath.root(rng.integers(4, lm.config.vocab_size, size=480).tolist()) for _ in range(28)]
    for path in paths:
        path.budget = 3
    assert sum(len(path.prompt) for path in paths) > CPU_BATCH
    vllm_tiny.engine(lm, stop=[]).run(paths, lambda done: [])
    assert all(path.length == 3 for path in paths) and gap(lm, paths) < 1e-4


def test_every_layer_is_handed_over():
    """One parameter at a time, the embeddings that a tied head shares among them."""
    for make in (vllm_tiny.model, vllm_tiny.tied_model):
        lm = make()
        for name, parameter in lm.named_parameters():
            with torch.no_grad():
                parameter.mul_(1.5)
            assert gap(lm, sampled(vllm_tiny.engine(lm, stop=[]), 2, 6)) < 1e-4, name


def test_weights_with_adapters_are_those_of_the_adapted_model():
    pytest.importorskip("peft", reason="needs the package peft: pip install -r requirements-gpu.txt")
    from reproduce.config.sections import LoraConfig
    from reproduce.training.adapters import with_adapters

    lm = vllm_tiny.model(scale=3.0)
    wrapped = with_adapters(lm, LoraConfig(rank=2, alpha=4.0), 0)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(2))
    assert gap(lm, sampled(vllm_tiny.engine(lm, stop=[]))) < 1e-4


def test_a_repeated_prefix_is_found_in_the_cache_and_new_weights_empty_it():
    lm, prompt = vllm_tiny.model(), encode("question : " + "of page year " * 50)
    first = vllm_tiny.engine(lm, stop=[])
    sampled(first, 1, 2, prompt)
    again = vllm_tiny.engine(lm, stop=[])
    paths = sampled(again, 3, 2, prompt)
    whole = len(prompt) // 32 * 32
    assert first.totals["cached_tokens"] == 0 and again.totals["cached_tokens"] >= 3 * (whole - 32) > 0
    assert gap(lm, paths) < 1e-4, "what comes from the cache is what a forward pass gives"
    with torch.no_grad():
        lm.lm_head.weight.mul_(1.1)
    emptied = vllm_tiny.engine(lm, stop=[])
    assert gap(lm, sampled(emptied, 1, 2, prompt)) < 1e-4 and emptied.totals["cached_tokens"] == 0


def test_requests_that_were_aborted_leave_nothing_behind():
    lm = vllm_tiny.model(scale=3.0)
    made = vllm_tiny.engine(lm, stop=[])
    paths = [TokenPath.root(PROMPT) for _ in range(4)]
    for number, path in enumerate(paths):
        path.budget = 3 if number == 0 else 60

    def fail(done):
        raise OSError("a tool broke")

    with pytest.raises(OSError, match="a tool broke"):
        made.run(paths, fail)
    assert all(len(path.tokens) == len(path.prompt) for path in paths[1:])
    assert gap(lm, sampled(vllm_tiny.engine(lm, stop=[]), 3)) < 1e-4


def test_a_tree_of_rollouts_forks_exactly_and_pays_for_a_prefix_once():
    lm, grammar = vllm_tiny.calling(vllm_tiny.model()), Grammar(tokenizer())
    made = vllm_tiny.engine(lm, temperature=0.8)
    policy = AEPORollout(entropy_tokens=4, beta=50.0)
    with ToolPool(Pages(), 4) as tools:
        loop = AgentLoop(made, Pages(), Call, grammar, Limits(4, 300), tools)
        rollout = loop.rollout(["a", "b"], [PROMPT, PROMPT[:-1]], 6, policy, np.random.default_rng(0))
    trajectories = [t for group in rollout.groups for t in group]
    assert len(trajectories) == 12
    for t in trajectories:
        check_path(lm, t.path, 0.8)
        if t.parent >= 0:
            parent = rollout.groups[t.group][t.parent].path
            assert t.path.completion[: t.branch_token] == parent.completion[: t.branch_token]
            assert t.path.logps[: t.branch_token] == parent.logps[: t.branch_token]
    cost = cost_of([made.totals])
    assert rollout.tool_calls > 0 and cost["engine_cached_tokens"] > 0.3 * cost["engine_prompt_tokens"]


def test_too_small_a_cache_and_heads_that_vllm_lacks_are_told():
    from reproduce.rollouts.engines.vllm_local import LocalVllm, _check_heads

    with pytest.raises(UserError, match="no attention heads of size 8"):
        _check_heads(replace_heads(vllm_tiny.model().config, 8))
    with pytest.raises(UserError, match="engine.max_context, .*engine.kv_cache_gb"):
        LocalVllm(vllm_tiny.model(), replace(vllm_tiny.CONFIG, kv_cache_gb=1e-4, max_context=2048), "cpu")


def replace_heads(config, size):
    config.head_dim = size
    return config


@pytest.mark.slow
def test_each_of_two_training_processes_has_a_vllm_of_its_own():
    assert launched("vllm_pair.py", 2) == [0, 0]


# -- a server ---------------------------------------------------------------------------------------------------------


@contextmanager
def server(folder, *options):
    """The server that `vllm_serve` starts, on a free port."""
    port = free_port()
    line = [
        sys.executable,
        "-m",
        "reproduce.rollouts.engines.vllm_serve",
        str(folder),
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
        "--dtype",
        "float32",
        "--enforce-eager",
        "--max-model-len",
        "512",
        "--block-size",
        "32",
        "--kv-cache-memory-bytes",
        "50000000",
        *options,
    ]
    environment = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"}
    log = open(folder / "server.log", "w")
    process = subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)
        log.close()


@pytest.mark.slow
def test_a_server_gives_the_same_and_takes_new_weights(tmp_path, monkeypatch):
    from reproduce.rollouts.engines import vllm_server

    monkeypatch.setattr(vllm_server, "READY_SECONDS", 1800.0)
    lm = vllm_tiny.tied_model(scale=3.0)
    lm.config.architectures = [type(lm).__name__]
    lm.config.save_pretrained(tmp_path)
    with server(tmp_path, "--max-logprobs", "500") as (url, _):
        settings = EngineConfig(name="vllm_server", url=url, sync_folder=str(tmp_path / "sync"), top_logprobs=1000)
        made = vllm_server.VllmServer(settings, len(tokenizer()))

        def engine(temperature=0.8):
            return VllmEngine(made, [], tokenizer().eos_token_id, temperature, seed=5)

        assert made.load(lm) > 0 and made.load(lm) == 0 and not list((tmp_path / "sync").iterdir())
        before = engine()
        paths = sampled(before, 5)
        assert gap(lm, paths, 0.8) < 1e-4
        for path in paths:
            check_path(lm, path, 0.8)
        with torch.no_grad():
            lm.lm_head.weight.mul_(0.7)
        assert gap(lm, sampled(engine(), 5), 0.8) > 0.05
        made.load(lm)
        prompt = encode("question : " + "of page year " * 50)
        assert gap(lm, sampled(engine(), 5, 8, prompt), 0.8) < 1e-4
        cached = engine()
        sampled(cached, 2, 2, prompt)
        assert cached.totals["cached_tokens"] > 200
        made.close()


def test_no_server_is_told(monkeypatch, tmp_path):
    from reproduce.rollouts.engines import vllm_server

    monkeypatch.setattr(vllm_server, "READY_SECONDS", 0.0)
    settings = EngineConfig(name="vllm_server", url="http://127.0.0.1:9", sync_folder=str(tmp_path))
    with pytest.raises(UserError, match="engine.url: .*127.0.0.1:9"):
        vllm_server.VllmServer(settings, 10)
