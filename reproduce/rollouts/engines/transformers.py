"""Batched decoding of a Transformers causal language model on one key-value cache.

Every step samples one token of every live path. What a path has got besides (a tool result) is read in the same pass,
all its tokens at once; a fork copies its prefix's keys and values into a free row, a root those of its prompt, which is
read once; and finished rows are compacted away. Log-probabilities equal those of a full forward pass up to
floating-point rounding (a test checks 1e-4).
"""

from collections.abc import Callable, Iterable

import torch

from reproduce.attention import attending
from reproduce.precision import wide
from reproduce.rollouts.engines.ends import end_ids
from reproduce.rollouts.engines.host import EngineHost
from reproduce.rollouts.engines.ragged_cache import GROW, NAME, RaggedCache, forward
from reproduce.rollouts.token_path import Engine, TokenPath
from reproduce.seeding import torch_stream

PASS = 8192  # tokens that one pass reads at most; a longer result takes several


def sample(probs_RV: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw tokens by inverting the cumulative distribution: one uniform draw per row, where torch.multinomial takes V.

    Args:
        probs_RV: probabilities (R, V).
        generator: the stream.

    Returns:
        tokens (R,), int64.
    """
    cumulative_RV = probs_RV.double().cumsum(-1)
    uniform_R = torch.rand(len(probs_RV), dtype=torch.float64, device=probs_RV.device, generator=generator)
    return torch.searchsorted(cumulative_RV, uniform_R[:, None] * cumulative_RV[:, -1:], right=True)[:, 0]


class TransformersEngine(Engine):
    """An `Engine` on a Hugging Face causal LM.

    Args:
        model: any decoder that `ragged_cache.forward` takes.
        stop_ids: tokens that end a segment (closing tool tags).
        eos_id: ends a path, and so does every end token of the model's generation config.
        temperature: sampling temperature (> 0); log-probs and entropies are of the tempered distribution.
        generator: the torch stream of sampling.
        greedy: take the most likely token instead of sampling.

    Raises:
        ValueError: the temperature is not positive.
    """

    def __init__(
        self,
        model,
        stop_ids: Iterable[int],
        eos_id: int,
        temperature: float,
        generator: torch.Generator,
        greedy: bool = False,
    ):
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.model, self.temperature, self.generator, self.greedy = model, temperature, generator, greedy
        self.stop_ids = frozenset(stop_ids)
        self.end_ids = end_ids(eos_id, model, self.stop_ids)
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def run(self, paths: list[TokenPath], advance: Callable[[list[TokenPath]], list[TokenPath]], tools=None) -> None:
        """Sample all paths to their ends; see `reproduce.rollouts.token_path.Engine`."""
        was_training = self.model.training
        self.model.eval()
        try:
            with attending(self.model, NAME):
                _Run(self, advance).go(paths)
        finally:
            self.model.train(was_training)


class _Run:
    """State of one `TransformersEngine.run`: live paths in slot order, and how many tokens of each are in the cache."""

    def __init__(self, engine: TransformersEngine, advance):
        self.engine, self.advance = engine, advance
        self.live: list[TokenPath] = []
        self.fed: list[int] = []
        self.prompts: dict[tuple[int, ...], list[tuple[torch.Tensor, torch.Tensor]]] = {}
        self.cache = self.empty(1)

    def empty(self, rows: int) -> RaggedCache:
        return RaggedCache(self.engine.model.config.num_hidden_layers, rows, GROW)

    def go(self, paths: list[TokenPath]) -> None:
        self.admit(paths)
        while self.live:
            done = self.step()
            if done:
                for path in done:
                    path.finish = self.reason(path)
                again = self.advance(done)
                continued = [p for p in again if p.slot >= 0]
                self.admit([p for p in again if p.slot < 0])
                over = {id(p) for p in done} - {id(p) for p in continued}
                if over:
                    self.release(over)

    def reason(self, path: TokenPath) -> str:
        token = path.tokens[-1]
        return "eos" if token in self.engine.end_ids else "stop" if token in self.engine.stop_ids else "length"

    # -- decoding ---------------------------------------------------------------------------------------------------

    def step(self) -> list[TokenPath]:
        """Read what every path has got, and sample its next token. Returns the paths to hand over."""
        engine = self.engine
        logits = self.read([path.tokens for path in self.live], self.fed, self.cache)
        self.fed = [len(path.tokens) for path in self.live]
        logps = torch.log_softmax(wide(logits) / engine.temperature, dim=-1)
        probs = logps.exp()
        entropies = -(probs * logps.clamp(min=-1e4)).sum(-1)
        chosen = logps.argmax(-1) if engine.greedy else sample(probs, engine.generator)
        picked = logps.gather(1, chosen[:, None])[:, 0]
        done = []
        for path, token, logp, entropy in zip(
            self.live, chosen.tolist(), picked.tolist(), entropies.tolist(), strict=True
        ):
            path.add_sampled(token, logp, entropy)
            path.budget -= 1
            if token in engine.end_ids or token in engine.stop_ids or path.budget <= 0:
                done.append(path)
        return done

    def read(self, tokens: list[list[int]], fed: list[int], cache: RaggedCache) -> torch.Tensor:
        """Logits (R, V) after the last token of each row; more than `PASS` new tokens are read in several passes."""
        while True:
            room, ends = max(PASS - len(tokens), 1), []
            for row, before in zip(tokens, fed, strict=True):
                ends.append(min(len(row), before + 1 + room))
                room -= ends[-1] - before - 1
            news = [row[before:end] for row, before, end in zip(tokens, fed, ends, strict=True)]
            logits = forward(self.engine.model, cache, fed, news)
            if all(end == len(row) for end, row in zip(ends, tokens, strict=True)):
                return logits
            fed = [min(end, len(row) - 1) for end, row in zip(ends, tokens, strict=True)]  # the last one again

    # -- rows -------------------------------------------------------------------------------------------------------

    def admit(self, paths: list[TokenPath]) -> None:
        """Give each new path a row, and copy its parent's, or else its prompt's, keys and values into it."""
        if not paths:
            return
        self.read_prompts({p.prompt for p in paths} - self.prompts.keys())
        self.cache.make_room(len(self.live) + len(paths), max(len(p.tokens) for p in paths))
        for path in paths:
            row = len(self.live)
            if path.parent is not None and path.parent.slot >= 0:
                source = path.parent.slot
                prefix = min(len(path.tokens) - 1, self.fed[source])
                self.cache.move(source, row, prefix)
            else:
                prefix = len(path.prompt) - 1
                self.cache.write(row, prefix, self.prompts[path.prompt])
            path.slot = row
            self.live.append(path)
            self.fed.append(prefix)

    def read_prompts(self, prompts: set[tuple[int, ...]]) -> None:
        """Keys and values of prompts that are new in this run."""
        if not prompts:
            return
        ordered = sorted(prompts)
        cache = self.empty(len(ordered))
        self.read([list(prompt) for prompt in ordered], [0] * len(ordered), cache)
        for row, prompt in enumerate(ordered):
            self.prompts[prompt] = cache.row(row, len(prompt) - 1)

    def release(self, over: set[int]) -> None:
        """Drop finished paths; the last rows move into the holes."""
        for path in [p for p in self.live if id(p) in over]:
            hole, path.slot = path.slot, -1
            last, fed = self.live.pop(), self.fed.pop()
            if last is not path:
                self.cache.move(len(self.live), hole, fed)
                self.live[hole], self.fed[hole], last.slot = last, fed, hole


class Host(EngineHost):
    """Decodes with the trainer's own model."""

    def engine(self, model, grammar, temperature: float, seed: int, *names) -> TransformersEngine:
        generator = torch_stream(seed, "sampling", *names, device=str(next(model.parameters()).device))
        return TransformersEngine(model, grammar.stop_ids, grammar.eos_id, temperature, generator)
