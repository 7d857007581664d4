"""Arithmetic and memory of a decoder-only transformer, from its shape.

2 operations per weight and token forward, twice that backward (arXiv 2001.08361, section 2.1), and the attention over
the tokens before, which that rule leaves out. The embedding is a lookup; the output head counts where it is used.
"""

from dataclasses import dataclass

from reproduce.errors import UserError
from reproduce.tools.hub import sources
from reproduce.tools.hub.lock import read_lock
from reproduce.tools.hub.packaged import SMOLLM2


@dataclass(frozen=True)
class Model:
    """A Qwen- or Llama-style decoder: grouped-query attention and a gated MLP. Biases and norms are left out."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    tied: bool = False

    @property
    def body(self) -> int:
        """Weights of all layers, which every token passes."""
        attention = self.hidden * self.head_size * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def head(self) -> int:
        """Weights of the output head, which only scored tokens pass."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.body + self.head * (1 if self.tied else 2)

    def adapters(self, rank: int) -> int:
        """Weights of LoRA on every linear map but the head: rank x (inputs + outputs) of each."""
        query, key = self.heads * self.head_size, self.kv_heads * self.head_size
        sides = 2 * (self.hidden + query) + 2 * (self.hidden + key) + 3 * (self.hidden + self.intermediate)
        return self.layers * rank * sides

    def cache_bytes(self, bytes_per_value: int = 2) -> int:
        """Bytes of the keys and values of one token."""
        return 2 * self.layers * self.kv_heads * self.head_size * bytes_per_value

    def forward(self, tokens: float, scored: float, length: float) -> float:
        """Operations of reading `tokens` in sequences of `length`, of which `scored` pass the output head.

        Attention: scores and values are 4 operations per head dimension and pair, and a token sees half of `length`.
        """
        attention = 2 * self.layers * self.heads * self.head_size * length
        return tokens * (2 * self.body + attention) + 2 * scored * self.head


_SHAPES = (
    Model("Qwen/Qwen3-0.6B", 1024, 28, 16, 8, 128, 3072, 151936, tied=True),
    Model("Qwen/Qwen3-1.7B", 2048, 28, 16, 8, 128, 6144, 151936, tied=True),
    Model("Qwen/Qwen3-4B", 2560, 36, 32, 8, 128, 9728, 151936, tied=True),
    Model("Qwen/Qwen3-8B", 4096, 36, 32, 8, 128, 12288, 151936),
    Model("Qwen/Qwen3-14B", 5120, 40, 40, 8, 128, 17408, 151936),
    Model("Qwen/Qwen2.5-3B-Instruct", 2048, 36, 16, 2, 128, 11008, 151936, tied=True),
    Model("Qwen/Qwen2.5-7B-Instruct", 3584, 28, 28, 4, 128, 18944, 152064),
    Model("Qwen/QwQ-32B", 5120, 64, 40, 8, 128, 27648, 152064),
    Model("meta-llama/Llama-3.1-8B-Instruct", 4096, 32, 32, 8, 128, 14336, 128256),
    Model(SMOLLM2.name, 576, 30, 9, 3, 64, 1536, 49152, tied=True),
)
HUB = {model.name: model for model in _SHAPES}
"""Shapes of the papers' models, as their config.json has them."""


def model_of(section, vocabulary: int) -> Model:
    """The model of a config's section `model`; vocabulary: of one made from scratch.

    UserError for a hub model that is neither in `HUB` nor in the hub's cache, nor a folder with a config.json.
    """
    name, m = section.name_or_path, section
    if name is None:
        head_size = m.hidden_size // m.num_heads
        numbers = m.hidden_size, m.num_layers, m.num_heads, m.num_kv_heads, head_size, m.intermediate_size
        return Model("from scratch", *numbers, vocabulary)
    known = HUB.get(name) or HUB.get(f"{name}-Instruct")
    return known or _from_config(name, _config(name, section.revision))


def _config(name: str, revision: str | None) -> dict:
    """The config.json of a folder, or of a hub model in the cache at `revision` (None: as locked)."""
    from transformers import PretrainedConfig

    revision = revision or read_lock().get(sources.HUB, {}).get(name, {}).get("revision")
    try:
        found = PretrainedConfig.get_config_dict(name, revision=revision, local_files_only=True)[0]
    except (OSError, ValueError, RecursionError):
        found = {}
    if not found:
        raise UserError(
            f"model.name_or_path: the shape of {name} is not known here; name a folder that holds a readable "
            f"config.json, a pinned model that the hub's cache holds, or one of {', '.join(HUB)}"
        )
    return found


def _from_config(name: str, config: dict) -> Model:
    try:
        hidden, layers, heads = (config[f] for f in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
        kv_heads, head_size = config.get("num_key_value_heads", heads), config.get("head_dim") or hidden // heads
        sizes = config["intermediate_size"], config["vocab_size"], bool(config.get("tie_word_embeddings"))
    except KeyError as error:
        raise UserError(
            f"{name}/config.json lacks {error.args[0]!r}: it is not of a Qwen- or Llama-style model"
        ) from None
    return Model(name, hidden, layers, heads, kv_heads, head_size, *sizes)


def vocabulary_of(job) -> int:
    """Tokens of a from-scratch model's vocabulary; 0 for a model of the hub, which has its own."""
    if job.model.name_or_path is not None:
        return 0
    from reproduce.training.tiny_model import SPECIAL  # it imports torch
    from reproduce.worlds.registry import world_of

    return len({*SPECIAL, *world_of(job.task).words(job.task)})
