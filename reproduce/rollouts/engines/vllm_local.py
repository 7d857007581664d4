"""vLLM in the trainer's own process (TRL's "colocate"), fed with the trainer's weights.

vLLM is started on a folder that holds the model's config alone, with random weights; the trainer's come by `load`
before anything is sampled. Reloading goes layer by layer and, with embeddings that the head shares, leaves vLLM wrong
without a word. So vLLM is told that they are not shared, and gets them twice.

During training it sleeps, on a GPU without weights and cache (level 2 of vLLM's sleep mode). `load` wakes it as TRL
does: room for the weights, the weights, room for the cache.

All vLLMs of a process share its process groups, and torch's default one, which the trainer may have made. vLLM's own
end destroys them, whoever still needs them, and so does its end by garbage collection. `vllm_end` sees to it that only
the last vLLM does so.
"""

import copy
import os
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.fsdp import FSDPModule

from reproduce.errors import UserError
from reproduce.rollouts.engines.memory_share import CPU_SHARE
from reproduce.rollouts.engines.vllm_end import end, free_memory, starting
from reproduce.rollouts.engines.vllm_engine import Request, Segment
from reproduce.rollouts.engines.vllm_install import check_vllm, memory_errors
from reproduce.rollouts.engines.weights import named_weights, sampled_dtype, version_of

UNTIED = {"tie_word_embeddings": False}
CPU_BATCH = 8192  # tokens of one pass
CPU_BLOCK = 32  # tokens that the cache of prefixes keeps or forgets together; what vLLM takes on a CPU are multiples


class LocalVllm:
    """`reproduce.rollouts.engines.vllm_engine.Sampler` in this process.

    model: the one that trains, for its config and dtype; its weights come by `load`. config: `EngineConfig`. device:
    the trainer's, such as "cpu" or "cuda:0". UserError if vLLM is missing, of a version that TRL does not support,
    short of memory, or cannot run heads of the model's size. Several may be open at a time, and each be closed at any.
    """

    def __init__(self, model, config, device: str):
        check_vllm()
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        if device == "cpu":
            _check_heads(model.config.get_text_config())
        self._dtype = sampled_dtype(model)
        self.vocabulary = int(model.config.get_text_config().vocab_size)
        self.top_logprobs = min(config.top_logprobs, self.vocabulary)
        self._folder = tempfile.TemporaryDirectory(prefix="vllm-config-")
        described = copy.deepcopy(model.config)
        described.architectures = [_architecture(model)]
        described.save_pretrained(self._folder.name)
        with memory_errors(config), _hidden("llvmlite"), starting():
            self._llm = _start(self._folder.name, self._dtype, self.top_logprobs, config, device)
        self._engine = self._llm.llm_engine
        self._end = weakref.finalize(self, end, self._engine.engine_core, self._folder)
        self.max_context = int(self._engine.model_config.max_model_len)
        self._loaded: tuple | None = None
        self._asleep = False
        self._names: dict[str, int] = {}

    def load(self, model, always: bool = False) -> float:
        """Takes over the weights of `model`, if they have changed since the last call or were given away by `sleep`.

        Returns the seconds that it took. Also forgets the cache of prefixes, whose keys and values are those of the old
        weights. always: even if no change is seen, which weights in parts hide; every process must then call it.
        """
        version = version_of(model)
        if version == self._loaded and not always and not self._asleep:
            return 0.0
        started = time.perf_counter()
        if self._asleep:
            free_memory()
            self._llm.wake_up(tags=["weights"])
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": named_weights(model, self._dtype)})
        if self._asleep:
            self._llm.wake_up(tags=["kv_cache"])
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not reset its prefix cache: requests are still under way")
        self._loaded, self._asleep = version, False
        return time.perf_counter() - started

    def sleep(self) -> None:
        """Gives weights and cache back until the next `load`. On a CPU vLLM ignores it, but for requests."""
        if not self._asleep:
            self._llm.sleep(level=2)
            self._asleep = True

    def add(self, request: Request) -> None:
        """Queues a request."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parameters = SamplingParams(
            temperature=request.temperature,
            seed=request.seed,
            max_tokens=request.budget,
            logprobs=self.top_logprobs,
            stop_token_ids=list(request.stop_ids),
            ignore_eos=True,
            detokenize=False,
            flat_logprobs=True,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        name = f"segment-{request.id}"
        self._names[name] = request.id
        self._engine.add_request(name, {"prompt_token_ids": list(request.tokens)}, parameters)

    def step(self) -> list[Segment]:
        """One forward pass for all requests; those that it finished."""
        return [self._segment(output) for output in self._engine.step() if output.finished]

    def abort(self) -> None:
        """Forgets all requests."""
        self._engine.abort_request(list(self._names))
        self._names.clear()

    def close(self) -> None:
        """Ends vLLM and frees its memory; the other ones of this process go on. A second call does nothing."""
        self._llm = self._engine = None
        self._end()
        free_memory()

    def _segment(self, output) -> Segment:
        completion = output.outputs[0]
        found, k = completion.logprobs, self.top_logprobs
        starts = found.start_indices  # at each, the sampled token, then the k most likely ones
        return Segment(
            self._names.pop(output.request_id),
            list(completion.token_ids),
            [found.logprobs[i] for i in starts],
            [found.logprobs[i + 1 : i + 1 + k] for i in starts],
            output.num_cached_tokens or 0,
        )


def _architecture(model) -> str:
    """The name of a model's class, which FSDP 2 replaces by one of its own above it."""
    return next(kind for kind in type(model).__mro__ if not issubclass(kind, FSDPModule)).__name__


