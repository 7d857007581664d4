"""A model of the hub's kind made here: Qwen3's architecture, random weights, a byte-level BPE and a chat template.

It stands where a download would: in the rehearsal, and in the checks of the first machine with a card.
"""

from collections.abc import Iterable
from pathlib import Path

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The chat format of Qwen's models, without their system prompt and thinking."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TINY = dict(
    hidden_size=128,
    intermediate_size=384,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
)
SMALLEST = TINY | dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2)
"""Heads of 32, the smallest that vLLM has on a CPU."""
QWEN3_1_7B = dict(
    hidden_size=2048,
    intermediate_size=6144,
    num_hidden_layers=28,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=128,
    vocab_size=151_936,
)
"""Shape of Qwen/Qwen3-1.7B, as its config.json has it (`reproduce.training.flops`)."""


def bpe_tokenizer(texts: Iterable[str], vocabulary: int = 1024):
    """A tokenizer trained on `texts`, with at most `vocabulary` tokens; a tag is spelt with several of them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[0],
        chat_template=CHATML,
        clean_up_tokenization_spaces=False,
    )


def qwen3(tokenizer, shape: dict, seed: int = 0, context: int = 4096, tied: bool = True):
    """A Qwen3 of a shape with random weights, float32 on the CPU. tied: embeddings and output head are one."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        **{"vocab_size": len(tokenizer), **shape},
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(config)


def save(folder: Path, tokenizer, model) -> Path:
    """Writes both as a repository of the hub has them."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
