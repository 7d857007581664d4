"""Services of a run to the states of its method (`RunServices`): the policy, copies of it, and a critic's network."""

import copy
from collections.abc import Callable

import torch

from reproduce.algorithms import Algorithm
from reproduce.algorithms.parts.state import RunServices
from reproduce.errors import UserError
from reproduce.training.critic import Critic
from reproduce.training.own_forward import with_own_forward
from reproduce.training.passes import Passes
from reproduce.training.sampler_copy import divided
from reproduce.training.token_logps import scored_head


def services_of(
    trained: Callable[[], torch.nn.Module], algorithm: Algorithm, passes: Passes, args, max_turns: int, offload: bool
) -> RunServices:
    """Services of a run, made before its weights are divided among processes.

    Args:
        trained: gives the policy, wrapped as the trainer has it then.
        passes: how its rows are passed.
        args: TRL's config: learning rate, weight decay, gradient checkpointing, seed.
        max_turns: the most turns of a trajectory.
        offload: the critic's optimiser lies on the CPU.
    """

    def value_network() -> Critic:
        return Critic(
            trained(),
            algorithm,
            args.learning_rate,
            args.weight_decay,
            layout=passes.layout,
            tokens_per_pass=passes.tokens_per_pass,
            offload=offload,
            checkpointing=args.gradient_checkpointing_kwargs if args.gradient_checkpointing else None,
        )

    def policy():
        if divided():
            raise UserError("a part asks for the policy's weights, which the launcher divides: take one_gpu or ddp")
        return passes.accelerator.unwrap_model(trained())

    def policy_copy():
        return with_own_forward(copy.deepcopy(policy())).eval().requires_grad_(False)

    @torch.no_grad()
    def logps(tensors: dict, other=None, temperature: float | None = None) -> torch.Tensor:
        return passes.score(trained() if other is None else other, tensors, temperature=temperature)[0]

    vocabulary = scored_head(trained()).weight.shape[0]
    return RunServices(max_turns, args.seed, value_network, policy, policy_copy, logps, vocabulary)
