"""The end of one vLLM of several in a process: what they share stays as long as somebody needs it.

vLLM's own end, also the one by garbage collection, destroys the process groups that all of them share and torch's
default group, whoever made it, and resets the buffers of all kernels. So only the last vLLM ends that way, and only
where vLLM made the default group. The others are let go of, and the garbage collector frees what they held.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import torch
from torch import distributed

_open = 0
_made = None  # the default group, if a vLLM made it


@contextmanager
def starting() -> Iterator[None]:
    """The vLLM that starts inside counts as open until `end`, from now on: another one may be collected meanwhile."""
    global _open, _made
    before = distributed.is_initialized()
    _open += 1
    try:
        yield
    except BaseException:
        _open -= 1
        raise
    finally:
        if not before and distributed.is_initialized():
            _made = distributed.group.WORLD


def end(client, folder: TemporaryDirectory) -> None:
    """Ends an open vLLM, and with the last one what they share; deletes the folder of its config.

    client: vLLM's `EngineCoreClient` in this process.
    """
    global _open
    _open -= 1
    client.collective_rpc("apply_model", args=(_forget_layers,))
    if _open == 0 and distributed.is_initialized() and distributed.group.WORLD is _made:
        client.shutdown()
    else:
        finalizer = getattr(client, "_finalizer", None)
        if finalizer is not None:
            finalizer.detach()  # it would shut down all the same
        gc.unfreeze()  # vLLM tells the collector to overlook what it made
    folder.cleanup()


def _forget_layers(model) -> None:
    """vLLM 0.31 keeps every layer that was reloaded: its record has weak keys, but the values refer to them."""
    reload = sys.modules.get("vllm.model_executor.model_loader.reload.layerwise")
    record = getattr(reload, "LAYERWISE_INFO", {})
    for layer in model.modules():
        record.pop(layer, None)


def free_memory() -> None:
    """Collects what is left of vLLMs that ended, and gives a GPU's memory back."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
