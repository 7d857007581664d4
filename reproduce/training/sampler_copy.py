"""A whole copy of the policy to sample from, where training divides its weights among processes.

Processes sample different trajectories, so they cannot take the same steps together, which weights in parts need.
"""

import copy
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from reproduce.training.adapters import with_adapters

WHOLE = "whole.safetensors"


def divided() -> bool:
    """Whether the launcher divides weights among the processes: FSDP, or DeepSpeed."""
    return any(os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true" for name in ("FSDP", "DEEPSPEED"))


class Replica:
    """A copy of `model`, which is to be trained in parts; `model`: the copy, without gradients."""

    def __init__(self, model: torch.nn.Module):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def refresh(self, trained: torch.nn.Module) -> None:
        """Takes over the weights of the policy that is trained. Every process must call it."""
        own = dict(self.model.named_parameters())
        for name, parameter in trained.named_parameters():
            _take_over(own[name], parameter)

    def save(self, folder: Path) -> None:
        """Writes the weights as they are here."""
        save_file({name: value.contiguous() for name, value in self.model.named_parameters()}, folder / WHOLE)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Reads them back."""
        saved = load_file(folder / WHOLE)
        for name, value in self.model.named_parameters():
            value.copy_(saved[name])


def _take_over(own: torch.Tensor, parameter: torch.Tensor) -> None:
    if hasattr(parameter, "full_tensor"):  # FSDP2
        own.copy_(parameter.full_tensor())
    elif hasattr(parameter, "ds_id"):  # ZeRO-3
        from deepspeed.zero import GatheredParameters

        with GatheredParameters([parameter]):
            own.copy_(parameter)
    else:
        own.copy_(parameter)


def prepared(model: torch.nn.Module, lora, seed: int) -> tuple[torch.nn.Module, torch.nn.Module, Replica | None]:
    """(trained, sampled, replica): the policy with its adapters, what engines sample from, and the copy if it is one.

    lora: `LoraConfig` or None, seed: as for `adapters.with_adapters`. Adapters work inside `model`, which stays what
    engines sample from unless the weights are divided.
    """
    trained = model if lora is None else with_adapters(model, lora, seed)
    if not divided():
        return trained, model, None
    replica = Replica(trained)
    return trained, replica.model if lora is None else replica.model.get_base_model(), replica
