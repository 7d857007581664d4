"""Estimate a run's GPU memory before launching it.

    python -m reproduce.training.memory 2 --profile gpu [--processes 8] [--sharded] [--card 24]

An estimate: sizes of weights, gradients and optimiser states are exact, what a layer keeps for the backward pass is
counted on the CPU (`tests/training/test_memory.py` measures it again), and `REST` is assumed. No card was at hand to
compare with. Sampling and training take turns, so the larger of the two counts.
"""

import sys
from dataclasses import dataclass, replace

from reproduce.algorithms import load
from reproduce.arguments import Parser, first_line
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.training.engine_settings import settled
from reproduce.training.flops import Model, model_of, vocabulary_of
from reproduce.training.token_logps import KEPT_LOGITS

GB = 1e9
BYTES = {"bfloat16": 2, "float32": 4, "float64": 8}
PROMPT, PROMPT_IN_WORDS = 1024, 128
"""Tokens of a prompt, and where every word is a token: assumed, since the longest is not known before."""
REST = 2.0 * GB
"""CUDA's context, kernels' workspace and what the allocator cannot use: assumed."""
FRAGMENTED = 1.1
"""Factor of passes over the sum of their tensors: assumed."""
KEPT = {"float32": (24.0, 15.75, 16.5, 16.0), "bfloat16": (16.0, 9.75, 10.5, 8.0)}
"""Bytes that a layer keeps for each of its hidden units, query and key dimensions and MLP units, and token; 10 bytes
per attention head and 8 per token come on top. Counted as `kept_bytes` says."""


@dataclass(frozen=True)
class Memory:
    """Bytes on each card. weights, reference (a frozen copy), trained (gradients, optimiser, float32 copies or
    adapters), critic, vllm (its share of the card): all the time; sampling (keys and values) and passes: in turn.
    """

    weights: float
    reference: float
    trained: float
    critic: float
    vllm: float
    sampling: float
    passes: float

    @property
    def resting(self) -> float:
        """There all the time, vLLM left aside."""
        return self.weights + self.reference + self.trained + self.critic + REST

    @property
    def total(self) -> float:
        """The most at any time."""
        return self.resting + self.vllm + max(self.sampling, self.passes)


def kept_bytes(model: Model, dtype: str, again: bool) -> float:
    """Bytes that a token's pass through one layer keeps for the backward pass. again: the layer is computed again.

    Counted tensor by tensor in Transformers' Qwen3 layer with scaled-dot-product attention: its norms work in float32.
    """
    h, query, key = model.hidden, model.heads * model.head_size, model.kv_heads * model.head_size
    if again:
        return h * BYTES[dtype]
    of_h, of_query, of_key, of_mlp = KEPT["bfloat16" if dtype == "bfloat16" else "float32"]
    kept = of_h * h + of_query * query + of_key * key + of_mlp * model.intermediate + 10 * model.heads + 8
    return kept * max(1.0, BYTES[dtype] / 4)


def width_of(job: JobConfig) -> int:
    """Tokens of the longest row: prompt and completion."""
    return (PROMPT if job.model.name_or_path else PROMPT_IN_WORDS) + job.task.max_completion_tokens


