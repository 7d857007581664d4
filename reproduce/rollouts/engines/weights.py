"""The weights of a training model as vLLM loads them: under the names of a checkpoint, adapters merged.

Weights that training divides among processes (FSDP 2, ZeRO-3) come one after the other, each put together from the
parts of all processes. Every process must then iterate, in step with the others and to the end.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch

HEAD = "lm_head.weight"


@torch.no_grad()
def named_weights(model, dtype: torch.dtype | None = None) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (name, tensor) of everything that a causal LM's checkpoint holds, always including the head.

    A head that shares the embeddings' memory comes under its own name too: see `vllm_local`. A layer with adapters of
    peft (inside `model`, as `training.adapters` puts them) gives its weight with the adapters' product added; the layer
    itself is unchanged.

    Args:
        model: the causal LM.
        dtype: of the tensors; None: that of the weights, which training may have made wider than the sampler's.
    """
    adapted = {name: module for name, module in model.named_modules() if hasattr(module, "get_delta_weight")}
    names = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        layer = next((part for part in adapted if name.startswith(f"{part}.")), None)
        if layer is not None:
            rest = name.removeprefix(f"{layer}.")
            if not rest.startswith("base_layer."):
                continue
            name = f"{layer}.{rest.removeprefix('base_layer.')}"
            if rest == "base_layer.weight":
                names.add(name)
                yield name, _merged(adapted[layer], tensor, dtype)
                continue
        names.add(name)
        yield name, _whole(tensor, dtype)
    if HEAD not in names:
        yield HEAD, _whole(model.get_output_embeddings().weight, dtype)


def is_divided(tensor: torch.Tensor) -> bool:
    """Whether training keeps a part of the tensor in each process."""
    return hasattr(tensor, "full_tensor") or hasattr(tensor, "ds_id")


def divides(model) -> bool:
    """Whether any of a model's weights is divided."""
    return any(is_divided(parameter) for parameter in model.parameters())


def put_together(tensors: Iterable[torch.Tensor], written: bool = False) -> AbstractContextManager:
    """While open, those of the tensors that ZeRO-3 divides are whole. written: by process 0, for all of them."""
    parts = [tensor for tensor in tensors if hasattr(tensor, "ds_id")]
    if not parts:
        return nullcontext()
    from deepspeed.zero import GatheredParameters

    return GatheredParameters(parts, modifier_rank=0 if written else None)


def _whole(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """All of a tensor. It is cast before it is put together, so that processes send no more than is asked for."""
    with put_together([tensor]):
        found = tensor.detach()
        if dtype is not None and found.is_floating_point():
            found = found.to(dtype)
        if hasattr(found, "full_tensor"):
            return found.full_tensor()
        return found.clone() if hasattr(tensor, "ds_id") else found  # whose memory goes back when the context ends


def _merged(layer, weight: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """The weight of a layer with its adapters' product added, in float32 before it becomes `dtype`."""
    with put_together(layer.parameters()):
        found = _whole(weight, None).float()
        for adapter in layer.active_adapters:
            found = found + _whole(layer.get_delta_weight(adapter), None).to(found)
        return found.to(dtype or weight.dtype)


def sampled_dtype(model) -> torch.dtype:
    """The type that a sampler of `model` works in: its own, which training in parts makes float32 for itself."""
    return (divides(model) and getattr(model.config, "dtype", None)) or model.dtype


def version_of(model) -> tuple:
    """Return a value that changes whenever a parameter of `model` is written to in place, and only then.

    Weights in parts do not show it: whoever writes to them has to say so (`EngineHost.weights_changed`).
    """
    if divides(model):
        return (id(model),)
    return id(model), tuple((p.data_ptr(), p._version) for p in model.parameters())
