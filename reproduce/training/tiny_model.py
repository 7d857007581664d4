"""The mini profile's model, built from nothing: a word-level tokenizer and a Qwen3-architecture transformer."""

import math
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from reproduce.seeding import child_seed

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")

# Standard deviation of initial weights times sqrt(width). The usual 0.02 is meant for widths in the thousands; at
# width 64 it makes the warm start about three times slower.
INITIAL_SCALE = 0.64


def build_tokenizer(world) -> PreTrainedTokenizerFast:
    """The tokenizer of a world that lists its words (`vocabulary()`), such as a MiniWeb."""
    return word_tokenizer(world.vocabulary())


def word_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words: the special tokens, then `words` in their order; others map to `<unk>`.

    Decoding joins words with single spaces.
    """
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*SPECIAL, *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )


def build_model(
    vocabulary_size: int,
    seed: int,
    *,
    hidden_size: int,
    num_layers: int,
    num_heads: int,
    num_kv_heads: int,
    intermediate_size: int,
    pad_id: int,
    bos_id: int,
    eos_id: int,
) -> Qwen3ForCausalLM:
    """A Qwen3 with random weights from the stream of `seed`, untied embeddings, float32."""
    config = Qwen3Config(
        vocab_size=vocabulary_size,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_kv_heads,
        head_dim=hidden_size // num_heads,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        initializer_range=INITIAL_SCALE / math.sqrt(hidden_size),
        attn_implementation="sdpa",
        pad_token_id=pad_id,
        bos_token_id=bos_id,
        eos_token_id=eos_id,
    )
    with torch.random.fork_rng(devices=[]):  # Transformers initialises from the global generator; keep ours apart
        torch.manual_seed(child_seed(seed, "model"))
        return Qwen3ForCausalLM(config)