def _check_heads(config) -> None:
    """UserError if vLLM's attention on a CPU has no heads of the model's size."""
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    known = CPUAttentionBackend.get_supported_head_sizes()
    if size not in known:
        raise UserError(
            f"engine.name: on a CPU vLLM has no attention heads of size {size}, which model.hidden_size and "
            f"model.num_heads give; sizes: {', '.join(map(str, known))}"
        )


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Takes a package out of `sys.modules` for a while.

    On a CPU, vLLM 0.31 asks every object of every module for a dictionary, and fails on an object of llvmlite (which
    numba brings, and bm25s imports numba) that answers any question with a function.
    """
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == package}
    for name in hidden:
        del sys.modules[name]
    try:
        yield
    finally:
        sys.modules.update(hidden)


def _whole_prompts(max_context: int | None) -> dict:
    """vLLM's settings on a CPU, where version 0.31 fails on a prompt read in parts if its request has a seed."""
    room = {} if max_context is None else {"max_num_batched_tokens": max(max_context, CPU_BATCH)}
    return {"enable_chunked_prefill": False, **room}


def _start(folder: str | Path, dtype, top_logprobs: int, config, device: str):
    from vllm import LLM

    on_cpu, several = device == "cpu", int(os.environ.get("WORLD_SIZE", "1")) > 1
    return LLM(
        model=str(folder),
        skip_tokenizer_init=True,
        load_format="dummy",
        hf_overrides=UNTIED,
        dtype=str(dtype).removeprefix("torch."),
        enable_prefix_caching=True,
        logprobs_mode="processed_logprobs",
        max_logprobs=max(top_logprobs, 1),
        max_model_len=config.max_context,
        max_num_seqs=config.max_sequences,
        gpu_memory_utilization=CPU_SHARE if config.memory_share is None else config.memory_share,
        enable_sleep_mode=config.sleep and not on_cpu,
        tensor_parallel_size=config.tensor_parallel or 1,
        kv_cache_memory_bytes=None if config.kv_cache_gb is None else int(config.kv_cache_gb * 1e9),
        block_size=CPU_BLOCK if on_cpu else None,
        enforce_eager=on_cpu,
        disable_log_stats=True,
        generation_config="vllm",
        seed=0,
        **(_whole_prompts(config.max_context) if on_cpu else {}),
        # beside other training processes, whose group vLLM joins; neighbours share one, or each has one of its own
        distributed_executor_backend="external_launcher" if several else None,
    )
