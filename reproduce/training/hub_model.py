"""Models of the hub, or of a folder that `save_pretrained` wrote, made ready for the tags of the tools.

The agent loop ends a segment at a closing tag and finds the call by its opening tag, so every tag must be one token
(`reproduce.rollouts.grammar`). The papers' models spell the tags out in several tokens and stop at their text. Here
the tags that are missing are added to the vocabulary, as ordinary tokens that decoding keeps; a new token's embeddings
start as the mean of those of the tokens that spelt it, and the cold start trains them. Rows that a checkpoint has
beyond its vocabulary (Qwen's padding) are used first; the embeddings grow only where there are none.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers import AddedToken

from reproduce.errors import UserError
from reproduce.tasks.datasets.fetch import model_folder
from reproduce.tasks.prompts import TAGS

RIGHT_PAD = "<|finetune_right_pad_id|>"  # Llama 3.1's token for this, which its tokenizer does not name as such


def load_hub_model(
    name_or_path: str, revision: str | None, device: str, dtype: str, tags: tuple[str, ...] = TAGS
):  # fmt: skip
    """(model, tokenizer) at a revision, with every one of `tags` a token. UserError if there is no such model, it
    cannot be loaded, or its tokenizer has no chat template or no end of sequence."""
    return load_folder(model_folder(name_or_path, revision), name_or_path, device, dtype, tags)


def load_folder(folder: Path, name: str, device: str, dtype: str, tags: tuple[str, ...] = TAGS):
    """As `load_hub_model`, from a folder; name: what error messages call it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), attn_implementation="sdpa")
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
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
    add_tags(model, tokenizer, tags)
    return model.to(device), tokenizer


@torch.no_grad()
def add_tags(model, tokenizer, tags: tuple[str, ...] = TAGS) -> list[str]:
    """Makes each of `tags` one token of `tokenizer`, with embeddings in `model`; returns the tags that were new.

    A tag that a single token spells already stays what it is (Qwen3 has `<think>`). UserError for a tag that is a
    special token, which decoding would drop.
    """
    spelt = {tag: tokenizer.encode(tag, add_special_tokens=False) for tag in tags}
    special = [tag for tag, ids in spelt.items() if len(ids) == 1 and ids[0] in tokenizer.all_special_ids]
    unknown = tokenizer.unk_token_id
    special = [tag for tag in special if spelt[tag] != [unknown]]
    if special:
        raise UserError(f"tokenizer: {special[0]} is a special token, so that texts would lose it")
    new = [tag for tag, ids in spelt.items() if len(ids) != 1 or ids[0] == unknown]
    if not new:
        return []
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in new])
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    matrices = {id(part.weight): part.weight for part in (model.get_input_embeddings(), model.get_output_embeddings())}
    for weight in matrices.values():  # one matrix where the two are tied
        for tag in new:
            weight[tokenizer.convert_tokens_to_ids(tag)] = weight[spelt[tag]].float().mean(0).to(weight.dtype)
    return new


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