def estimate(job: JobConfig, card: float, processes: int = 1, sharded: bool = False) -> Memory:
    """The memory of a run on each of `processes` cards of `card` bytes.

    sharded: weights, gradients and optimiser are divided among the cards (FSDP, ZeRO-3), and each has a whole copy to
    sample from. The longest trajectories are assumed for all rows of a mini-batch, or of a pass (`tokens_per_pass`).
    """
    t, model = job.training, model_of(job.model, vocabulary_of(job))
    size, parts = BYTES[t.dtype], processes if sharded else 1
    width = width_of(job)
    tokens = width * t.prompts_per_step * t.group_size / t.minibatches / processes
    if t.tokens_per_pass is not None:
        tokens = min(tokens, max(width, t.tokens_per_pass))
    weights, name = model.parameters * size, "transformers" if job.engine is None else job.engine.name
    if t.lora is not None:
        trained, reference = 16 * model.adapters(t.lora.rank) / parts, 0.0
    else:
        master = 4 if t.dtype == "bfloat16" else 0
        trained, reference = model.parameters * (max(4, size) + master + 2 * max(4, size)) / parts, float(weights)
    critic = 16 * (model.body + model.head) if load(job.method, **job.algorithm).critic is not None else 0
    layers = kept_bytes(model, t.dtype, bool(t.gradient_checkpointing)) * model.layers
    if t.gradient_checkpointing:
        layers += kept_bytes(model, t.dtype, again=False)  # of the one layer that is computed again
    scored = min(tokens * model.vocabulary, KEPT_LOGITS) * (size + 3 * max(4, size))  # logits, and three of their size
    rows = t.prompts_per_step * t.group_size / (t.rollout_shards or 1)
    sampling = rows * width * model.cache_bytes(size) if name == "transformers" else 0.0
    copy = weights if sharded and name == "transformers" else 0.0
    passes = (tokens * layers + scored) * FRAGMENTED
    found = Memory(weights / parts + copy, reference, trained, float(critic), 0.0, sampling, passes)
    if name != "vllm":
        return found
    if job.engine.kv_cache_gb:
        return replace(found, vllm=job.engine.kv_cache_gb * GB + weights)
    engine = settled(job, model, width, card, found.resting, processes, processes)
    return replace(found, vllm=engine.memory_share * card)


LEVERS = {
    "passes": "lower training.tokens_per_pass or set training.gradient_checkpointing: true",
    "vllm": "lower engine.memory_share, or sample with a server of its own: engine.name: vllm_server",
    "sampling": "raise training.rollout_shards",
    "trained": "set training.lora, or divide the optimiser among cards (fsdp, zero3)",
    "reference": "set training.lora: the model without adapters is the reference then",
    "critic": "take a method without a critic",
    "weights": "take a smaller model.name_or_path, or training.dtype: bfloat16",
}


def check(job: JobConfig, card: float, processes: int = 1, sharded: bool = False) -> Memory:
    """The estimate. UserError that names the largest part and the setting to change if it is more than the card has."""
    found = estimate(job, card, processes, sharded)
    if found.total > card:
        raise UserError(
            f"{job.name} needs about {found.total / GB:.0f} GB on each card, which has {card / GB:.0f}: {lever(found)}"
        )
    return found


def lever(found: Memory) -> str:
    """The largest part, and the setting that lowers it."""
    parts = {name: getattr(found, name) for name in LEVERS}
    largest = max(parts, key=parts.get)
    return f"{largest} take {parts[largest] / GB:.1f} GB; {LEVERS[largest]}"


def main(arguments: list[str] | None = None) -> int:
    """Prints the parts for every method of a table. Exit codes: 0, 2 bad input or more than the card has."""
    parser = Parser(prog="python -m reproduce.training.memory", description=first_line(__doc__))
    parser.add_argument("table")
    parser.add_argument("--profile", default="gpu")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--sharded", action="store_true", help="weights are divided among the processes")
    parser.add_argument("--card", type=float, default=24.0, help="GB of a card")
    try:
        options = parser.parse_args(arguments)
        jobs = TableConfig.load(options.table).jobs(options.profile, seeds=[0])
        names = ("weights", "reference", "trained", "critic", "vllm", "sampling", "passes", "total")
        print(f"{'GB on each card':20}" + "".join(f"{name:>11}" for name in names))
        for job in jobs:
            found = estimate(job, options.card * GB, options.processes, options.sharded)
            print(f"{job.name:20}" + "".join(f"{getattr(found, name) / GB:11.1f}" for name in names))
        for job in jobs:
            check(job, options.card * GB, options.processes, options.sharded)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
