"""Sampling by vLLM behind the protocol of `reproduce.rollouts.token_path.Engine`.

A segment of a path is one request, whose prompt is all of the path's tokens. All paths are in vLLM at once, and each
goes on by itself: when its segment ends, `advance` says what that means, and the next request is sent. vLLM's prefix
caching makes the repeated prefix cheap, a fork's too; nothing is copied here. While a path waits for a tool
(`rollouts.tools`), the others are sampled.

Log-probabilities are vLLM's own, after division by the temperature (its `processed_logprobs`). `path.entropies` holds
`engines.entropy_topk` of the k most likely tokens, which is exact where k is the vocabulary, and NaN where k is 0.

Every request has a seed of its own, made from the engine's seed, the path's number and the segment's. Results are
therefore independent of how vLLM batches requests, up to floating-point rounding. The paths' numbers follow the order
in which they were handed over, which tools in threads make depend on the clock.
"""

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch

from reproduce.config.engine import EngineConfig
from reproduce.errors import UserError
from reproduce.rollouts.engines.ends import end_ids
from reproduce.rollouts.engines.entropy_topk import entropy_topk, hidden_entropy
from reproduce.rollouts.engines.host import EngineHost
from reproduce.rollouts.engines.weights import divides
from reproduce.rollouts.token_path import Engine, TokenPath
from reproduce.seeding import child_seed


@dataclass(frozen=True)
class Request:
    """A segment to be sampled: at most `budget` tokens after `tokens`, until one of `stop_ids` (which is kept).

    temperature 0 takes the most likely token, and its log-probability at temperature 1.
    """

    id: int
    tokens: list[int]
    budget: int
    stop_ids: tuple[int, ...]
    temperature: float
    seed: int


@dataclass(frozen=True)
class Segment:
    """A sampled segment: tokens, their log-probs, and for each the log-probs of the k most likely tokens, best first.

    cached: prompt tokens whose keys and values vLLM had already.
    """

    id: int
    tokens: list[int]
    logps: list[float]
    top_logps: list[list[float]]
    cached: int


class Sampler(Protocol):
    """A vLLM with the trainer's weights: in this process (`vllm_local`) or a server (`vllm_server`)."""

    vocabulary: int
    top_logprobs: int
    max_context: int

    def load(self, model, always: bool = False) -> float:
        """Takes over the weights of `model` if they changed, or always, awake then; the seconds that it took."""

    def sleep(self) -> None:
        """Gives memory back until the next `load`."""

    def add(self, request: Request) -> None:
        """Queues a request."""

    def step(self) -> list[Segment]:
        """Goes on sampling for a moment; the segments that were finished, possibly none."""

    def abort(self) -> None:
        """Forgets all requests."""

    def close(self) -> None:
        """Ends it."""


class VllmEngine(Engine):
    """`reproduce.rollouts.token_path.Engine` on a `Sampler`; arguments as for `TransformersEngine`, but `seed`, and
    `eos_id` may be several tokens: the sampler knows no model to ask.

    Raises ValueError for a temperature that is not positive, or is not 1 with `greedy`.
    """

    overlaps_tools = True

    def __init__(
        self,
        sampler: Sampler,
        stop_ids: Iterable[int],
        eos_id: int | Iterable[int],
        temperature: float,
        seed: int,
        greedy: bool = False,
    ):
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        if greedy and temperature != 1.0:
            raise ValueError(f"greedy sampling has the log-probs of temperature 1, not {temperature}")
        self.sampler, self.temperature, self.seed, self.greedy = sampler, temperature, seed, greedy
        self.stop_ids = frozenset(stop_ids)
        self.end_ids = frozenset([eos_id] if isinstance(eos_id, int) else eos_id)
        self._stops = tuple(sorted(self.stop_ids | self.end_ids))
        self._numbers: dict[int, tuple[TokenPath, int, int]] = {}
        self._paths = self._requests = 0
        self.totals = dict.fromkeys(TOTALS, 0.0)

    def run(self, paths: list[TokenPath], advance: Callable[[list[TokenPath]], list[TokenPath]], tools=None) -> None:
        """Sample all paths to their ends; see `reproduce.rollouts.token_path.Engine`.

        tools: a `rollouts.tools.ToolPool` whose results `advance` picks up; None if all calls end inside `advance`.
        """
        live: dict[int, TokenPath] = {}
        try:
            self._admit(live, paths)
            while live or (tools is not None and tools.waiting):
                segments = []
                if live:
                    segments = self.sampler.step()
                else:
                    started = time.perf_counter()
                    tools.wait()
                    self.totals["tool_wait_seconds"] += time.perf_counter() - started
                done = [self._extend(live.pop(s.id), s) for s in sorted(segments, key=lambda s: s.id)]
                if done or (tools is not None and tools.ready):
                    self._admit(live, advance(done))
        finally:
            self._numbers.clear()
            if live:
                self.sampler.abort()

    def _admit(self, live: dict[int, TokenPath], paths: list[TokenPath]) -> None:
        for path in paths:
            longest = len(path.tokens) + path.budget
            if longest > self.sampler.max_context:
                raise UserError(
                    f"engine.max_context: a path may grow to {longest} tokens, prompt included, and vLLM takes "
                    f"{self.sampler.max_context}; raise it, or lower task.max_completion_tokens"
                )
            if id(path) not in self._numbers:
                self._numbers[id(path)] = path, self._paths, 0
                self._paths += 1
            _, number, segment = self._numbers[id(path)]
            self._numbers[id(path)] = path, number, segment + 1
            seed = child_seed(self.seed, number, segment)
            temperature = 0.0 if self.greedy else self.temperature
            self._requests += 1
            live[self._requests] = path
            request = Request(self._requests, path.tokens, path.budget, self._stops, temperature, seed)
            self.sampler.add(request)
            self.totals["requests"] += 1
            self.totals["prompt_tokens"] += len(path.tokens)

    def _extend(self, path: TokenPath, segment: Segment) -> TokenPath:
        """Adds the sampled tokens to the path."""
        entropies, bounds = self._entropies(segment)
        for token, logp, entropy in zip(segment.tokens, segment.logps, entropies, strict=True):
            path.add_sampled(token, logp, entropy)
        path.budget -= len(segment.tokens)
        token = path.tokens[-1]
        path.finish = "eos" if token in self.end_ids else "stop" if token in self.stop_ids else "length"
        self.totals["cached_tokens"] += segment.cached
        self.totals["sampled_tokens"] += len(segment.tokens)
        self.totals["entropy_topk"] += sum(entropies)
        self.totals["entropy_topk_hidden_mean"] += sum(bounds)
        highest = max(bounds) if self.sampler.top_logprobs else math.nan
        self.totals["entropy_topk_hidden_max"] = max(highest, self.totals["entropy_topk_hidden_max"])
        return path

    @property
    def has_entropies(self) -> bool:
        """Whether `path.entropies` is anything at all."""
        return self.sampler.top_logprobs > 0

    @property
    def exact_entropies(self) -> bool:
        """Whether `path.entropies` is over the full softmax."""
        return self.sampler.top_logprobs == self.sampler.vocabulary

    def _entropies(self, segment: Segment) -> tuple[list[float], list[float]]:
        """(entropy_topk, the most that it can leave out) of each token."""
        if self.sampler.top_logprobs == 0:
            return [math.nan] * len(segment.tokens), [math.nan] * len(segment.tokens)
        top_TK = torch.tensor(segment.top_logps, dtype=torch.float64)
        _, hidden_T = hidden_entropy(top_TK, self.sampler.vocabulary)
        return entropy_topk(top_TK).tolist(), hidden_T.tolist()


