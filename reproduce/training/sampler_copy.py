"""Weights to sample from, where they are not those that train, and how they are kept.

A sampler with weights of its own (vLLM) is handed one whole weight after the other. Transformers' engine samples with
the policy itself, and processes sample different trajectories: they cannot take the same steps together, which weights
in parts need. For that engine each process keeps a whole copy. So does a run that samples while it trains (`ahead`).
"""

import copy
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor

from reproduce.rollouts.engines.weights import put_together, sampled_dtype
from reproduce.training.adapters import has_adapters, with_adapters

WHOLE = "whole.safetensors"


def divided() -> bool:
    """Whether the launcher divides weights among the processes: FSDP, or DeepSpeed."""
    return any(os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true" for name in ("FSDP", "DEEPSPEED"))


class Replica:
    """A copy of `model`, which is to be trained; `model`: the copy, without gradients."""

    def __init__(self, model: torch.nn.Module):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def refresh(self, trained: torch.nn.Module) -> None:
        """Takes over the weights of the policy that is trained. Every process must call it."""
        own = dict(self.model.named_parameters())
        for name, parameter in trained.named_parameters():
            with put_together([parameter]):
                own[name].copy_(parameter.full_tensor() if isinstance(parameter, DTensor) else parameter)


@torch.no_grad()
def save_whole(model: torch.nn.Module, folder: Path, writes: bool) -> None:
    """Writes all weights of the policy, adapters beside theirs, each put together. Every process must call it.

    Trained weights become of the type that they are sampled with.

    Args:
        model: the policy, in parts or whole.
        folder: of the checkpoint.
        writes: whether this process does it.
    """
    found, dtype = {}, None if has_adapters(model) else sampled_dtype(model)
    for name, parameter in model.named_parameters():
        with put_together([parameter]):
            weight = parameter if dtype is None else parameter.to(dtype)
            weight = weight.full_tensor() if isinstance(weight, DTensor) else weight
            if writes:
                found[name] = weight.detach().to("cpu", copy=True).contiguous()
    if writes:
        save_file(found, folder / WHOLE)


@torch.no_grad()
def load_whole(model: torch.nn.Module, folder: Path) -> None:
    """Reads them back, into a model that is whole or in parts. Every process must call it."""
    saved = load_file(folder / WHOLE)
    for name, parameter in model.named_parameters():
        value = saved[name].to(parameter.device)
        if isinstance(parameter, DTensor):
            value = distribute_tensor(value, parameter.device_mesh, parameter.placements)
        with put_together([parameter], written=True):
            parameter.copy_(value)


def prepared(
    model: torch.nn.Module, lora, seed: int, copied: bool = True, stale: bool = False
) -> tuple[torch.nn.Module, torch.nn.Module, Replica | None]:
    """Prepare a policy for training, and what engines sample from.

    Args:
        model: the policy; without a copy, adapters work inside it, and it stays what engines sample from.
        lora: `LoraConfig`; None: all weights are trained.
        seed: of the adapters (`adapters.with_adapters`).
        copied: whether engines need a whole copy where weights are divided.
        stale: whether engines sample while the policy trains.

    Returns:
        (trained, sampled, replica): the policy with its adapters, what engines sample from, and the copy if it is one.
    """
    trained = model if lora is None else with_adapters(model, lora, seed)
    if not stale and not (divided() and copied):
        return trained, model, None
    replica = Replica(trained)
    return trained, replica.model if lora is None else replica.model.get_base_model(), replica
