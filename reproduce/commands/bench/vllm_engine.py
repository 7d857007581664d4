"""Engines: vLLM against Transformers on the same prompts; tools in threads against one call after the other.

Both sides run the same script: every path samples a segment, gets a result of fixed length, and goes on, for a number
of turns. The model has random weights and profile mini's size, but for two heads of 32 where that has four of 16: vLLM
on a CPU has no smaller ones.
"""

import time

from reproduce.commands.bench.rows import Measurement, Sizes, in_turn, missing, paired
from reproduce.config.engine import EngineConfig
from reproduce.errors import UserError
from reproduce.rollouts.engines.transformers import TransformersEngine
from reproduce.rollouts.engines.vllm_engine import VllmEngine
from reproduce.rollouts.grammar import Grammar
from reproduce.rollouts.token_path import TokenPath
from reproduce.rollouts.tools import ToolPool
from reproduce.seeding import torch_stream
from reproduce.training.tiny_model import build_model, build_tokenizer
from reproduce.worlds.miniweb.generator import load_world
from reproduce.worlds.miniweb.task import WORLDS
from reproduce.worlds.tool_server import Call, ToolResult

TURNS, SEGMENT, RESULT = 4, 24, 24  # turns of a path; tokens of a segment, and of a result
THREADS = 16
SEARCH_SECONDS, LATE_SECONDS, LATE_EVERY = 0.05, 1.0, 16  # one search in 16 is late
CONTEXT = 512
HOW = "or: make bench-vllm"


class LateSearch:
    """Answers searches after a while, as a hosted service does: the delay is all that it is there for."""

    def __init__(self):
        self._asked = 0

    def run(self, calls: list[Call]) -> list[ToolResult]:
        for _ in calls:
            self._asked += 1
            time.sleep(LATE_SECONDS if self._asked % LATE_EVERY == 0 else SEARCH_SECONDS)
        return [ToolResult("page", "search", True) for _ in calls]


class Sides:
    """The model, its prompts, and engines on it. vLLM starts once, when it is first asked for."""

    def __init__(self, sizes: Sizes):
        tokenizer = build_tokenizer(load_world(WORLDS / "miniweb.jsonl"))
        self.grammar, self._vllm = Grammar(tokenizer), None
        shape = dict(hidden_size=64, num_layers=2, num_heads=2, num_kv_heads=2, intermediate_size=128)
        ids = dict(pad_id=tokenizer.pad_token_id, bos_id=tokenizer.bos_token_id, eos_id=tokenizer.eos_token_id)
        self.model = build_model(len(tokenizer), 0, **shape, **ids).eval()
        words = self.grammar.encode("question : max of year and count of page")
        bos = tokenizer.bos_token_id
        self.prompts = [[bos, *words, word] for word in words for _ in range(sizes.group)][: 16 * sizes.group]
        self.result = (words * RESULT)[:RESULT]

    def transformers(self, repetition: int) -> TransformersEngine:
        return TransformersEngine(self.model, [], self.grammar.eos_id, 1.0, torch_stream(0, "bench", repetition))

    def vllm(self, repetition: int, top_logprobs: int) -> VllmEngine:
        """UserError where vLLM cannot run."""
        if self._vllm is None:
            from reproduce.rollouts.engines.vllm_local import LocalVllm

            config = EngineConfig(kv_cache_gb=0.2, max_context=CONTEXT, max_sequences=len(self.prompts))
            self._vllm = LocalVllm(self.model, config, "cpu")
        self._vllm.top_logprobs = top_logprobs
        self._vllm.load(self.model, always=True)  # an empty cache for every repetition
        return VllmEngine(self._vllm, [], self.grammar.eos_id, 1.0, repetition)

    def close(self) -> None:
        if self._vllm is not None:
            self._vllm.close()

    def run(self, engine, tools=None, overlapped: bool = False, count: int | None = None) -> tuple[float, int]:
        """(seconds, sampled tokens) of a rollout of the first `count` prompts, or all.

        tools: (calls) -> results, or a pool if overlapped.
        """
        paths = [TokenPath.root(prompt) for prompt in self.prompts[:count]]

        def go_on(path: TokenPath) -> TokenPath:
            path.add_forced(self.result)
            path.budget = SEGMENT
            return path

        def advance(done: list[TokenPath]) -> list[TokenPath]:
            calling = [(p, Call(None, "search", str(id(p)))) for p in done if p.turn + 1 < TURNS and p.finish != "eos"]
            if overlapped:
                tools.submit(calling)
                return [go_on(path) for path, _ in tools.finished()]
            if tools is not None and calling:
                tools([call for _, call in calling])
            return [go_on(path) for path, _ in calling]

        for path in paths:
            path.budget = SEGMENT
        started = time.perf_counter()
        engine.run(paths, advance, tools) if overlapped else engine.run(paths, advance)
        return time.perf_counter() - started, sum(sum(path.sampled) for path in paths)


def engine_rows(sizes: Sizes, sides: Sides) -> list[Measurement]:
    """Sampled tokens per second of vLLM over those of Transformers; a row that says why where vLLM cannot run."""
    measure, shown = "sampled tokens per second, {} log-probs", (0, 20)

    def speed(engine) -> float:
        seconds, tokens = sides.run(engine)
        return tokens / seconds

    timed = {k: lambda repetition, k=k: speed(sides.vllm(repetition, k)) for k in shown}
    timed["Transformers"] = lambda repetition: speed(sides.transformers(repetition))
    try:
        found = in_turn("engine: vLLM against Transformers", timed, sizes.repetitions)
    except UserError as error:
        return [missing("engine", measure.format(k), "vLLM", "Transformers", f"{error}; {HOW}") for k in shown]
    note = "vLLM's {} most likely of each token; Transformers: log-probs and exact entropy"
    pairs = {k: {"vLLM": found[k], "Transformers": found["Transformers"]} for k in shown}
    return [paired("engine", measure.format(k), pairs[k], note=note.format(k)) for k in shown]


def tool_rows(sizes: Sizes, sides: Sides) -> list[Measurement]:
    """Seconds of a rollout with late searches: in threads over one by one; overlapped over in rounds (vLLM)."""
    note = f"a search takes {SEARCH_SECONDS:g} s, one in {LATE_EVERY} takes {LATE_SECONDS:g} s"
    measure, repetitions, count = "seconds per rollout", min(3, sizes.repetitions), 2 * sizes.prompts

    def pooled(engine, overlapped: bool = False) -> float:
        with ToolPool(LateSearch(), THREADS) as pool:
            return sides.run(engine, pool if overlapped else pool.run, overlapped, count)[0]

    threads = {
        f"{THREADS} threads": lambda repetition: pooled(sides.transformers(repetition)),
        "one by one": lambda repetition: sides.run(sides.transformers(repetition), LateSearch().run, count=count)[0],
    }
    schedules = {
        "overlapped": lambda repetition: pooled(sides.vllm(repetition, 0), overlapped=True),
        "in rounds": lambda repetition: pooled(sides.vllm(repetition, 0)),
    }
    rows = [paired("tools", measure, in_turn("tools: in threads against one by one", threads, repetitions), note=note)]
    measure += ", vLLM"
    try:
        found = in_turn("tools: overlapped against in rounds", schedules, repetitions)
    except UserError as error:
        return [*rows, missing("tools", measure, *schedules, f"{error}; {HOW}")]
    return [*rows, paired("tools", measure, found, note=f"{note}; both in {THREADS} threads")]