class VllmHost(EngineHost):
    """One vLLM for a whole run. It starts with the first engine, and gets a model's weights whenever they changed."""

    own_weights = True

    def __init__(self, config: EngineConfig):
        super().__init__(config)
        self._sampler: Sampler | None = None
        self._awake = self._changed = False
        self._totals: list[dict[str, float]] = []
        self._seconds_weight_sync = 0.0

    def engine(self, model, grammar, temperature: float, seed: int, *names) -> VllmEngine:
        if self.tensor_parallel == 1 and not divides(model):
            self.refresh(model)
        elif not self._awake:
            raise RuntimeError("processes that share weights or a sampler call `refresh` before they sample")
        ends = end_ids(grammar.eos_id, model, grammar.stop_ids)
        made = VllmEngine(self._sampler, grammar.stop_ids, ends, temperature, child_seed(seed, "sampling", *names))
        self._totals.append(made.totals)
        return made

    def refresh(self, model) -> None:
        if self._sampler is None:
            self._sampler = self._start(model)
        self._seconds_weight_sync += self._sampler.load(model, always=self._changed)
        self._awake, self._changed = True, False

    def rest(self) -> None:
        if self._sampler is not None and self.config.sleep:
            self._sampler.sleep()
            self._awake = False

    def weights_changed(self) -> None:
        self._changed = True

    def costs(self) -> dict[str, float]:
        found = cost_of(self._totals) | {"seconds_weight_sync": self._seconds_weight_sync}
        self._totals, self._seconds_weight_sync = [], 0.0
        return found

    def close(self) -> None:
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None

    @abstractmethod
    def _start(self, model) -> Sampler:
        """A vLLM for this model."""


TOTALS = (
    "requests",
    "prompt_tokens",
    "cached_tokens",
    "sampled_tokens",
    "tool_wait_seconds",
    "entropy_topk",
    "entropy_topk_hidden_mean",
    "entropy_topk_hidden_max",
)


def cost_of(totals: list[dict[str, float]]) -> dict[str, float]:
    """Totals of some engines, from their `totals`, in the names of the records.

    engine_requests; engine_prompt_tokens, and of those engine_cached_tokens whose keys and values vLLM still had;
    entropy_topk_mean and entropy_topk_hidden_mean, nats per sampled token: the truncated entropy and the most that it
    leaves out; entropy_topk_hidden_max of the latter; seconds_tool_wait: nothing was left to sample because all paths
    waited for tools.
    """
    total = {name: sum(t[name] for t in totals) for name in TOTALS}
    tokens = total["sampled_tokens"] or math.nan
    return {
        "engine_requests": total["requests"],
        "engine_prompt_tokens": total["prompt_tokens"],
        "engine_cached_tokens": total["cached_tokens"],
        "entropy_topk_mean": total["entropy_topk"] / tokens,
        "entropy_topk_hidden_mean": total["entropy_topk_hidden_mean"] / tokens,
        "entropy_topk_hidden_max": max((t["entropy_topk_hidden_max"] for t in totals), default=math.nan),
        "seconds_tool_wait": total["tool_wait_seconds"],
    }
