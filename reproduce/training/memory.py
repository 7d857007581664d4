"""Estimate a run's memory on each card, part by part, before anything is loaded.

    python -m reproduce.training.memory 2 --profile paper [--processes 8] [--divided] [--card 80]

Weights, gradients and optimiser states follow from the shape of the model; what a pass holds is counted tensor by
tensor. `python -m reproduce.commands.memory_check` compares both with the real step on fake tensors and with real peaks
on a CPU. `REST`, `FRAGMENTED` and vLLM's own needs are assumed: no card was at hand. Sampling and
training take turns, so the larger of the two counts.
"""

import math
import sys
from dataclasses import dataclass, fields, replace

from reproduce.algorithms import load
from reproduce.arguments import Parser, first_line
from reproduce.config.sections import WARM_START
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.rollouts.engines import memory_share
from reproduce.training.engine_settings import BYTES, sampled
from reproduce.training.flops import Model, model_of, vocabulary_of
from reproduce.training.token_logps import KEPT_LOGITS

GB = 1e9
PROMPT, PROMPT_IN_WORDS = 1024, 128
"""Tokens of a prompt, and where every word is a token: assumed, since the longest is not known before."""
REST = 2.0 * GB
"""CUDA's context, NCCL's buffers and kernels' workspace: assumed."""
SFT_CHUNK = 256
"""Tokens whose logits TRL's `SFTTrainer` holds at a time."""
FRAGMENTED = 0.1
"""Share of passes that the allocator cannot use: assumed."""
SPARE = 0.1
"""Share of a card that a run leaves free where there is a choice."""
ASLEEP = 1.5 * GB
"""What vLLM keeps while it sleeps (CUDA graphs, its own context): assumed."""
KEPT = {"float32": (24.0, 15.75, 16.5, 16.0), "bfloat16": (16.0, 9.75, 10.5, 8.0)}
"""Bytes that a layer keeps for each of its hidden units, query and key dimensions and MLP units, and token; 10 bytes
per attention head and 8 per token come on top. Counted as `kept_bytes` says."""
BACKWARD = (2.0, 3.0)
"""Values for each hidden unit and MLP unit, and token, that the backward pass of a layer holds at its peak beside what
was kept. Counted on fake tensors."""
NORMED = 10.0
"""Bytes for each hidden unit and token that the norm before the head keeps. Counted on fake tensors."""
OF_LOGIT = (2, 5)
"""Values in the weights' type and in float32 for each logit of a chunk at the peak of its backward pass: logits and
their gradient; log-softmax, entropy and their gradients. Counted on fake tensors."""


@dataclass(frozen=True)
class Memory:
    """Bytes on each card.

    weights, optimiser (states and float32 copies), critic (with its gradients and states), reference, copy (to sample
    from, beside weights in parts), average (a `MovingAverage`, whole, at least float32): all the time. gradients,
    gathered (parts of the weights and gradients that a pass has whole), passes (activations and logits), step
    (temporaries of the optimiser): in training. sampling (vLLM, or keys and values): in turn with it. asleep: vLLM's in
    training. reserve: CUDA's.
    """

    weights: float = 0.0
    optimiser: float = 0.0
    critic: float = 0.0
    reference: float = 0.0
    copy: float = 0.0
    average: float = 0.0
    gradients: float = 0.0
    gathered: float = 0.0
    passes: float = 0.0
    step: float = 0.0
    sampling: float = 0.0
    asleep: float = 0.0
    reserve: float = 0.0

    @property
    def resting(self) -> float:
        """Bytes that are there all the time."""
        return self.weights + self.optimiser + self.critic + self.reference + self.copy + self.average + self.reserve

    @property
    def training(self) -> float:
        """The most in training."""
        return self.resting + self.asleep + self.gradients + max(self.gathered + self.passes, self.step)

    @property
    def total(self) -> float:
        """The most at any time."""
        return max(self.training, self.resting + self.sampling)


PARTS = tuple(field.name for field in fields(Memory))


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


