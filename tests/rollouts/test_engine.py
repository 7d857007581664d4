"""The engines: their numbers equal a full forward pass, also after forced tokens, forks and late joiners.

The same tests for every engine that a config can name; without vLLM its part is skipped, and its server has tests of
its own.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
import vllm_tiny
from engine_checks import check_path
from tiny import encode, tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from reproduce.config.engine import NAMES, EngineConfig
from reproduce.rollouts.engines import transformers
from reproduce.rollouts.engines.host import host_of
from reproduce.rollouts.grammar import Grammar
from reproduce.rollouts.token_path import TokenPath

PROMPTS = [encode("question : year"), encode("question : max of year and count of page"), encode("question : sum")]


class Hosted:
    """Makes models and engines of the name that a config has for them."""

    model = staticmethod(tiny.model)

    def __init__(self, name):
        self.name = name

    def engine(self, lm, seed=0, stop=None, temperature=1.0, greedy=False):
        grammar = Grammar(tokenizer())
        tags = SimpleNamespace(stop_ids=grammar.stop_ids if stop is None else stop, eos_id=grammar.eos_id)
        made = host_of(self.name)(EngineConfig(name=self.name)).engine(lm, tags, temperature, seed, "test")
        made.greedy = greedy
        return made


@pytest.fixture(params=[name for name in NAMES if name != "vllm_server"])
def kind(request):
    """Makes models and engines of a kind."""
    if request.param == "vllm":
        vllm_tiny.needs_vllm()
    return {"vllm": vllm_tiny}.get(request.param, Hosted(request.param))


@pytest.fixture
def engine(kind):
    """Makes an engine: `engine(model, seed, stop, temperature, greedy)`."""
    return kind.engine


@pytest.fixture
def model(kind):
    """Makes a model that such an engine can run: `model(seed, scale)`."""
    return kind.model


class Script:
    """An `advance` that forces tokens, forks, and adds late roots, in a fixed order; it keeps every path it saw."""

    def __init__(self, budget=12):
        self.paths, self.budget, self.forks, self.late = [], budget, 0, 0

    def root(self, prompt):
        path = TokenPath.root(prompt)
        path.budget = self.budget
        self.paths.append(path)
        return path

    def __call__(self, done):
        go_on = []
        for path in done:
            if path.turn >= 3 or path.length > 60:
                continue
            if path.turn == 1 and self.forks < 5 and path.length > 4:
                child = path.fork(path.length - 3, path.turn)
                child.budget = self.budget
                self.forks += 1
                self.paths.append(child)
                go_on.append(child)
            path.add_forced(encode("<result> 1 page 2 page </result>")[1:])
            path.budget = self.budget
            go_on.append(path)
            if self.late < 3 and path.turn == 2:
                self.late += 1
                go_on.append(self.root(PROMPTS[self.late % 3] if self.late < 3 else encode("question : " + "of " * 40)))
        return go_on


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_and_entropies_equal_a_full_forward_pass(engine, model, temperature):
    lm, script = model(scale=3.0), Script()
    roots = [script.root(prompt) for prompt in PROMPTS * 4]
    engine(lm, stop=[], temperature=temperature).run(roots, script)
    assert script.forks == 5 and script.late == 3
    assert {len(p.prompt) for p in script.paths} >= {len(p) for p in PROMPTS}
    for path in script.paths:
        check_path(lm, path, temperature)


def test_a_fork_shares_the_prefix_exactly_and_then_goes_its_own_way(engine, model):
    lm, script = model(), Script()
    engine(lm, stop=[]).run([script.root(PROMPTS[0]) for _ in range(6)], script)
    children = [p for p in script.paths if p.parent is not None]
    assert children
    for child in children:
        n = child.inherited
        assert child.completion[:n] == child.parent.completion[:n]
        assert child.logps[:n] == child.parent.logps[:n]
        assert len(child.completion) > n
    assert any(c.completion[c.inherited :] != c.parent.completion[c.inherited :][: len(c.completion)] for c in children)


def test_same_stream_same_bytes_and_another_stream_other_tokens(engine, model):
    def run(seed):
        script = Script()
        engine(model(), seed=seed, stop=[]).run([script.root(p) for p in PROMPTS], script)
        return [(p.completion, p.logps) for p in script.paths]

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_stops_at_stop_tokens_the_end_of_sequence_and_the_budget(engine, model):
    lm = model()
    stop = tokenizer().encode("page", add_special_tokens=False)[0]
    with torch.no_grad():  # make both likely
        lm.lm_head.weight[stop] = lm.lm_head.weight[tokenizer().eos_token_id] = 0.0
    seen = []

    def advance(done):
        seen.extend((p.finish, p.tokens[-1], p.budget) for p in done)
        return []

    paths = [TokenPath.root(PROMPTS[0]) for _ in range(400)]
    for path in paths:
        path.budget = 200
    engine(lm, stop=[stop]).run(paths, advance)
    assert {finish for finish, _, _ in seen} == {"stop", "eos", "length"} or len(seen) == 400
    for finish, token, budget in seen:
        assert (finish == "stop") == (token == stop)
        assert (finish == "eos") == (token == tokenizer().eos_token_id)
        if finish == "length":
            assert budget == 0


def test_sampling_follows_the_distribution(engine, model):
    lm, counts = model(scale=4.0), np.zeros(len(tokenizer()))
    paths = [TokenPath.root(PROMPTS[0]) for _ in range(6000)]
    for path in paths:
        path.budget = 1
    engine(lm, stop=[]).run(paths, lambda done: [])
    for path in paths:
        counts[path.tokens[-1]] += 1
    logits = lm(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1]
    expected = torch.softmax(logits, -1).detach().numpy()
    top = np.argsort(-expected)[:10]
    error = np.abs(counts[top] / 6000 - expected[top]) / np.sqrt(expected[top] * (1 - expected[top]) / 6000)
    assert error.max() < 4.5


def test_greedy_takes_the_most_likely_token(engine, model):
    lm, path = model(scale=3.0), TokenPath.root(PROMPTS[1])
    path.budget = 8
    engine(lm, stop=[], greedy=True).run([path], lambda done: [])
    logits = lm(input_ids=torch.tensor([path.tokens])).logits[0, len(path.prompt) - 1 : -1]
    assert path.completion == logits.argmax(-1).tolist()


def test_temperature_must_be_positive(engine, model):
    with pytest.raises(ValueError, match="temperature"):
        engine(model(), temperature=0.0)


def scripted(lm, **options):
    script = Script()
    tiny.engine(lm, stop=[], **options).run([script.root(prompt) for prompt in PROMPTS * 4], script)
    return [(path.completion, path.logps) for path in script.paths]


def test_a_tool_result_is_read_in_one_pass_and_a_long_one_in_several(monkeypatch):
    passes = []
    forward = transformers.forward
    monkeypatch.setattr(transformers, "forward", lambda *given: passes.append(given[-1]) or forward(*given))
    whole, steps = scripted(tiny.model(scale=3.0)), len(passes)
    assert max(len(new) for news in passes for new in news) > 8, "some row got a whole result"
    assert steps < max(len(completion) for completion, _ in whole)
    monkeypatch.setattr(transformers, "PASS", 14)
    passes.clear()
    parts = scripted(tiny.model(scale=3.0))
    assert len(passes) > steps and max(sum(len(new) - 1 for new in news) for news in passes) <= 14
    assert [tokens for tokens, _ in parts] == [tokens for tokens, _ in whole]
    for (_, found), (_, expected) in zip(parts, whole, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen2Config, Qwen3Config])
def test_models_of_other_kinds_with_shared_key_heads_are_read_as_a_whole_too(kind):
    torch.manual_seed(0)
    shape = dict(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48
    )
    lm = AutoModelForCausalLM.from_config(kind(vocab_size=len(tokenizer()), pad_token_id=0, eos_token_id=1, **shape))
    before, script = lm.config._attn_implementation, Script()
    tiny.engine(lm, stop=[]).run([script.root(prompt) for prompt in PROMPTS * 4], script)
    assert lm.config._attn_implementation == before
    assert script.forks == 5 and script.late == 3
    for path in script.paths:
        check_path(lm, path, 1.0)
