"""The policy as it was before training: what divergences are measured from, and where a critic starts."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from reproduce.training.adapters import has_adapters


class Reference:
    """A copy of the model that is trained; with adapters there is none, since the model without them is the policy."""

    def __init__(self, model: torch.nn.Module):
        self._adapted = model if has_adapters(model) else None
        self._copy = None if self._adapted is not None else copy.deepcopy(model).eval().requires_grad_(False)

    def to(self, device) -> "Reference":
        """On `device`; adapters go where their model does."""
        if self._copy is not None:
            self._copy.to(device)
        return self

    def whole(self) -> torch.nn.Module:
        """The causal LM by itself, without adapters. Do not train it: it may be the reference."""
        return copy.deepcopy(self._adapted).unload() if self._copy is None else self._copy

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
