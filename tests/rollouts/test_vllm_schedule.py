"""The vLLM engine without vLLM: its schedule, tools that overlap with sampling, weights, settings, errors."""

import inspect
import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from forward_sampler import ForwardSampler
from tiny import encode, engine, environment, full_forward, model, tokenizer, world
from trl import import_utils
from vllm_tiny import calling, tied_model

from reproduce.algorithms import load
from reproduce.algorithms.policies import AEPORollout, ARPORollout, Independent
from reproduce.config.engine import EngineConfig
from reproduce.config.strict import build
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.rollouts.agent import AgentLoop, Grammar, Limits
from reproduce.rollouts.engines import vllm_install
from reproduce.rollouts.engines.vllm_engine import Segment, VllmEngine, cost_of
from reproduce.rollouts.engines.vllm_serve import command, main
from reproduce.rollouts.engines.weights import named_weights
from reproduce.rollouts.released_agent import ReleasedAgentLoop
from reproduce.rollouts.token_path import TokenPath
from reproduce.rollouts.tools import ToolPool
from reproduce.runs.manifest import config_hash
from reproduce.tools.search.search import Found
from reproduce.worlds.benchmarks.tools import BenchmarkTools
from reproduce.worlds.miniweb.questions import make_questions
from reproduce.worlds.tool_server import Call, ToolResult

PROMPTS = [encode("question : year"), encode("question : sum of page")]


def an_engine(lm, seed=3, k=1000, stop=None, temperature=1.0):
    grammar = Grammar(tokenizer())
    stop = list(grammar.close) if stop is None else stop
    sampler = ForwardSampler(lm, k)
    sampler.load(lm)
    return VllmEngine(sampler, stop, grammar.eos_id, temperature, seed)


@pytest.mark.parametrize("policy", [Independent(), ARPORollout(entropy_tokens=2), AEPORollout(entropy_tokens=2)])
def test_a_rollout_has_the_numbers_of_a_full_forward_pass(policy):
    lm, questions = calling(model()), ["a", "b"]
    made = an_engine(lm, temperature=0.7)
    with ToolPool(Answers(), 3) as tools:
        loop = AgentLoop(made, Answers(), Call, Grammar(tokenizer()), Limits(3, 40), tools)
        rollout = loop.rollout(questions, PROMPTS, 4, policy, np.random.default_rng(0))
    assert [len(group) for group in rollout.groups] == [4, 4] and rollout.tool_calls > 0
    for t in (t for group in rollout.groups for t in group):
        sampled = torch.tensor(t.path.sampled)
        logps, entropies = full_forward(lm, t.path.prompt, t.path.completion, 0.7)
        torch.testing.assert_close(torch.tensor(t.path.logps)[sampled], logps[sampled], atol=1e-4, rtol=0)
        torch.testing.assert_close(torch.tensor(t.path.entropies)[sampled], entropies[sampled], atol=1e-4, rtol=0)
        if t.parent >= 0:
            parent = rollout.groups[t.group][t.parent].path
            assert t.path.completion[: t.branch_token] == parent.completion[: t.branch_token]
            assert t.path.logps[: t.branch_token] == parent.logps[: t.branch_token]
    assert len(set(made.sampler.seeds)) == len(made.sampler.seeds), "every segment, pilots included, has its own seed"
    cost = cost_of([made.totals])
    assert cost["engine_requests"] == len(made.sampler.seeds) and cost["entropy_topk_hidden_max"] == 0.0


def test_truncated_entropy_is_told_with_its_bound_and_none_is_nan():
    lm = model(scale=2.0)
    totals = {}
    for k in (0, 3):
        made = an_engine(lm, k=k, stop=[])
        paths = [TokenPath.root(PROMPTS[0]) for _ in range(3)]
        for path in paths:
            path.budget = 6
        made.run(paths, lambda done: [])
        totals[k] = cost_of([made.totals])
        assert not made.exact_entropies
        for path in paths:
            _, exact = full_forward(lm, path.prompt, path.completion)
            entropies = torch.tensor(path.entropies)
            if k:
                hidden = exact - entropies
                assert (hidden > 0).all() and hidden.max() <= totals[k]["entropy_topk_hidden_max"]
            else:
                assert entropies.isnan().all()
    assert 0 < totals[3]["entropy_topk_hidden_mean"] <= totals[3]["entropy_topk_hidden_max"]
    assert all(np.isnan(totals[0][name]) for name in totals[0] if name.startswith("entropy"))


