"""vLLM's settings that a config leaves open: how many cards share it, and its part of each.

Settled, and checked, from the model's shape and the card before anything is loaded.
"""

from dataclasses import replace

from reproduce.config.engine import EngineConfig
from reproduce.config.tables import JobConfig
from reproduce.rollouts.engines.memory_share import (
    Sampled,
    check_share,
    check_tensor_parallel,
    memory_share,
    tensor_parallel,
)
from reproduce.training.flops import Model

BYTES = {"bfloat16": 2, "float32": 4, "float64": 8}


def sampled(job: JobConfig, model: Model, width: int) -> Sampled:
    """A run's model as vLLM holds it, in bytes.

    Args:
        model: its shape.
        width: tokens of the longest path, where the config sets no context.
    """
    size = BYTES[job.training.dtype]
    sequence = (job.engine.max_context or width) * model.cache_bytes(size)
    return Sampled(float(model.parameters * size), float(sequence), model.heads, model.kv_heads)


def settled(
    job: JobConfig, model: Model, width: int, card: float, resting: float, processes: int = 1, of_node: int = 1
) -> EngineConfig | None:
    """The section `engine` of a run with `tensor_parallel` and, on cards, `memory_share` filled in.

    Args:
        model: its shape.
        width: as for `sampled`.
        card: bytes of one; 0: a CPU, which vLLM shares by its own rule.
        resting: bytes of a card that the trainer keeps while vLLM samples.
        processes: of the run.
        of_node: of a node.

    Raises:
        UserError: the settings do not fit the model or the processes.
    """
    engine = job.engine
    if engine is None or engine.name != "vllm":
        return engine
    held, cards = sampled(job, model, width), engine.tensor_parallel
    if cards is None:
        cards = tensor_parallel(held, card, processes, of_node) if card else 1
    check_tensor_parallel(cards, held, processes, of_node)
    share = engine.memory_share
    if card and share is not None:
        check_share(share, held, cards, card)
    elif card and engine.kv_cache_gb is None:
        share = memory_share(held, cards, card, resting, engine.max_sequences)
    return replace(engine, tensor_parallel=cards, memory_share=share)
