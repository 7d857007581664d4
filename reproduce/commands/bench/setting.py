"""Shared setting of both sides of a comparison: the task, the weights and the settings of profile mini."""

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from reproduce.commands.bench.rows import Sizes
from reproduce.rollouts.agent import Grammar, Limits
from reproduce.rollouts.collector import Collector
from reproduce.training.tiny_model import build_model, build_tokenizer
from reproduce.training.warm_start import load_warm_start, tool_rows, train_warm_start


@dataclass
class Setting:
    """The task, the weights and the settings of profile mini that the comparisons start from."""

    config: object
    task: object
    model: object
    grammar: object
    origin: str

    def copy_of_model(self):
        """The warm start's weights in a model of their own, in training mode."""
        return copy.deepcopy(self.model).train()

    @property
    def limits(self):
        """The task's limits per trajectory."""
        return Limits(self.config.task.max_tool_calls, self.config.task.max_completion_tokens)


def cached_warm_start(runs_root: Path, world) -> Path | None:
    """The newest warm start of profile mini below `runs_root` whose vocabulary is this world's, or None."""
    vocabulary = build_tokenizer(world).get_vocab()
    found = [p.parent for p in (runs_root / "mini" / "warm_starts").glob("*/model.safetensors")]
    for folder in sorted((p for p in found if not p.suffix), key=lambda p: p.stat().st_mtime, reverse=True):
        with contextlib.suppress(OSError, ValueError):
            if PreTrainedTokenizerFast.from_pretrained(folder).get_vocab() == vocabulary:
                return folder
    return None


def make_setting(config, task, runs_root: Path, sizes: Sizes, scratch: Path, report: Callable) -> Setting:
    """Loads the cached warm start, or trains one briefly on `sizes.demonstrations` demonstrations."""
    folder = cached_warm_start(runs_root, task.environment.world)
    if folder is not None:
        model, grammar = load_warm_start(folder, "cpu", "float32")
        return Setting(config, task, model, grammar, f"warm start of profile mini, {folder.name}")
    tokenizer = build_tokenizer(task.environment.world)
    m = config.model
    model = build_model(
        len(tokenizer), config.warm_start.seed, hidden_size=m.hidden_size, num_layers=m.num_layers,
        num_heads=m.num_heads, num_kv_heads=m.num_kv_heads, intermediate_size=m.intermediate_size,
        pad_id=tokenizer.pad_token_id, bos_id=tokenizer.bos_token_id, eos_id=tokenizer.eos_token_id,
    )  # fmt: skip
    limits = Limits(config.task.max_tool_calls, config.task.max_completion_tokens)
    collector = Collector(task, model, Grammar(tokenizer), limits, config.training.temperature, config.warm_start.seed)
    brief = replace(
        config.warm_start, demonstrations=sizes.demonstrations, max_epochs=1, success_low=0.0, success_high=1.0
    )
    rows = tool_rows(collector, brief, config.task.max_tool_calls)
    checks = train_warm_start(model, collector, brief, rows, scratch / "warm_start", report)
    origin = (
        f"no cached warm start of profile mini; trained for this benchmark on {sizes.demonstrations} demonstrations, "
        f"format right in {checks[-1]['format_ok']:.0%}"
    )
    return Setting(config, task, model, Grammar(tokenizer), origin)
