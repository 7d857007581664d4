"""Lock-step batched decoding of a Transformers causal language model on one key-value cache.

Every step feeds exactly one token per live path, forced or sampled, so all rows write the same cache column. Rows are
left-padded, and a row that joins late starts further right. This makes three things cheap and exact: tool results enter
as forced tokens; a fork copies its prefix's keys and values into a free row (shifted so that it ends at the current
column; rotary positions were applied when the keys were written); and finished rows are compacted away. With
`whole_results` forced tokens are read in one pass instead, all but the last, and the row's keys and values then move to
end at the common column again. Log-probabilities equal those of a full forward pass up to floating-point rounding (a
test checks 1e-4).
"""

from collections.abc import Callable, Iterable

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from reproduce.precision import wide
from reproduce.rollouts.engines.ends import end_ids
from reproduce.rollouts.engines.host import EngineHost
from reproduce.rollouts.token_path import Engine, TokenPath
from reproduce.seeding import torch_stream

_GROW = 64


class _Layer(CacheLayerMixin):
    """Keys and values of one layer in a preallocated block (rows, heads, columns, head size), written in place."""

    def __init__(self, store: "_Store"):
        super().__init__()
        self.store = store

    def lazy_initialization(self, key_states, value_states):
        self.is_initialized = True

    def update(self, key_states, value_states, *args, **kwargs):
        n, heads, width, size = key_states.shape
        end = self.store.column + width
        if self.keys is None:
            shape = (self.store.rows, heads, self.store.columns, size)
            self.keys, self.values = key_states.new_zeros(shape), value_states.new_zeros(shape)
        self.keys[:n, :, self.store.column : end] = key_states
        self.values[:n, :, self.store.column : end] = value_states
        return self.keys[:n, :, :end], self.values[:n, :, :end]

    def get_mask_sizes(self, query_length):
        return self.store.column + query_length, 0

    def get_seq_length(self):
        return self.store.column

    def get_max_length(self):
        return -1


class _Store:
    """The cache block of one run: `rows` slots by `columns`. column: the next one to be written."""

    def __init__(self, layers: int, rows: int, columns: int):
        self.rows, self.columns, self.column = rows, columns, 0
        self.layers = [_Layer(self) for _ in range(layers)]
        self.cache = Cache(layers=self.layers)

    def _replace(self, make: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for layer in self.layers:
            layer.keys, layer.values = make(layer.keys), make(layer.values)

    def resize(self, rows: int, columns: int) -> None:
        """Change the block's size, keeping its contents."""

        def make(old):
            new = old.new_zeros((rows, old.shape[1], columns, old.shape[3]))
            r, c = min(rows, old.shape[0]), min(self.column, columns)
            new[:r, :, :c] = old[:r, :, :c]
            return new

        self._replace(make)
        self.rows, self.columns = rows, columns

    def drop_columns(self, count: int) -> None:
        """Forget the first `count` columns, which only padding occupies."""

        def make(old):
            new = torch.zeros_like(old)
            new[:, :, : self.column - count] = old[:, :, count : self.column]
            return new

        self._replace(make)
        self.column -= count

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        for layer in self.layers:
            for block in (layer.keys, layer.values):
                block[target, :, : self.column] = block[source, :, : self.column]


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
        model: any decoder that takes `past_key_values`, a 4D boolean mask per layer type and `position_ids`.
        stop_ids: tokens that end a segment (closing tool tags).
        eos_id: ends a path, and so does every end token of the model's generation config.
        temperature: sampling temperature (> 0); log-probs and entropies are of the tempered distribution.
        generator: the torch stream of sampling.
        greedy: take the most likely token instead of sampling.
        whole_results: read a tool result in one pass, not token by token beside what other rows sample.

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
        whole_results: bool = False,
    ):
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.model, self.temperature, self.generator, self.greedy = model, temperature, generator, greedy
        self.stop_ids, self.whole_results = frozenset(stop_ids), whole_results
        self.end_ids = end_ids(eos_id, model, self.stop_ids)
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def run(self, paths: list[TokenPath], advance: Callable[[list[TokenPath]], list[TokenPath]], tools=None) -> None:
        """Sample all paths to their ends; see `reproduce.rollouts.token_path.Engine`."""
        was_training = self.model.training
        self.model.eval()
        try:
            _Run(self, advance).go(paths)
        finally:
            self.model.train(was_training)


