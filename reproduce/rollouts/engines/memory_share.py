"""vLLM's part of a card, and how many cards share one vLLM: what it asks for before anything is loaded.

Pure arithmetic, without torch or vLLM, so that an estimate reads the numbers that a run takes. Sizes are in bytes.
"""

from dataclasses import dataclass

from reproduce.errors import UserError

GB = 1e9
WEIGHTS_OF_CARD = 0.4
"""The most that vLLM's weights take of a card, where tensor parallelism is chosen here: assumed."""
MOST_OF_CARD = 0.9
"""The most that vLLM takes of a card: its own default (`gpu_memory_utilization`)."""
FEWEST_SEQUENCES = 8
"""Sampling fewer at a time wastes the card: assumed."""
CPU_SHARE = 0.3
"""vLLM's part of the memory of a machine without cards (TRL's default, `vllm_gpu_memory_utilization`)."""
REST = 2.0 * GB
"""Of vLLM beside weights and cache (activations, CUDA graphs, kernels' workspace): assumed."""


@dataclass(frozen=True)
class Sampled:
    """A model as vLLM holds it. weights: of all of it; sequence: keys and values of one that fills the context.

    heads, kv_heads: of its attention, which tensor parallelism divides.
    """

    weights: float
    sequence: float
    heads: int
    kv_heads: int

    def weights_on(self, cards: int) -> float:
        """On each of the cards that share them."""
        return self.weights / cards

    def sequence_on(self, cards: int) -> float:
        """On each of them: where there are fewer key-value heads than cards, some have the same ones."""
        return self.sequence / min(cards, self.kv_heads)


def check_tensor_parallel(cards: int, model: Sampled, processes: int, of_node: int) -> None:
    """UserError if `cards` cannot share a model: as many processes of one node form a group.

    processes: of the run; of_node: of those, the ones of a node.
    """
    if model.heads % cards:
        problem = f"does not divide the {model.heads} attention heads of the model"
    elif model.kv_heads % cards and cards % model.kv_heads:
        problem = f"and the {model.kv_heads} key-value heads of the model do not divide each other"
    elif of_node % cards or processes % cards:
        problem = f"does not divide the {of_node} processes of a node"
    else:
        return
    raise UserError(f"engine.tensor_parallel: {cards} {problem}")


def tensor_parallel(model: Sampled, card: float, processes: int, of_node: int) -> int:
    """The smallest power of two by which weights take at most `WEIGHTS_OF_CARD` of a card.

    Where no such number divides heads and processes of a node, the largest that does; UserError if the weights do not
    fit on so many cards at all.
    """
    found, cards = 1, 1
    while cards <= of_node:
        try:
            check_tensor_parallel(cards, model, processes, of_node)
        except UserError:
            break
        found = cards
        if model.weights_on(cards) <= WEIGHTS_OF_CARD * card:
            break
        cards *= 2
    if model.weights_on(found) + REST > MOST_OF_CARD * card:
        raise UserError(
            f"model.name_or_path: its weights take {model.weights / GB:.1f} GB, more than the {found} cards of "
            f"{card / GB:.1f} GB on which vLLM can divide them: take a smaller model, more cards a node, or "
            "engine.name: vllm_server"
        )
    return found


def memory_share(model: Sampled, cards: int, card: float, resting: float, max_sequences: int) -> float:
    """vLLM's share of a card: weights, the cache of as many full sequences as fit up to `max_sequences`, and `REST`.

    resting: what the trainer keeps on a card while vLLM samples; vLLM gets at most what is left, and at most
    `MOST_OF_CARD`. UserError if there is no room for the weights and `FEWEST_SEQUENCES`.
    """
    left = min(card - resting, MOST_OF_CARD * card)
    room = left - model.weights_on(cards) - REST
    sequences = min(int(max(room, 0) // model.sequence_on(cards)), max_sequences)
    if sequences < min(FEWEST_SEQUENCES, max_sequences):
        needed = model.weights_on(cards) + REST + min(FEWEST_SEQUENCES, max_sequences) * model.sequence_on(cards)
        raise UserError(
            f"engine.memory_share: vLLM needs {needed / GB:.1f} GB of a card of {card / GB:.1f} GB, of which "
            f"{max(left, 0) / GB:.1f} are left beside the trainer: raise engine.tensor_parallel, lower "
            "engine.max_context, or divide what is trained among more cards"
        )
    return (model.weights_on(cards) + REST + sequences * model.sequence_on(cards)) / card


def check_share(share: float, model: Sampled, cards: int, card: float) -> None:
    """UserError if a given share holds less than the weights."""
    if share * card <= model.weights_on(cards):
        raise UserError(
            f"engine.memory_share: {share} of a card of {card / GB:.1f} GB is less than the model's weights, "
            f"{model.weights_on(cards) / GB:.1f} GB: raise it, leave it out (it is computed then), or raise "
            "engine.tensor_parallel"
        )
