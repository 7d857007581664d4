"""How the trainer passes rows of a batch through a network: in what layout, and how many tokens at a time."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from accelerate import Accelerator
from torch import Tensor

from reproduce.training.layout import Layout
from reproduce.training.micro_batches import own_parts, values_of, whole_loss
from reproduce.training.token_logps import scored_head, token_logps
from reproduce.training.tree_attention import attention_for


def loss_mask(inputs: dict[str, Tensor]) -> Tensor:
    """mask_BT: True at the tokens that the policy sampled, which are those that are trained on.

    Args:
        inputs: completion_mask (B, T), 0 at padding, and tool_mask (B, T), 0 at tokens of tools.
    """
    return (inputs["completion_mask"] * inputs["tool_mask"]).bool()


class Passes:
    """Log-probabilities and losses of rows of a batch, of all processes, under the trainer's settings.

    Args:
        accelerator: knows the model behind wrappers of data parallelism, and makes backward passes.
        layout: how rows stand in a pass.
        tokens_per_pass: the most tokens, padding included, of a pass; None: no limit.
        temperature: of the softmax that tokens were drawn from.
    """

    def __init__(self, accelerator: Accelerator, layout: Layout, tokens_per_pass: int | None, temperature: float):
        self.accelerator, self.layout, self.tokens_per_pass = accelerator, layout, tokens_per_pass
        self.temperature = temperature

    def attending(self, model) -> AbstractContextManager[None]:
        """While open, the model attends as the layout asks. It must be open until the end of a backward pass, which may
        compute layers again, and closed while the model samples."""
        return attention_for(self.accelerator.unwrap_model(model), self.layout)

    def score(self, model, inputs: dict, entropy: bool = False, temperature: float | None = None) -> list:
        """Log-probabilities and entropies of the loss-mask tokens of all rows, in every process.

        Args:
            model: the causal LM, wrapped or not.
            inputs: rows of a batch, as of `token_logps`.
            entropy: whether entropies are asked for.
            temperature: None: that of the step's sampling.

        Returns:
            [logps_BT, entropies_BT or None], in nats, 0 outside the loss mask. Gradient flows into the rows that this
            process passed.
        """
        mask_BT = loss_mask(inputs)
        parts = own_parts(inputs, mask_BT, self.tokens_per_pass, self.layout)
        with self.attending(model):
            return values_of(parts, inputs, mask_BT, self._scorer(model, entropy, temperature))

    def loss(self, model, inputs: dict, loss: Callable[..., Tensor], entropy: bool) -> Tensor:
        """A loss of a mini-batch, of which all micro-batches but the last have been carried backward (`whole_loss`).

        Args:
            model: the policy; `attending` is open.
            inputs: the mini-batch.
            loss: (logps_BT, entropies_BT or None) -> scalar.
            entropy: whether the loss reads entropies.
        """
        mask_BT = loss_mask(inputs)
        parts = own_parts(inputs, mask_BT, self.tokens_per_pass, self.layout)
        return whole_loss(parts, inputs, mask_BT, self._scorer(model, entropy), loss, self._backward)

    def _scorer(self, model, entropy: bool, temperature: float | None = None):
        head = scored_head(self.accelerator.unwrap_model(model))
        t, layout = self.temperature if temperature is None else temperature, self.layout
        return lambda inputs, mask_BT: token_logps(model, head, inputs, mask_BT, t, entropy, layout)

    def _backward(self, loss: Tensor) -> None:
        """The backward pass of a micro-batch that is not the last of its update."""
        self.accelerator.sync_gradients = False  # of DeepSpeed: no step yet
        self.accelerator.backward(loss)
        self.accelerator.sync_gradients = True
