"""The policy as it was before training, which divergences are measured from."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from reproduce.training.adapters import has_adapters
from reproduce.training.fully_sharded import divide
from reproduce.training.own_forward import with_own_forward
from reproduce.training.sampler_copy import divided


def start_of(model: torch.nn.Module) -> torch.nn.Module:
    """A copy of the causal LM by itself, whole, without adapters. model: the policy before training."""
    found = copy.deepcopy(model)
    return with_own_forward(found.unload() if has_adapters(model) else found)


class Reference:
    """A copy of the model that is trained, divided where that is; with adapters there is none, since the model without
    them is the policy.

    model: the policy before training, whole.
    """

    def __init__(self, model: torch.nn.Module):
        self._adapted = model if has_adapters(model) else None
        self._copy = None if self._adapted is not None else start_of(model).eval().requires_grad_(False)
        if self._copy is not None and divided():
            divide(self._copy)

    @contextmanager
    def policy(self) -> Iterator[torch.nn.Module]:
        """The causal LM, in evaluation mode while this is open. Take no gradient."""
        if self._copy is not None:
            yield self._copy
            return
        training = self._adapted.training
        self._adapted.eval()
        try:
            with self._adapted.disable_adapter():
                yield self._adapted
        finally:
            self._adapted.train(training)