class Answers:
    """An environment that answers every call by its number of calls."""

    def __init__(self):
        self.batches = []

    def start(self, question):
        return Memory(question)

    def run(self, calls):
        self.batches.append([(call.tool, call.content) for call in calls])
        return [ToolResult("page", call.tool, True) for call in calls]


class Memory:
    def __init__(self, question):
        self.question = question

    def fork(self):
        return Memory(self.question)


class Script:
    """A sampler whose every segment is one token a step of the text that `say(request)` gives."""

    def __init__(self, say, vocabulary=4):
        self.say, self.vocabulary, self.top_logprobs, self.open, self.seeds = say, vocabulary, 2, {}, []
        self.max_context = 512

    def add(self, request):
        self.open[request.id] = request
        self.seeds.append(request.seed)

    def step(self):
        found = []
        for request in self.open.values():
            tokens = self.say(request)[: request.budget]
            top = np.log([0.5, 0.3] if len(request.tokens) > 20 else [0.9, 0.05])  # higher entropy after a result
            found.append(Segment(request.id, tokens, [-1.0] * len(tokens), [list(top)] * len(tokens), 0))
        self.open.clear()
        return found

    def abort(self):
        self.open.clear()


def searching(turns):
    """Searches `turns` times, by the number of its prompt, then ends."""
    t = tokenizer()
    result = t.encode("</result>", add_special_tokens=False)[0]

    def say(request):
        number = next(n for n, prompt in enumerate(PROMPTS) if request.tokens[: len(prompt)] == prompt)
        begun = len(PROMPTS[number])
        if result in request.tokens:
            begun = len(request.tokens) - request.tokens[::-1].index(result)
        if request.tokens.count(result) >= turns:
            return [t.eos_token_id]
        text = t.encode(f"<search> page {number} </search>", add_special_tokens=False)
        return text[len(request.tokens) - begun :]

    return say


def scripted_loop(tools=None, env=None, turns=3, kind=AgentLoop):
    grammar = Grammar(tokenizer())
    made = VllmEngine(Script(searching(turns)), list(grammar.close), grammar.eos_id, 1.0, 0)
    return kind(made, env or Answers(), Call, grammar, Limits(6, 200), tools)


class Gate(Answers):
    """The first call waits until a path is at its third call: only paths that nobody holds up get there."""

    def __init__(self):
        super().__init__()
        self.open, self.first, self.lock = threading.Event(), True, threading.Lock()
        self.calls = {}

    def run(self, calls):
        with self.lock:
            waits, self.first = self.first, False
            for call in calls:
                self.calls[id(call.session)] = self.calls.get(id(call.session), 0) + 1
            if max(self.calls.values()) == 3:
                self.open.set()
        if waits and not self.open.wait(20):
            raise TimeoutError("the others were held up")
        return super().run(calls)


def test_one_slow_search_holds_up_no_other_path():
    gate = Gate()
    with ToolPool(gate, 4) as tools:
        loop = scripted_loop(tools, gate)
        rollout = loop.rollout(["a", "b"], PROMPTS, 1)
    assert [t.calls for group in rollout.groups for t in group] == [3, 3]
    assert gate.open.is_set() and loop.engine.totals["tool_wait_seconds"] >= 0


@pytest.mark.parametrize("name", ["arpo-released", "aepo-released"])
def test_rounds_of_released_code_fall_the_same_however_long_tools_take(name):
    policy = load(name).rollout.with_entropy_tokens(2)

    class Uneven(Answers):
        def run(self, calls):
            time.sleep(0.001 * (id(calls[0].session) % 7))
            return super().run(calls)

    def tree(tools, env):
        loop = scripted_loop(tools, env, kind=partial(ReleasedAgentLoop, initial_entropies={}))
        rollout = loop.rollout(["a", "b"], PROMPTS, 6, policy, np.random.default_rng(1))
        return [sorted((t.parent, t.branch_turn) for t in group) for group in rollout.groups], rollout.initial

    serial = tree(None, Answers())
    env = Uneven()
    with ToolPool(env, 5) as tools:
        overlapped = tree(tools, env)
    assert overlapped == serial and [len(group) for group in serial[0]] == [6, 6]
    assert any(parent >= 0 for group in serial[0] for parent, _ in group)


