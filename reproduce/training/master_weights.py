"""AdamW on copies of the weights: in float32 for bfloat16 weights, and on the CPU where cards are to hold less.

At RL's learning rates a step is about 1e-6 and a weight about 1e-2; bfloat16 has 8 bits, so the sum would be rounded
back to the weight and nothing would be learned. Mixed-precision training therefore keeps a float32 copy of what it
trains (arXiv 1710.03740); the model itself stays in bfloat16, so that sampling and training use the same numbers. For
the same reason the gradients of micro-batches are added up in float32.
"""

import torch

from reproduce.training.sampler_copy import divided


class MasterAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW` on copies of the parameters, which are rounded to the copies after every step.

    Arguments and groups as of AdamW. Copies are float32, or float64 as the parameters. Memory beside parameters and
    gradients: 12 bytes a float32 copy. From here on bfloat16 parameters get float32 gradients. The state dict holds the
    copies, under `copies`.
    """

    place: str | None = None
    """The device of copies and states; None: that of the parameters."""

    def __init__(self, params, **options):
        groups = [dict(group) for group in params]
        self.trained = [parameter for group in groups for parameter in group["params"]]
        for parameter in self.trained:
            if parameter.dtype == torch.bfloat16:
                parameter.grad_dtype = torch.float32
        for group in groups:
            group["params"] = [torch.nn.Parameter(self._copied(p.detach())) for p in group["params"]]
        super().__init__(groups, **options)

    def _copied(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self.place or values.device, torch.promote_types(values.dtype, torch.float32), copy=True)

    @property
    def copies(self) -> list[torch.nn.Parameter]:
        """The copies, in the order of `trained`."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As of any optimiser, for the parameters of the model; their gradients always become None."""
        for parameter in self.trained:
            parameter.grad = None

    @torch.no_grad()
    def step(self, closure=None):
        """One step. closure: as of any optimiser."""
        for parameter, kept in zip(self.trained, self.copies, strict=True):
            kept.grad = None if parameter.grad is None else parameter.grad.to(kept)
        loss = super().step(closure)
        for parameter, kept in zip(self.trained, self.copies, strict=True):
            parameter.copy_(kept)
            kept.grad = None
        return loss

    def state_dict(self) -> dict:
        """As of AdamW, with the copies."""
        return super().state_dict() | {"copies": [kept.detach() for kept in self.copies]}

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        """As `state_dict` gave it. Raises KeyError for the state of an optimiser without copies."""
        state = dict(state)
        for parameter, kept, saved in zip(self.trained, self.copies, state.pop("copies"), strict=True):
            kept.copy_(saved)
            parameter.copy_(kept)
        super().load_state_dict(state)


def low_precision(model: torch.nn.Module | None) -> bool:
    """Whether bfloat16 weights of the model are trained."""
    return model is not None and any(p.requires_grad and p.dtype == torch.bfloat16 for p in model.parameters())


class OffloadedAdamW(MasterAdamW):
    """`MasterAdamW` whose copies and states lie on the CPU, where its steps are made."""

    place = "cpu"


def in_float32(optimizer: type, model: torch.nn.Module | None, offload: bool = False) -> type:
    """The optimiser for a model: `MasterAdamW` in place of AdamW where bfloat16 weights are trained.

    FSDP and DeepSpeed, which divide weights, keep float32 copies themselves.

    Args:
        optimizer: the class that would be taken.
        model: that is trained.
        offload: `training.offload_optimizer`, of weights that are not divided.
    """
    if divided():
        return optimizer
    return OffloadedAdamW if offload else MasterAdamW if low_precision(model) else optimizer
