"""The critic: a network of the policy's kind that gives every token a value, with an optimiser of its own.

It starts as a copy of the policy's backbone with a scalar head of zeros, so that its first value is 0 everywhere and no
random number is drawn (assumed; verl's head starts at random). The value of a token is read where the policy's logits
for that token are: it is the value of the state before the token.
"""

from pathlib import Path

import torch
from torch import Tensor

from reproduce.algorithms import Algorithm
from reproduce.algorithms.parts.critics import explained_variance
from reproduce.algorithms.parts.state import RolloutBatch, State
from reproduce.errors import UserError
from reproduce.precision import wide
from reproduce.training.fully_sharded import divide, load_parts, save_parts
from reproduce.training.layout import Layout
from reproduce.training.master_weights import in_float32
from reproduce.training.micro_batches import own_parts, values_of, whole_loss
from reproduce.training.parallel import add_up, processes
from reproduce.training.reference import start_of
from reproduce.training.sampler_copy import divided
from reproduce.training.token_logps import passes, placed
from reproduce.training.tree_attention import attention_for


class Critic(State):
    """Values of the loss-mask tokens, and one AdamW step on `algorithm.value_loss` per mini-batch of the policy.

    policy: the causal LM at its start, whole; it is copied, never changed. Weights are of its type; AdamW steps on
    float32 copies of bfloat16 ones (`master_weights`), and the scalar head is float32 by itself. Passes run under
    autocast in the policy's type. Weights are divided where the policy's are. learning_rate: of the policy, unless the
    method sets the critic's. tokens_per_pass, layout: as of the policy's passes. offload: copies and states of its
    optimiser lie on the CPU. checkpointing: how layers are computed again in the backward pass, in transformers' words;
    None: they are not.
    """

    name = "critic"
    makes = ("values_BT", "returns_BT")

    def __init__(
        self,
        policy,
        algorithm: Algorithm,
        learning_rate: float,
        weight_decay: float,
        *,
        layout: Layout = Layout.PADDED,
        tokens_per_pass: int | None = None,
        offload: bool = False,
        checkpointing: dict | None = None,
    ):
        settings = algorithm.critic
        self.dtype, device = policy.dtype, policy.device
        head = policy.get_output_embeddings()
        if head is None:
            raise UserError(f"model: {type(policy).__name__} has no output embeddings for a critic to replace")
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        network = start_of(policy).requires_grad_(True).eval()
        value_head = torch.nn.Linear(head.in_features, 1, dtype=dtype, device=device)
        torch.nn.init.zeros_(value_head.weight)
        torch.nn.init.zeros_(value_head.bias)
        network.config.tie_word_embeddings = False
        network.set_output_embeddings(value_head)
        if checkpointing is not None:
            network.train().gradient_checkpointing_enable(checkpointing)
        if divided():
            divide(network)
        self.network, self.algorithm = network, algorithm
        self.tokens_per_pass, self.layout = tokens_per_pass, layout
        self.max_grad_norm = settings.critic_max_grad_norm
        rate = learning_rate if settings.critic_learning_rate is None else settings.critic_learning_rate
        options = (
            {"fused": True} if device.type == "cuda" else {}
        )  # AdamW's own choice there holds copies of everything
        kind = in_float32(torch.optim.AdamW, network, offload)
        self.optimizer = kind([{"params": list(network.parameters())}], lr=rate, weight_decay=weight_decay, **options)

    def on_batch(self, batch: RolloutBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Values and returns of the batch, and how much of the returns the values explain."""
        mask_BT, fold = batch.mask_BT, batch.fold
        values_BT = self.values(batch.tensors, mask_BT)
        returns_BT = fold.split(self.algorithm.returns(batch.rewards_J, fold.mask_JL, fold.join(values_BT)))
        explained = explained_variance(values_BT, returns_BT, mask_BT)
        return {"values_BT": values_BT, "returns_BT": returns_BT}, {"value_explained_variance": explained}

    def on_minibatch(self, tensors: dict[str, Tensor], mask_BT: Tensor) -> dict[str, float]:
        """One optimiser step; see `update`."""
        return self.update(tensors, mask_BT, tensors["values_BT"], tensors["returns_BT"])

    @torch.no_grad()
    def values(self, inputs: dict, mask_BT: Tensor) -> Tensor:
        """Value tokens, without gradient.

        Args:
            inputs: as of `token_logps`.
            mask_BT: the loss mask.

        Returns:
            values_BT in the unit of rewards, as wide as the weights, 0 outside the mask.
        """
        with attention_for(self.network, self.layout):
            (values_BT,) = values_of(self._parts(inputs, mask_BT), inputs, mask_BT, self._score)
        return values_BT

    def _parts(self, inputs: dict, mask_BT: Tensor):
        return own_parts(inputs, mask_BT, self.tokens_per_pass, self.layout)

    def _score(self, inputs: dict, mask_BT: Tensor) -> tuple[Tensor]:
        device = mask_BT.device.type
        found, places = [], []
        with torch.autocast(device, dtype=self.dtype, enabled=self.dtype == torch.bfloat16):
            for one in passes(inputs, mask_BT, self.layout):
                values = self.network(**one.network, use_cache=False).logits[..., 0]
                found.append(one.of_places(wide(values[one.row, one.before])))
                places.append(one.place)
        return (placed(torch.cat(found), torch.cat(places), mask_BT),)

    def update(self, inputs: dict, mask_BT: Tensor, old_values_BT: Tensor, returns_BT: Tensor) -> dict[str, float]:
        """One optimiser step on a mini-batch.

        Every process has the loss of the whole mini-batch and the gradient of its own rows; gradients are added up.

        Args:
            inputs: as of `token_logps`.
            mask_BT: the loss mask.
            old_values_BT: values at rollout.
            returns_BT: their targets.

        Returns:
            Metrics of `Algorithm.value_loss`, and value_grad_norm (before clipping).
        """
        metrics: dict[str, float] = {}

        def loss(values_BT):
            loss, found = self.algorithm.value_loss(values_BT, old_values_BT, returns_BT, mask_BT)
            metrics.update(found)
            return loss

        self.optimizer.zero_grad(set_to_none=True)
        parts = self._parts(inputs, mask_BT)
        with attention_for(self.network, self.layout):
            whole_loss(parts, inputs, mask_BT, self._score, loss, torch.Tensor.backward).backward()
        parameters = list(self.network.parameters())
        if all(parameter.grad is None for parameter in parameters):
            raise RuntimeError("the critic's values do not come from its network: another forward is bound to it")
        if processes() > 1 and not divided():
            add_up(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        self.optimizer.step()
        return metrics | {"value_grad_norm": float(norm.full_tensor() if divided() else norm)}

    def state_dict(self) -> dict:
        """Weights and optimiser state; nothing where they are divided."""
        if divided():
            return {}
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """The critic as `state_dict` gave it."""
        if not divided():
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])

    def save_parts(self, folder: Path) -> None:
        """Writes this process's part of weights and optimiser state, if they are divided."""
        if divided():
            save_parts(self.network, self.optimizer, folder / self.name)

    def load_parts(self, folder: Path) -> None:
        """Reads back what `save_parts` wrote."""
        if divided():
            load_parts(self.network, self.optimizer, folder / self.name)