def test_requests_are_forgotten_when_a_tool_fails():
    class Broken(Answers):
        def run(self, calls):
            raise OSError("no network")

    made = an_engine(model())
    grammar, tools = Grammar(tokenizer()), ToolPool(Broken(), 2)
    open_, close = (tokenizer().encode(tag, add_special_tokens=False)[0] for tag in ("<search>", "</search>"))
    path, other = TokenPath.root(PROMPTS[0]), TokenPath.root(PROMPTS[1])
    path.budget, other.budget = 1, 50
    call = Call(None, "search", "page")
    with tools, pytest.raises(OSError, match="no network"):

        def advance(done):
            if done:
                tools.submit([(path, call)])
            time.sleep(0.01)
            tools.finished()
            return []

        made.run([path, other], advance, tools)
    assert made.sampler.aborted == 1 and not made.sampler.open and {open_, close} and grammar.close


def test_a_path_that_may_outgrow_the_context_is_refused_before_it_is_cut():
    path = TokenPath.root(PROMPTS[0])
    path.budget = 512
    with pytest.raises(UserError, match="engine.max_context"):
        an_engine(model()).run([path], lambda done: [])


def test_the_pool_keeps_order_and_asks_once_for_equal_searches():
    env = Answers()
    calls = [
        Call(Memory("q"), tool, text)
        for tool, text in [("search", "a"), ("python", "x"), ("search", "b"), ("search", "a"), ("python", "y")]
    ]
    with ToolPool(env, 3) as tools:
        results = tools.run(calls)
        assert tools.waiting == 0 and not tools.finished()
    assert [r.action for r in results] == [c.tool for c in calls]
    assert sorted(map(tuple, env.batches)) == [
        (("python", "x"), ("python", "y")),
        (("search", "a"), ("search", "a")),
        (("search", "b"),),
    ]


def test_concurrent_tools_give_what_serial_ones_give():
    env = environment()
    question = type("Q", (), {"id": "q", "family": "mini-deepsearch"})()
    calls = lambda: [Call(env.start(question), "search", f"{word} page") for word in ("year", "sum", "count", "page")]  # noqa: E731
    serial = [r.text for r in env.run(calls())]
    with ToolPool(env, 4) as tools:
        assert [r.text for r in tools.run(calls())] == serial


def test_threads_for_tools_do_not_change_what_transformers_samples():
    lm, questions = calling(model()), make_questions(world(), "mini-deepsearch", "train", 3, 0)
    prompts = [encode(f"question : {q.text}") for q in questions]

    def rollout(tools, env):
        made = AgentLoop(engine(lm), env, Call, Grammar(tokenizer()), Limits(6, 64), tools)
        found = made.rollout(questions, prompts, 8, ARPORollout(entropy_tokens=2), np.random.default_rng(0))
        return [(t.path.tokens, t.path.logps, t.results) for group in found.groups for t in group], found.tool_calls

    serial, calls = rollout(None, environment())
    env = environment()
    with ToolPool(env, 4) as tools:
        assert rollout(tools, env) == (serial, calls) and calls > 0


def test_searches_of_the_real_environment_run_beside_each_other():
    meeting = threading.Barrier(2, timeout=20)

    class Together:
        def search_many(self, queries):
            meeting.wait()  # passes only if another search is under way
            return [Found(error="timeout") for _ in queries]

        def close(self):
            pass

    env = BenchmarkTools(Together(), None)
    with ToolPool(env, 2) as tools:
        results = tools.run([Call(None, "search", "one"), Call(None, "search", "two")])
    env.close()
    assert [r.text for r in results] == ["search failed: timeout"] * 2


# -- weights --------------------------------------------------------------------------------------------------------


def test_a_tied_head_comes_under_its_own_name():
    lm = tied_model()
    found = dict(named_weights(lm))
    assert torch.equal(found["lm_head.weight"], found["model.embed_tokens.weight"])
    assert set(found) == set(dict(named_weights(model())))


def test_adapters_are_merged_into_what_is_handed_over():
    pytest.importorskip("peft", reason="needs the package peft: pip install -r requirements-gpu.txt")
    from reproduce.config.sections import LoraConfig
    from reproduce.training.adapters import with_adapters

    lm = model()
    names = set(dict(named_weights(lm)))
    before = {name: tensor.clone() for name, tensor in named_weights(lm)}
    wrapped = with_adapters(lm, LoraConfig(rank=2, alpha=4.0), 0)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    found = dict(named_weights(lm))
    assert set(found) == names
    assert not torch.allclose(found["model.layers.0.mlp.up_proj.weight"], before["model.layers.0.mlp.up_proj.weight"])
    plain = model(1)
    plain.load_state_dict(found)
    ids = torch.tensor([PROMPTS[1]])
    torch.testing.assert_close(plain.eval()(input_ids=ids).logits, lm.eval()(input_ids=ids).logits, atol=1e-5, rtol=0)


