"""Remove the forward that a TRL trainer leaves on a model."""

import torch


def with_own_forward(model: torch.nn.Module) -> torch.nn.Module:
    """The model with the forward of its class again.

    TRL's trainers bind another one to the instance, which calls the first through a closure. A copy of such a model
    would run the forward, the weights and the head of the model that it was copied from.
    """
    model.__dict__.pop("forward", None)
    return model