class _Run:
    """State of one `TransformersEngine.run`: live paths in slot order, how far each was fed, where its row starts."""

    def __init__(self, engine: TransformersEngine, advance):
        self.engine, self.advance = engine, advance
        self.live: list[TokenPath] = []
        self.fed: list[int] = []
        self.start = torch.zeros(0, dtype=torch.long, device=engine.device)
        self.prompts: dict[tuple[int, ...], list[tuple[torch.Tensor, torch.Tensor]]] = {}
        self.store: _Store | None = None

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
        """Feed one token per row; sample where a path has no forced token left. Returns the paths to hand over."""
        engine, store = self.engine, self.store
        if engine.whole_results:
            self.read_results()
        if store.column == store.columns:
            self.make_room(1)
        tokens = torch.tensor([p.tokens[f] for p, f in zip(self.live, self.fed, strict=True)], device=engine.device)
        logits = self.forward(tokens[:, None], self.start)
        store.column += 1
        self.fed = [f + 1 for f in self.fed]
        rows = [i for i, (p, f) in enumerate(zip(self.live, self.fed, strict=True)) if f == len(p.tokens)]
        if not rows:
            return []
        logits = logits[:, -1] if len(rows) == len(self.live) else logits[rows, -1]
        logps = torch.log_softmax(wide(logits) / engine.temperature, dim=-1)
        probs = logps.exp()
        entropies = -(probs * logps.clamp(min=-1e4)).sum(-1)
        chosen = logps.argmax(-1) if engine.greedy else sample(probs, engine.generator)
        picked = logps.gather(1, chosen[:, None])[:, 0]
        done = []
        for row, token, logp, entropy in zip(rows, chosen.tolist(), picked.tolist(), entropies.tolist(), strict=True):
            path = self.live[row]
            path.add_sampled(token, logp, entropy)
            path.budget -= 1
            if token in engine.end_ids or token in engine.stop_ids or path.budget <= 0:
                done.append(path)
        return done

    def forward(self, tokens_BT: torch.Tensor, start_B: torch.Tensor) -> torch.Tensor:
        """Logits of the last new token (B, 1, V); writes the keys and values of all at the current column."""
        column, width = self.store.column, tokens_BT.shape[1]
        columns = torch.arange(column + width, device=tokens_BT.device)
        queries = columns[column:]
        mask = (columns[None, None, :] >= start_B[:, None, None]) & (columns[None, None, :] <= queries[None, :, None])
        positions = (queries[None, :] - start_B[:, None]).clamp(min=0)
        kinds = getattr(self.engine.model.config, "layer_types", None)  # models without (Llama) take one mask for all
        out = self.engine.model(
            input_ids=tokens_BT,
            attention_mask=dict.fromkeys(kinds, mask[:, None]) if kinds else mask[:, None],
            position_ids=positions,
            past_key_values=self.store.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits

    def read_results(self) -> None:
        """Pass the forced tokens that rows have yet to read, all but the last, which the next step feeds."""
        rows = [i for i, (path, fed) in enumerate(zip(self.live, self.fed, strict=True)) if len(path.tokens) > fed + 1]
        if not rows:
            return
        texts = [self.live[i].tokens[self.fed[i] : -1] for i in rows]
        lengths = torch.tensor([len(text) for text in texts], device=self.start.device)
        self.shift_right(max(0, int((lengths - self.start[rows]).max())))
        mine, start, width = self.store, self.start[rows], int(lengths.max())
        aside = _Store(len(mine.layers), len(rows), mine.column + width)
        aside.column = mine.column
        for own, other in zip(mine.layers, aside.layers, strict=True):
            for name in ("keys", "values"):
                block = getattr(own, name)
                room = block.new_zeros((len(rows), block.shape[1], aside.columns, block.shape[3]))
                room[:, :, : mine.column] = block[rows, :, : mine.column]
                setattr(other, name, room)
        self.store = aside
        padded = [text + text[:1] * (width - len(text)) for text in texts]  # what stands behind a text is not kept
        self.forward(torch.tensor(padded, device=self.engine.device), start)
        self.store = mine
        for at, (row, text) in enumerate(zip(rows, texts, strict=True)):
            begin, end = int(start[at]), mine.column + len(text)
            for own, other in zip(mine.layers, aside.layers, strict=True):
                own.keys[row, :, begin - len(text) : mine.column] = other.keys[at, :, begin:end]
                own.values[row, :, begin - len(text) : mine.column] = other.values[at, :, begin:end]
            self.fed[row] += len(text)
        self.start[rows] = start - lengths

    # -- rows -------------------------------------------------------------------------------------------------------

    def admit(self, paths: list[TokenPath]) -> None:
        """Give each new path a row, and copy its parent's, or else its prompt's, keys and values into it."""
        if not paths:
            return
        self.prefill({p.prompt for p in paths} - self.prompts.keys())
        need = max(len(p.tokens) if p.parent is not None else len(p.prompt) for p in paths) - 1
        if self.store is None:
            self.store = _Store(len(next(iter(self.prompts.values()))), len(paths), need + _GROW)
            self.store.column = need
            for layer, (keys, _) in zip(self.store.layers, next(iter(self.prompts.values())), strict=True):
                shape = (len(paths), keys.shape[0], self.store.columns, keys.shape[2])
                layer.keys, layer.values = keys.new_zeros(shape), keys.new_zeros(shape)
        if need > self.store.column:
            self.shift_right(need - self.store.column)
        if len(self.live) + len(paths) > self.store.rows:
            self.store.resize(len(self.live) + len(paths), self.store.columns)
        starts = []
        for path in paths:
            row, end = len(self.live), self.store.column
            source = path.parent if path.parent is not None and path.parent.slot >= 0 else None
            prefix = (len(path.tokens) if source else len(path.prompt)) - 1
            for layer, (keys, values) in zip(self.store.layers, self.prompts[path.prompt], strict=True):
                if source:
                    at = int(self.start[source.slot])
                    keys, values = (block[source.slot, :, at : at + prefix] for block in (layer.keys, layer.values))
                    keys, values = keys.clone(), values.clone()
                layer.keys[row, :, end - prefix : end] = keys[:, :prefix]
                layer.values[row, :, end - prefix : end] = values[:, :prefix]
            path.slot = row
            self.live.append(path)
            self.fed.append(prefix)
            starts.append(end - prefix)
        self.start = torch.cat([self.start, torch.tensor(starts, dtype=torch.long, device=self.start.device)])

    def prefill(self, prompts: set[tuple[int, ...]]) -> None:
        """Keys and values of prompts that are new in this run, in one left-padded forward pass."""
        if not prompts:
            return
        ordered = sorted(prompts)
        width = max(map(len, ordered))
        tokens = torch.tensor([[p[0]] * (width - len(p)) + list(p) for p in ordered], device=self.engine.device)
        start = torch.tensor([width - len(p) for p in ordered], device=self.engine.device)
        mine, self.store = self.store, _Store(self.engine.model.config.num_hidden_layers, len(ordered), width)
        self.forward(tokens, start)
        for row, prompt in enumerate(ordered):
            at = int(start[row])
            self.prompts[prompt] = [
                (layer.keys[row, :, at:].clone(), layer.values[row, :, at:].clone()) for layer in self.store.layers
            ]
        self.store = mine

    def release(self, over: set[int]) -> None:
        """Drop finished paths; the last rows move into the holes."""
        for path in [p for p in self.live if id(p) in over]:
            hole, path.slot = path.slot, -1
            last = self.live.pop()
            fed = self.fed.pop()
            if last is not path:
                self.store.move(len(self.live), hole)
                self.live[hole], self.fed[hole], last.slot = last, fed, hole
                self.start[hole] = self.start[len(self.live)]
        self.start = self.start[: len(self.live)]

    def make_room(self, columns: int) -> None:
        """Free columns that only padding occupies, else widen the block."""
        padding = int(self.start.min())
        if padding >= _GROW:
            self.store.drop_columns(padding)
            self.start = self.start - padding
        else:
            self.store.resize(self.store.rows, self.store.columns + max(columns, _GROW))

    def shift_right(self, columns: int) -> None:
        """Move everything right to fit a row longer than the current column (a longer prompt that joins late)."""
        store = self.store
        if not columns:
            return
        if store.column + columns > store.columns:
            store.resize(store.rows, store.column + columns + _GROW)

        def make(old):
            new = torch.zeros_like(old)
            new[:, :, columns : store.column + columns] = old[:, :, : store.column]
            return new

        store._replace(make)
        store.column += columns
        self.start = self.start + columns


class Host(EngineHost):
    """Decodes with the trainer's own model."""

    def engine(self, model, grammar, temperature: float, seed: int, *names) -> TransformersEngine:
        generator = torch_stream(seed, "sampling", *names, device=str(next(model.parameters()).device))
        whole = bool(self.config.whole_results)
        return TransformersEngine(model, grammar.stop_ids, grammar.eos_id, temperature, generator, whole_results=whole)
