"""Shared setting of both sides of a comparison: the task, the weights and the settings of profile mini."""

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from reproduce.commands.bench.rows import Sizes
from reproduce.rollouts.agent import Limits
from reproduce.training.setup import Setup
from reproduce.training.tiny_model import build_tokenizer
from reproduce.training.warm_start import load_warm_start, train_warm_start


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


def brief(config, sizes: Sizes):
    """A config whose warm start is one pass over `sizes.demonstrations` demonstrations, whatever it reaches."""
    short = dict(demonstrations=sizes.demonstrations, max_epochs=1, success_low=0.0, success_high=1.0)
    return replace(config, warm_start=replace(config.warm_start, **short))


def make_setting(setup: Setup, runs_root: Path, scratch: Path, report: Callable) -> Setting:
    """Loads the cached warm start, or trains the one of `setup.config`, which is `brief`."""
    config, task = setup.config, setup.task
    folder = cached_warm_start(runs_root, task.environment.world)
    if folder is not None:
        model, grammar = load_warm_start(folder, "cpu", "float32")
        return Setting(config, task, model, grammar, f"warm start of profile mini, {folder.name}")
    model, tokenizer = setup.initial_model("cpu")
    grammar, w = setup.grammar(tokenizer), config.warm_start
    collector = setup.collector(model, grammar, w.seed, default_engine=True)
    rows = setup.demonstrations(collector)
    checks = train_warm_start(model, collector, w, rows, scratch / "warm_start", report)
    origin = (
        f"no cached warm start of profile mini; trained for this benchmark on {w.demonstrations} demonstrations, "
        f"format right in {checks[-1]['format_ok']:.0%}"
    )
    return Setting(config, task, model, grammar, origin)