# -- settings and errors ----------------------------------------------------------------------------------------------


def test_the_hash_of_a_config_without_an_engine_is_the_old_one_and_an_engine_changes_it():
    table = TableConfig.load(2)
    job = table.jobs("smoke", ["grpo"], [0])[0].to_dict()
    older = {name: value for name, value in job.items() if name != "engine"}
    assert job["engine"] is None and config_hash(job) == config_hash(older)

    def with_engine(**settings):
        return config_hash({**job, "engine": EngineConfig(**settings).__dict__})

    assert len({config_hash(job), with_engine(), with_engine(tool_workers=0), with_engine(correction="none")}) == 4
    with_section = replace(table, defaults=replace(table.defaults, engine={"name": "vllm", "tool_workers": 2}))
    assert with_section.jobs("smoke", ["grpo"], [0])[0].engine == EngineConfig(tool_workers=2)
    server = dict(name="vllm_server", url="http://a", sync_folder="here")
    assert with_engine(**server) == with_engine(**{**server, "url": "http://b"})


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"name": "sglang"}, "name"),
        ({"entropy": "topk", "top_logprobs": 0}, "top_logprobs"),
        ({"correction": "clip"}, "correction"),
        ({"correction_high": 0.5}, "correction_low"),
        ({"name": "vllm_server"}, "url"),
        ({"url": "http://a"}, "url"),
        ({"name": "transformers", "correction": "none"}, "correction"),
        ({"memory_share": 1.5}, "memory_share"),
        ({"name": "vllm_server", "url": "http://a", "sync_folder": "x", "memory_share": 0.5}, "memory_share"),
        ({"temperature": 1}, "temperature"),
        ({"max_context": 0}, "max_context"),
        ({"max_gap": 0}, "max_gap"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings, key):
    with pytest.raises(UserError, match=key):
        build(EngineConfig, settings, "x.yaml", "engine.")


def test_threads_for_tools_are_refused_where_there_are_no_tools():
    table = TableConfig.load(3)
    threads = replace(table, defaults=replace(table.defaults, engine={"name": "transformers"}))
    with pytest.raises(UserError, match="engine.*episodes"):
        threads.jobs("smoke", ["epo"], [0])


def test_a_missing_vllm_and_one_that_trl_does_not_support_are_told_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(vllm_install, "vllm_version", lambda: None)
    with pytest.raises(UserError, match="pip install -r requirements-gpu.txt"):
        vllm_install.check_vllm()
    assert main(["model"]) == 2 and "pip install" in capsys.readouterr().err and main([]) == 2
    monkeypatch.setattr(vllm_install, "vllm_version", lambda: "0.32.0")
    monkeypatch.setattr(vllm_install.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UserError, match=r"vLLM 0\.32\.0 .* TRL 1\.16\.0 supports vLLM 0\.22\.0 to 0\.31\.0"):
        vllm_install.check_vllm()
    with pytest.raises(UserError, match=r"server runs vLLM 0\.21\.0"):
        vllm_install.check_server_version("0.21.0")
    monkeypatch.setattr(vllm_install, "vllm_version", lambda: "0.31.0+cpu")
    vllm_install.check_vllm()


def test_the_supported_versions_are_those_of_trl():
    source = inspect.getsource(import_utils.is_vllm_available)
    assert all(f'Version("{version}")' in source for version in vllm_install.SUPPORTED)


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("Free memory on device cuda:0 (3/80 GiB) on startup is less than", "lower engine.memory_share"),
        ("No available memory for the cache blocks. Try increasing", "raise engine.memory_share"),
        ("To serve at least one request (4096), (2 GiB KV cache is needed, which", "lower engine.max_context"),
        ("CUDA out of memory. Tried to allocate", "lower engine.memory_share"),
    ],
)
def test_too_little_memory_names_the_setting(text, setting):
    with pytest.raises(UserError, match=setting), vllm_install.memory_errors(EngineConfig()):
        raise ValueError(text)
    with pytest.raises(ValueError, match="shape"), vllm_install.memory_errors(EngineConfig()):
        raise ValueError("wrong shape")


def test_the_server_is_started_as_the_engine_needs_it():
    line = command("folder", ["--port", "9"])
    assert line[line.index("--model") + 1] == "folder" and line[-2:] == ["--port", "9"]
    assert "processed_logprobs" in line and line[line.index("--max-logprobs") + 1] == "20"
    assert "20" not in command("folder", ["--max-logprobs=5"])
