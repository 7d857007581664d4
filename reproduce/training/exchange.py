"""Gradients of whole copies: added up over micro-batches first, then once over processes, in their own type.

DistributedDataParallel exchanges them in the type of the weights and in every backward pass that it sees the forward
pass of. Gradients of bfloat16 weights are float32 here (`master_weights`), and an update has many passes.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from reproduce.training.parallel import add_up, processes
from reproduce.training.sampler_copy import divided

T = TypeVar("T")


class ExchangedOnce:
    """In front of a trainer of transformers, of which each process has the gradient of its own part of the loss."""

    mean = False
    """Whether the loss of a process is that of its own rows alone, so that the whole one is their mean."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        """As of the trainer; before an optimiser step every process has the gradient of all."""
        return self.exchanged(model, partial(super().training_step, model, inputs, num_items_in_batch))

    def exchanged(self, model, backward: Callable[[], T]) -> T:
        """Return `backward()`, which makes gradients of the own part; before a step they are those of all processes."""
        if processes() == 1 or divided():
            return backward()
        with model.no_sync():
            found = backward()
        if self.accelerator.sync_gradients:
            trained = [parameter for parameter in model.parameters() if parameter.grad is not None]
            add_up(trained)
            for parameter in trained if self.mean else ():
                parameter.grad /= processes()
        return found
