"""The section `engine` of a config: what samples, and how its log-probabilities meet the trainer's."""

import math
from dataclasses import dataclass, fields

from reproduce.config.strict import positive

CORRECTIONS = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
NAMES = ("transformers", "vllm", "vllm_server")
FOR_SERVER = ("url", "sync_folder")
FOR_BOTH = ("max_context", "top_logprobs", "entropy", "correction", "correction_low", "correction_high", "max_gap")
COLOCATED = ("memory_share", "kv_cache_gb", "max_sequences")


@dataclass(frozen=True)
class EngineConfig:
    """vLLM in the trainer's process (`vllm`) or as a server that was started before (`vllm_server`), or the engine of
    Transformers with concurrent tools. Without the section: Transformers, tools in batches. Worlds of episodes have no
    tool calls for `tool_workers`.
    """

    name: str = "vllm"
    tool_workers: int = 16  # threads; a path goes on when its own call is answered. 0: calls in batches, in fixed order
    top_logprobs: int = 20  # k of entropy_topk, which branching policies read; 0: no entropy at rollout
    entropy: str = "exact"  # of advantages and records, from the trainer's forward pass. topk: recorded as entropy_topk
    correction: str = "token_truncate"  # bounds on pi_old / mu (training.sampler_weights); none: mu counts as pi_old
    correction_low: float | None = None  # TRL's vllm_importance_sampling_clip_min
    correction_high: float | None = 3.0  # TRL's vllm_importance_sampling_clip_max
    max_gap: float = 0.3  # nats; a mean |log pi_old - log mu| above it stops the run: the sampler has other weights
    max_context: int | None = None  # prompt and completion together, in tokens; None: what the model allows
    max_sequences: int = 256  # sampled at a time
    memory_share: float = 0.3  # of the GPU's memory, for vLLM's weights and key-value cache (TRL's default)
    kv_cache_gb: float | None = None  # GB (10^9 bytes) of key-value cache instead of what memory_share leaves
    url: str | None = None  # of the server, such as http://node7:8000
    sync_folder: str | None = None  # where weights are handed to the server: a folder that both see

    def problems(self):
        if self.name not in NAMES:
            yield "name", f"must be one of {', '.join(NAMES)}"
        if self.tool_workers < 0:
            yield "tool_workers", "must not be negative"
        if self.top_logprobs < 0:
            yield "top_logprobs", "must not be negative"
        yield from positive(self, "max_gap", "max_sequences")
        yield from positive(self, *(n for n in ("max_context", "kv_cache_gb") if getattr(self, n) is not None))
        if not 0 < self.memory_share < 1:
            yield "memory_share", "must lie between 0 and 1"
        if self.entropy not in ("exact", "topk"):
            yield "entropy", "must be exact or topk"
        if self.entropy == "topk" and self.top_logprobs == 0:
            yield "top_logprobs", "must be at least 1 for entropy topk"
        if self.correction not in (*CORRECTIONS, "none"):
            yield "correction", f"must be one of {', '.join(CORRECTIONS)}, none"
        low, high = self.correction_low, self.correction_high
        if not (0 if low is None else low) <= 1 <= (math.inf if high is None else high):
            yield "correction_low", "must be at most 1, and correction_high at least 1"
        for key in FOR_SERVER:
            if self.name == "vllm_server" and not getattr(self, key):
                yield key, "must be set for a vLLM server"
        foreign = {"vllm": FOR_SERVER, "vllm_server": COLOCATED, "transformers": FOR_SERVER + COLOCATED + FOR_BOTH}
        defaults = {field.name: field.default for field in fields(self)}
        for key in foreign.get(self.name, ()):
            if getattr(self, key) != defaults[key]:
                yield key, f"is not read by the engine {self.name}: leave it out"
