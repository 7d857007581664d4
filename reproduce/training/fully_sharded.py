"""Weights divided among the processes by FSDP 2, layer by layer, on cards and on CPUs: policy, critic, reference.

A process holds its part of every weight, gradient and optimiser state, and a whole layer only while that layer is
computed. Trained bfloat16 weights become float32 parts, cast to bfloat16 for each pass; their gradients are summed over
processes and micro-batches in float32. Values that leave the model keep their type.
"""

import os
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin, PartialState
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

from reproduce.errors import UserError
from reproduce.training.parallel import processes
from reproduce.training.sampler_copy import divided

OFFLOAD = "FSDP_OFFLOAD_PARAMS"
"""accelerate's variable: parts, gradients and optimiser states lie on the CPU."""


def on_cpus() -> None:
    """Tells accelerate that processes on CPUs use FSDP, which it would choose by itself for cards alone.

    Called between TRL's settings, which forget what accelerate knew, and the trainer. On cards it does nothing.
    """
    known = PartialState()
    if known.distributed_type == DistributedType.MULTI_CPU and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        state = Accelerator(cpu=True).state  # which all later ones share
        state.fsdp_plugin = FullyShardedDataParallelPlugin()
        state.distributed_type = known.distributed_type = DistributedType.FSDP


def divide_trained(accelerator: Accelerator, model: torch.nn.Module, mean: bool = False) -> None:
    """Divides the model that a trainer is about to train, before its optimiser is made, if the launcher asks for FSDP.

    accelerate, which then finds it divided, would make it float32 as a whole first.

    Args:
        accelerator: of the trainer.
        model: whole.
        mean: as of `divide`.

    Raises:
        UserError: weights are to be divided and accelerate does not: without cards it does so for several processes
            and FSDP alone.
    """
    if accelerator.distributed_type == DistributedType.FSDP:
        accelerator.state.fsdp_plugin.auto_wrap_policy = None
        divide(model, mean)
    elif divided() and accelerator.distributed_type != DistributedType.DEEPSPEED:
        raise UserError("the launcher divides weights; on CPUs that takes FSDP and two processes: take fsdp_cpu")


def divide(model: torch.nn.Module, mean: bool = False) -> torch.nn.Module:
    """`model`, of which this process keeps its part. Every process must call it, with the same whole model.

    Args:
        mean: its gradients are the means of those of the processes, for losses that are means over own rows; else
            their sums.

    Raises:
        UserError: the model does not say what its layers are (`_no_split_modules`).
    """
    kinds = set(getattr(model, "_no_split_modules", None) or ())
    layers = [module for module in model.modules() if type(module).__name__ in kinds]
    if not layers:
        raise UserError(f"model: {type(model).__name__} names no layers by which its weights could be divided")
    low, device = model.dtype == torch.bfloat16, model.device.type
    trained = any(parameter.requires_grad for parameter in model.parameters())
    options = {
        "reshard_after_forward": None
        if trained
        else True,  # None: what is outside the layers waits for the backward pass
        "mesh": init_device_mesh(device, (processes(),)),
        "mp_policy": MixedPrecisionPolicy(torch.bfloat16, torch.float32) if low else MixedPrecisionPolicy(),
        "offload_policy": CPUOffloadPolicy() if _offloaded() and device != "cpu" else OffloadPolicy(),
    }
    inputs, head = model.get_input_embeddings(), model.get_output_embeddings()
    embeddings = [inputs] if inputs.weight is not head.weight else []
    for unit in [*layers, *embeddings, model]:
        for parameter in unit.parameters():
            if parameter.requires_grad and parameter.dtype == torch.bfloat16:
                parameter.data = parameter.data.float()
        fully_shard(unit, **options)
        if not mean:
            unit.set_force_sum_reduction_for_comms(True)
            unit.set_gradient_divide_factor(1.0)
    return model


def _offloaded() -> bool:
    return os.environ.get(OFFLOAD, "").lower() == "true"


def save_parts(model: torch.nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Writes a divided model and its optimiser to `folder`, each process its part. Every process must call it."""
    weights, states = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": states}, checkpoint_id=folder)


def load_parts(model: torch.nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Reads back what `save_parts` wrote. Every process must call it."""
    weights, states = get_state_dict(model, optimizer)
    dcp.load({"model": weights, "optimizer": states}, checkpoint_id=folder)
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=states)