def pass_bytes(
    model: Model, dtype: str, again: bool, tokens: float, scored: float, divided: bool
) -> tuple[float, float]:
    """(gathered, passes): bytes at the peak of a forward and backward pass, in the output head or in the last layer.

    tokens: of the pass; scored: those that pass the head (0: a critic). again: as of `kept_bytes`. divided: FSDP 2
    holds whole what is worked on: the head's weights and gradients; a layer's weights, the next one's, and the
    float32 buffer that its gradients are exchanged from.
    """
    size, wide, layer = BYTES[dtype], max(4, BYTES[dtype]), model.body / model.layers
    kept = tokens * model.layers * kept_bytes(model, dtype, again)
    of_h, of_mlp = BACKWARD
    held = kept_bytes(model, dtype, False) if again else 0.0
    in_layer = tokens * (held + size * (of_h * model.hidden + of_mlp * model.intermediate))
    low, high = OF_LOGIT
    logits = min(scored * model.vocabulary, KEPT_LOGITS) * (low * size + high * wide)
    in_head = tokens * NORMED * model.hidden + logits if scored else 0.0
    whole = divided * 2 * size * model.head if scored else 0.0  # the head's weights and gradients, to the pass's end
    around = divided * (2 * size + wide) * layer
    phases = (whole, kept + in_head), (whole + around, kept + in_layer)
    return max(phases, key=sum)


def width_of(job: JobConfig) -> int:
    """Tokens of the longest row: prompt and completion."""
    prompt = PROMPT if job.model.name_or_path else PROMPT_IN_WORDS
    if job.task.episodes is not None and job.task.episodes.prompt_tokens is not None:
        prompt = job.task.episodes.prompt_tokens
    return prompt + job.task.max_completion_tokens


