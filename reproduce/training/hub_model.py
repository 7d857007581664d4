"""Models of the hub, or of a folder that `save_pretrained` wrote, as they are.

Their vocabulary stays: they spell the tools' tags with several tokens (`reproduce.rollouts.grammar.SpeltGrammar`).
"""

from pathlib import Path

import torch
from safetensors import SafetensorError

from reproduce.errors import UserError
from reproduce.tools.hub.fetch import model_folder

RIGHT_PAD = "<|finetune_right_pad_id|>"  # Llama 3.1's token for this, which its tokenizer does not name as such


def load_hub_model(name_or_path: str, revision: str | None, device: str, dtype: str):
    """Load (model, tokenizer) of the hub, or of a folder.

    Args:
        name_or_path: of the hub, or a folder.
        revision: the hub's commit, or `folder_revision` of a folder.
        device: such as "cuda:0".
        dtype: torch's name of the weights' type.

    Raises:
        UserError: there is no such model, it cannot be loaded, or its tokenizer has no chat template or no end of
            sequence.
    """
    return load_folder(model_folder(name_or_path, revision), name_or_path, device, dtype)


def load_folder(folder: Path, name: str, device: str, dtype: str):
    """Load (model, tokenizer) of a folder.

    Args:
        name: of the model in error messages.
        device, dtype: as of `load_hub_model`.

    Raises:
        UserError: as of `load_hub_model`.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)  # None asks at the terminal
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), attn_implementation="sdpa", trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise UserError(f"model.name_or_path: {name} cannot be loaded ({_line(error)})") from None
    if not tokenizer.chat_template:
        raise UserError(f"model.name_or_path: the tokenizer of {name} has no chat template; take an instruct model")
    if tokenizer.eos_token_id is None:
        raise UserError(f"model.name_or_path: the tokenizer of {name} names no end-of-sequence token")
    if tokenizer.pad_token_id is None:
        known = RIGHT_PAD in tokenizer.get_vocab()
        tokenizer.pad_token = RIGHT_PAD if known else tokenizer.eos_token  # masks decide what counts, not this id
    if model.get_output_embeddings() is None:
        raise UserError(f"model.name_or_path: {name} is no causal language model with output embeddings")
    return model.to(device), tokenizer


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
