"""The weights of a training model as vLLM loads them: under the names of a checkpoint, adapters merged."""

from collections.abc import Iterator

import torch

HEAD = "lm_head.weight"


@torch.no_grad()
def named_weights(model) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (name, tensor) of everything that a causal LM's checkpoint holds, always including the head.

    A head that shares the embeddings' memory comes under its own name too: see `vllm_local`. A layer with adapters of
    peft (inside `model`, as `training.adapters` puts them) gives its weight with the adapters' product added; the layer
    itself is unchanged.
    """
    adapted = {name: module for name, module in model.named_modules() if hasattr(module, "get_delta_weight")}
    names = set()
    for name, tensor in model.state_dict().items():
        layer = next((part for part in adapted if name.startswith(f"{part}.")), None)
        if layer is not None:
            rest = name.removeprefix(f"{layer}.")
            if not rest.startswith("base_layer."):
                continue
            name = f"{layer}.{rest.removeprefix('base_layer.')}"
            if rest == "base_layer.weight":
                tensor = _merged(adapted[layer], tensor)
        names.add(name)
        yield name, tensor.detach()
    if HEAD not in names:
        yield HEAD, model.get_output_embeddings().weight.detach()


def _merged(layer, weight: torch.Tensor) -> torch.Tensor:
    whole = weight.float()
    for adapter in layer.active_adapters:
        whole = whole + layer.get_delta_weight(adapter).to(whole)
    return whole.to(weight.dtype)


def version_of(model) -> tuple:
    """Return a value that changes whenever a parameter of `model` is written to in place, and only then."""
    return id(model), tuple((p.data_ptr(), p._version) for p in model.parameters())
