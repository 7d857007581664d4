"""Shared setting of both sides of a comparison: the task, the weights and the settings of profile mini."""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from transformers import PreTrainedTokenizerFast

from reproduce.commands.bench.rows import Sizes
from reproduce.config.tables import TableConfig
from reproduce.rollouts.agent import Limits
from reproduce.training.setup import open_setup
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


@contextlib.contextmanager
def open_setting(sizes: Sizes, runs_root: Path, scratch: Path) -> Iterator[Setting]:
    """The setting of table 2, profile mini: the cached warm start, else one that is trained here, in one pass over
    `sizes.demonstrations` demonstrations, whatever it reaches."""
    config = TableConfig.load(2).jobs("mini", ["grpo"], [0])[0]
    short = dict(demonstrations=sizes.demonstrations, max_epochs=1, success_low=0.0, success_high=1.0)
    config = replace(config, warm_start=replace(config.warm_start, **short))
    with open_setup(config) as setup:
        folder = cached_warm_start(runs_root, setup.task.environment.world)
        if folder is not None:
            model, grammar = load_warm_start(folder, "cpu", "float32")
            yield Setting(config, setup.task, model, grammar, f"warm start of profile mini, {folder.name}")
            return
        model, tokenizer = setup.initial_model("cpu")
        grammar, w = setup.grammar(tokenizer), config.warm_start
        collector = setup.collector(model, grammar, w.seed, default_engine=True)
        with Progress(console=Console(stderr=True)) as progress:
            bars: dict[str, int] = {}

            def report(stage: str, step: int, total: int) -> None:
                if stage not in bars:
                    bars[stage] = progress.add_task(stage)
                progress.update(bars[stage], completed=step, total=total)

            checks = train_warm_start(model, collector, w, setup.demonstrations(collector), scratch / "warm", report)
        origin = (
            f"no cached warm start of profile mini; trained for this benchmark on {w.demonstrations} demonstrations, "
            f"format right in {checks[-1]['format_ok']:.0%}"
        )
        yield Setting(config, setup.task, model, grammar, origin)
