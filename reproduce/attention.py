"""The attention that a model of Transformers computes with."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def attending(model, name: str) -> Iterator[None]:
    """While open, the model attends by the implementation of this name in Transformers' registry."""
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
