"""The section `engine` of a config: what samples, and how its log-probabilities meet the trainer's."""

import math
from dataclasses import fields
from typing import Annotated, Literal, get_args

from pydantic import Field

from reproduce.config.strict import Count, Flag, Later, Number, Positive, Unhashed, Whole, section

Correction = Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]
CORRECTIONS = get_args(Correction)
Name = Literal["transformers", "vllm", "vllm_server"]
NAMES = get_args(Name)
"""Modules of `reproduce.rollouts.engines`, each with a `Host`."""
FOR_SERVER = ("url", "sync_folder")
FOR_BOTH = ("max_context", "top_logprobs", "entropy", "correction", "correction_low", "correction_high", "max_gap")
FOR_TRANSFORMERS = ("whole_results",)
COLOCATED = ("memory_share", "tensor_parallel", "sleep", "kv_cache_gb", "max_sequences")


@section
class EngineConfig:
    """vLLM in the trainer's process (`vllm`) or as a server that was started before (`vllm_server`), or the engine of
    Transformers with concurrent tools. Without the section: Transformers, tools in batches. Worlds of episodes have no
    tool calls for `tool_workers`.
    """

    name: Name = "vllm"
    tool_workers: Whole = 16  # threads; a path goes on when its call is answered. 0: calls in batches, in fixed order
    top_logprobs: Whole = 20  # k of entropy_topk, which branching policies read; 0: no entropy at rollout
    entropy: Literal["exact", "topk"] = "exact"  # by the trainer's forward pass; topk: as recorded (entropy_topk)
    correction: Literal[Correction, "none"] = "token_truncate"  # bounds on pi_old / mu; none: mu counts as pi_old
    correction_low: Number | None = None  # TRL's vllm_importance_sampling_clip_min
    correction_high: Number | None = 3.0  # TRL's vllm_importance_sampling_clip_max
    max_gap: Positive = 0.3  # nats; a mean |log pi_old - log mu| above it stops the run: the sampler has other weights
    max_context: Count | None = None  # prompt and completion together, in tokens; None: what the model allows
    max_sequences: Count = 256  # sampled at a time
    memory_share: Unhashed[Annotated[Positive, Field(lt=1)] | None] = None  # of a card; None: computed (weights, cache)
    tensor_parallel: Unhashed[Count | None] = None  # cards that share vLLM's weights; None: as few as take 40 % of one
    sleep: Unhashed[Flag] = True  # vLLM gives its memory back while training
    kv_cache_gb: Unhashed[Positive | None] = None  # GB (10^9 bytes) of key-value cache, not what memory_share leaves
    url: Unhashed[str | None] = None  # of the server, such as http://node7:8000
    sync_folder: Unhashed[str | None] = None  # where weights are handed to the server: a folder that both see
    whole_results: Later[Flag | None] = None  # transformers: a tool result is read in one pass; None: token by token

    def problems(self):
        if self.entropy == "topk" and self.top_logprobs == 0:
            yield "top_logprobs", "must be at least 1 for entropy topk"
        low, high = self.correction_low, self.correction_high
        if not (0 if low is None else low) <= 1 <= (math.inf if high is None else high):
            yield "correction_low", "must be at most 1, and correction_high at least 1"
        for key in FOR_SERVER:
            if self.name == "vllm_server" and not getattr(self, key):
                yield key, "must be set for a vLLM server"
        foreign = {"vllm": FOR_SERVER + FOR_TRANSFORMERS, "vllm_server": COLOCATED + FOR_TRANSFORMERS}
        foreign = foreign.get(self.name, FOR_SERVER + COLOCATED + FOR_BOTH)
        defaults = {field.name: field.default for field in fields(self)}
        for key in foreign:
            if getattr(self, key) != defaults[key]:
                yield key, f"is not read by the engine {self.name}: leave it out"