def whole_minibatch(job: JobConfig, processes: int) -> int:
    """Tokens of a process's part of a mini-batch, if all rows are the longest. Of an episode every turn is a row."""
    t = job.training
    turns = job.task.max_tool_calls if job.task.episodes is not None else 1
    return width_of(job) * -(-t.prompts_per_step * t.group_size * turns // (t.minibatches * processes))


def reads_reference(job: JobConfig) -> bool:
    """Whether a run scores rows under the warm start: for its loss, or for the metric kl_warm_start."""
    algorithm = load(job.method, **job.algorithm)
    return job.training.measure_kl or "ref_logps_BT" in {*algorithm.advantage_needs, *algorithm.loss_needs}


def holds_average(job: JobConfig) -> bool:
    """Whether a run holds a moving average of the policy (WARP's anchor, M-GRPO's momentum model)."""
    return getattr(load(job.method, **job.algorithm).advantage, "holds_average", False)


def vllm_bytes(job: JobConfig, model: Model, card: float, left: float, processes: int) -> float:
    """vLLM's part of a card: its share, or weights and the cache of as many sequences as `left` has room for.

    Where there is no room for a few, the part that a few would need. UserError if no cards of a node hold the weights.
    """
    e, held = job.engine, sampled(job, model, width_of(job))
    of_node = processes if job.machine is None else min(processes, job.machine.cards)
    cards = e.tensor_parallel or memory_share.tensor_parallel(held, card, processes, of_node)
    if e.memory_share is not None:
        return e.memory_share * card
    weights, sequence = held.weights_on(cards) + memory_share.REST, held.sequence_on(cards)
    if e.kv_cache_gb is not None:
        return e.kv_cache_gb * GB + weights
    room = (min(left, memory_share.MOST_OF_CARD * card) - weights) // sequence
    return weights + sequence * min(max(room, memory_share.FEWEST_SEQUENCES), e.max_sequences)


def estimate(
    job: JobConfig,
    card: float,
    processes: int = 1,
    divided: bool = False,
    tokens: int | None = None,
    model: Model | None = None,
    width: int | None = None,
) -> Memory:
    """The memory of a run on each of `processes` cards of `card` bytes.

    divided: weights, gradients and optimiser are divided among the cards (FSDP, ZeRO-3). tokens: of a pass; None: as
    `tokens_of_a_pass`. model: its shape, None: that of the config. width: of a row, None: the longest.
    """
    model = model_of(job.model, vocabulary_of(job)) if model is None else model
    t, e, width = job.training, job.engine, width or width_of(job)
    if job.method == WARM_START:
        return _untrained(job, card, processes, model, width)
    tokens = tokens_of_a_pass(job, card, processes, divided, model) if tokens is None else tokens
    size, parts = BYTES[t.dtype], processes if divided else 1
    weights = trained = model.parameters
    stored = 4 if divided and t.dtype == "bfloat16" and t.lora is None else size
    low, again = t.dtype == "bfloat16" and not divided, bool(t.gradient_checkpointing)
    adapters = 0
    if t.lora is not None:
        adapters, trained, low = model.adapters(t.lora.rank), model.adapters(t.lora.rank), False
    of_gradient = max(4, size)  # bfloat16 weights have float32 gradients (`training.master_weights`)
    exchanged = of_gradient if processes > 1 and not divided else 0  # DDP's buckets
    states = 2 * max(4, size) + (4 if low else 0)
    method = load(job.method, **job.algorithm)
    critic = method.critic is not None
    valued = model.body + model.head if critic else 0
    of_value = max(4, size)  # of a gradient, a state, a copy, and of a weight in parts
    kept_value = of_value if divided else size
    copied = 4 if t.dtype == "bfloat16" and not divided else 0
    reference = size * weights / parts if t.lora is None and reads_reference(job) else 0.0
    whole_copy = bool(t.stale_steps) or (divided and (e is None or e.name == "transformers"))
    gathered, passes = pass_bytes(model, t.dtype, again, tokens, tokens, divided)
    if t.device != "cpu":
        passes *= 1 + FRAGMENTED
    found = dict(
        weights=(stored * weights + max(4, size) * adapters) / parts,
        optimiser=0.0 if t.offload_optimizer else states * trained / parts,
        critic=valued * (kept_value + of_value + (0 if t.offload_optimizer else 2 * of_value + copied)) / parts,
        reference=reference,
        copy=float(size * weights) * whole_copy,
        average=float(max(4, size) * weights) * holds_average(job),
        gradients=(of_gradient + exchanged) * trained / parts,
        gathered=gathered,
        passes=passes,
        step=4.0 * trained / parts if low and not t.offload_optimizer else 0.0,
        reserve=0.0 if t.device == "cpu" else REST,
    )
    if e is None or e.name == "transformers":
        rows = t.prompts_per_step * t.group_size / (t.rollout_shards or 1)
        found["sampling"] = rows * width * model.cache_bytes(size)
    elif e.name == "vllm":
        found["sampling"] = vllm_bytes(job, model, card, card * (1 - SPARE) - Memory(**found).resting, processes)
        found["asleep"] = ASLEEP if e.sleep else found["sampling"]
    return Memory(**found)


def _untrained(job: JobConfig, card: float, processes: int, model: Model, width: int) -> Memory:
    """As `estimate`, of a model that is evaluated as it is: its weights, and what sampling takes."""
    size, e = BYTES[job.training.dtype], job.engine
    held = Memory(weights=size * model.parameters, reserve=0.0 if job.training.device == "cpu" else REST)
    sampling = 0.0
    if e is None or e.name == "transformers":
        rows = job.evaluation.together or job.training.prompts_per_step * job.training.group_size
        sampling = rows * width * model.cache_bytes(size)
    elif e.name == "vllm":
        sampling = vllm_bytes(job, model, card, card * (1 - SPARE) - held.resting, processes)
    return replace(held, sampling=sampling)


def warm_start_estimate(
    job: JobConfig, processes: int = 1, divided: bool = False, model: Model | None = None, width: int | None = None
) -> Memory | None:
    """The memory of a warm start on an SFT set (`training.sft_warm_start`) on each card; None for one without a set.

    All weights are trained, one row at a time; on cards layers are computed again in the backward pass. Divided weights
    are put together at the end, in a whole copy. Arguments as of `estimate`; width: None: the longest row of the set.
    """
    w, t = job.warm_start, job.training
    if w.data is None or not w.demonstrations:
        return None
    model = model_of(job.model, vocabulary_of(job)) if model is None else model
    width, again = width or w.data.max_tokens, t.device != "cpu"
    changes = dict(lora=None, offload_optimizer=False, measure_kl=False, stale_steps=None, gradient_checkpointing=again)
    alone = replace(job.warm_start_job(), method="grpo", engine=None, training=replace(t, **changes))
    found = estimate(alone, 0.0, processes, divided, tokens=width, model=model, width=width)
    gathered, passes = pass_bytes(model, t.dtype, again, width, min(width, SFT_CHUNK), divided)
    return replace(found, gathered=gathered, passes=passes * (1 + FRAGMENTED * again), sampling=0.0)


def tokens_of_a_pass(
    job: JobConfig, card: float, processes: int = 1, divided: bool = False, model: Model | None = None
) -> int:
    """Tokens of a pass: what the config says, on a CPU a whole mini-batch, on a card the most longest rows that leave a
    tenth of it free in training. At least one row, at most a process's part of a mini-batch.
    """
    width, most = width_of(job), whole_minibatch(job, processes)
    if job.training.tokens_per_pass is not None:
        return min(most, max(width, job.training.tokens_per_pass))
    if job.training.device == "cpu":
        return most
    model = model_of(job.model, vocabulary_of(job)) if model is None else model
    low, high = 1, max(1, most // width)
    while low < high:
        rows = (low + high + 1) // 2
        fits = estimate(job, card, processes, divided, rows * width, model).training <= card * (1 - SPARE)
        low, high = (rows, high) if fits else (low, rows - 1)
    return low * width


LEVERS = {
    "passes": "lower training.tokens_per_pass or set training.gradient_checkpointing: true",
    "sampling": "raise engine.tensor_parallel or lower engine.memory_share (vLLM), or raise training.rollout_shards "
    "(an evaluation alone: lower evaluation.together)",
    "optimiser": "divide it among more cards (fsdp, zero3), or set training.offload_optimizer: true or training.lora",
    "critic": "divide it among more cards (fsdp, zero3), or set training.offload_optimizer: true",
    "reference": "set training.measure_kl: false where the method has no divergence, or divide it (fsdp, zero3)",
    "weights": "divide them among more cards (fsdp, zero3), or training.dtype: bfloat16",
    "gradients": "divide them among more cards (fsdp, zero3)",
    "copy": "sample with vLLM (engine: {name: vllm}), which needs no whole copy beside weights in parts",
    "average": "take cards with more memory: the method's moving average is whole on each",
    "gathered": "take cards with more memory",
}


def check(job: JobConfig, card: float, processes: int = 1, divided: bool = False) -> Memory:
    """The estimate. UserError that names the largest part and the setting to change if the card has less than it, or
    than the warm start needs.

    No setting that it names changes the method.
    """
    found = estimate(job, card, processes, divided)
    for name, part in (("the warm start", warm_start_estimate(job, processes, divided)), (job.name, found)):
        if part is not None and part.total > card:
            raise UserError(
                f"{name} needs about {part.total / GB:.0f} GB on each card, which has {card / GB:.0f}: {lever(part)}"
            )
    return found


def lever(found: Memory) -> str:
    """The largest part at the peak, and the setting that lowers it."""
    names = [
        name for name in LEVERS if found.training >= found.total or name not in ("passes", "gathered", "gradients")
    ]
    largest = max(names, key=lambda name: getattr(found, name))
    return f"{largest} take {getattr(found, largest) / GB:.1f} GB; {LEVERS[largest]}"


def divides(jobs: list[JobConfig], card: float, processes: int) -> bool:
    """Whether several cards divide the weights: where whole copies leave no tenth of a card free for some method."""

    def too_large(job: JobConfig) -> bool:
        return estimate(job, card, processes, tokens=width_of(job)).total > card * (1 - SPARE)

    return processes > 1 and any(map(too_large, jobs))


def place(jobs: list[JobConfig]) -> tuple[float, int, bool]:
    """(bytes of a card, processes, divided) of the machine that the profile states; UserError if it states none."""
    machine = jobs[0].machine
    if machine is None:
        raise UserError(f"profile '{jobs[0].profile}' states no machine with cards: name --card and --processes")
    card, processes = machine.gb * GB, machine.cards * machine.nodes
    return card, processes, divides(jobs, card, processes)


def lines(jobs: list[JobConfig]) -> list[str]:
    """For `make plan`: what the largest row needs on a card of the profile's machine, by part, and what to change where
    it does not fit. [] for a profile without cards."""
    if jobs[0].machine is None:
        return []
    card, processes, divided = place(jobs)
    rows = [(estimate(job, card, processes, divided), job) for job in {job.name: job for job in jobs}.values()]
    most, job = max(rows, key=lambda row: row[0].total)
    tokens = tokens_of_a_pass(job, card, processes, divided)
    parts = ", ".join(f"{part} {getattr(most, part) / GB:.1f}" for part in PARTS if getattr(most, part) >= 0.05 * GB)
    said = [
        f"memory of {job.name}, by estimate: {most.total / GB:.0f} of {card / GB:.0f} GB on each of {processes} cards, "
        f"{most.training / GB:.0f} in training, passes of {tokens:,} tokens ({parts})"
    ]
    if most.total > card:
        said.append(f"too large: {lever(most)}")
    if (start := warm_start_estimate(jobs[0], processes, divided)) is not None:
        said.append(f"memory of the warm start, by estimate: {start.total / GB:.0f} GB, one row at a time")
    return said


def passes_of_an_update(job: JobConfig, tokens: float) -> int:
    """Micro-batches that each process makes of a mini-batch of so many `tokens`, on the machine of the profile."""
    t, machine = job.training, job.machine
    if t.tokens_per_pass is None and (t.device == "cpu" or machine is None):
        return 1
    card, processes, divided = (0.0, 1, False) if machine is None else place([job])
    return max(1, math.ceil(tokens / processes / tokens_of_a_pass(job, card, processes, divided)))


def main(arguments: list[str] | None = None) -> int:
    """Prints the parts for every method of a table. Exit codes: 0, 2 bad input or more than the card has."""
    parser = Parser(prog="python -m reproduce.training.memory", description=first_line(__doc__))
    parser.add_argument("table")
    parser.add_argument("--profile", default="gpu")
    parser.add_argument("--processes", type=int, help="default: the cards of the profile's machine")
    parser.add_argument("--divided", action="store_true", help="weights are divided among the processes")
    parser.add_argument("--card", type=float, help="GB of a card (default: of the profile's machine)")
    try:
        options = parser.parse_args(arguments)
        jobs = TableConfig.load(options.table).jobs(options.profile, seeds=[0])
        if options.card is None:
            where = place(jobs)
        else:
            where = options.card * GB, options.processes or 1, options.divided
        print(f"{'GB on each card':20}" + "".join(f"{name:>10}" for name in (*PARTS, "total")) + f"{'tokens':>10}")
        for job in jobs:
            found = estimate(job, *where)
            cells = "".join(f"{getattr(found, part) / GB:10.1f}" for part in (*PARTS, "total"))
            print(f"{job.name:20}{cells}{tokens_of_a_pass(job, *where):10,}")
        start = warm_start_estimate(jobs[0], *where[1:])
        if start is not None:
            cells = "".join(f"{getattr(start, part) / GB:10.1f}" for part in (*PARTS, "total"))
            print(f"{'warm start':20}{cells}{jobs[0].warm_start.data.max_tokens:10,}")
        for job in jobs:
            check(job, *where)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
