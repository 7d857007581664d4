"""The tokens that end a path."""

from collections.abc import Iterable


def end_ids(eos_id: int, model, stop_ids: Iterable[int] = ()) -> frozenset[int]:
    """Collect the tokens that end a path: the tokenizer's end of sequence, and those of the checkpoint's generation
    config.

    Qwen and Llama checkpoints declare several in `generation_config.json`. To sample on behind one of them would train
    on text that the model never writes.

    Args:
        eos_id: the tokenizer's.
        model: its generation config counts.
        stop_ids: tokens that end a segment; declared ones among them end no path.
    """
    declared = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    more = declared if isinstance(declared, (list, tuple)) else [declared]
    return frozenset({eos_id, *({int(token) for token in more if token is not None} - set(stop_ids))})
