"""Open the engine of a run: the one that its config's section `engine` names, with threads for tools.

The module `reproduce.rollouts.engines.<name>` holds the engine of that name and its `Host`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import TypeVar

from reproduce.config.engine import EngineConfig
from reproduce.errors import UserError
from reproduce.rollouts.grammar import Grammar
from reproduce.rollouts.token_path import Engine
from reproduce.rollouts.tools import ToolPool

T = TypeVar("T")
IN_BATCHES = EngineConfig(name="transformers", tool_workers=0)
"""What a config without the section means."""


class EngineHost(ABC):
    """Makes an `Engine` for each call that samples. One host serves a whole run, training and evaluation. Close it."""

    own_weights = False
    """Whether it samples with a copy of the weights, in other arithmetic than the trainer's; then the gap is measured.
    """
    one_process = False
    """Whether it can only serve a run of one process."""
    tensor_parallel = 1
    """Neighbouring processes that sample together: the first of them runs the agents (`led`)."""

    def __init__(self, config: EngineConfig = IN_BATCHES):
        self.config = config

    @classmethod
    def check_installed(cls) -> None:
        """Raise UserError, with the command that installs it, if a package is missing."""
        return None

    @abstractmethod
    def engine(self, model, grammar: Grammar, temperature: float, seed: int, *names) -> Engine:
        """Make an engine on the weights that `model` has now, on the sampling stream `names` of `seed`."""

    def tools(self, environment) -> AbstractContextManager[ToolPool | None]:
        """Open threads for the calls of a `ToolServer`, if the config asks for some."""
        return ToolPool(environment, self.config.tool_workers) if self.config.tool_workers else nullcontext()

    def refresh(self, model) -> None:
        """Brings a sampler with own weights to those that `model` has now, awake, before engines are made.

        Needed where weights are divided among processes, or processes sample together: all of them must call it at the
        same time. Elsewhere `engine` does it where it is due.
        """
        return None

    def rest(self) -> None:
        """Says that nothing is sampled until the next `refresh`: training may have the memory. Every process does."""
        return None

    def led(self, work: Callable[[], T]) -> T | None:
        """Returns `work()`, which samples. Of processes that sample together the first one calls it, others get None.

        All of them must call it at the same time.
        """
        return work()

    def weights_changed(self) -> None:
        """Note that an optimiser wrote to the weights."""
        return None

    def costs(self) -> dict[str, float]:
        """Return columns of steps.parquet about the engines made since the last call."""
        return {}

    def close(self) -> None:
        """Free what was started; safe to call twice."""
        return None


def host_of(name: str) -> type[EngineHost]:
    """Find the host of the engine of that name (`reproduce.config.engine.NAMES`)."""
    return import_module(f"reproduce.rollouts.engines.{name}").Host


def open_engine(config: EngineConfig | None = None, processes: int = 1) -> EngineHost:
    """Open the engine of a config's section `engine`.

    Args:
        config: the section; None: Transformers, tools in batches.
        processes: of the run.

    Raises:
        UserError: the engine serves only one process, and there are several.
    """
    config = config or IN_BATCHES
    kind = host_of(config.name)
    if kind.one_process and processes > 1:
        raise UserError(
            f"engine.name: {config.name} takes the weights of one process, and there are {processes}; set it to vllm, "
            "which each of them starts for itself"
        )
    return kind(config)
