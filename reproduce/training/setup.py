"""Setup of a run in its world: models, grammars, collectors, demonstrations, data files."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reproduce.config.sections import SHAPE
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.rollouts.agent import Limits
from reproduce.rollouts.chat import ChatCollector
from reproduce.rollouts.collector import Collector
from reproduce.rollouts.grammar import WEB_TOOLS, Grammar, SpeltGrammar
from reproduce.tools.hub.fetch import file_sha256
from reproduce.training.engine_host import EngineHost
from reproduce.training.hub_model import load_hub_model
from reproduce.training.tiny_model import build_model
from reproduce.training.warm_start import web_rows
from reproduce.worlds.benchmarks.files import data_file


class Setup(ABC):
    """Everything a run has of its world. config: the run's. task: the world's questions, prompts and rewards."""

    config: JobConfig
    task: Any

    tools = WEB_TOOLS
    repeatable = True  # an environment says the same to the same actions
    collector_type = Collector
    chat_collector_type = ChatCollector

    @abstractmethod
    def tokenizer(self):
        """The tokenizer of a model that is trained from nothing."""

    def initial_model(self, device: str):
        """(model, tokenizer) that the warm start begins with: made from nothing, float32, or the hub's."""
        m = self.config.model
        if m.name_or_path is not None:
            return load_hub_model(m.name_or_path, m.revision, device, self.config.training.dtype)
        tokenizer = self.tokenizer()
        shape = {name: value for name, value in asdict(m).items() if name in SHAPE}
        ids = dict(pad_id=tokenizer.pad_token_id, bos_id=tokenizer.bos_token_id, eos_id=tokenizer.eos_token_id)
        return build_model(len(tokenizer), self.config.warm_start.seed, **shape, **ids).to(device), tokenizer

    def grammar(self, tokenizer) -> Grammar:
        """The tags of the tools: tokens of a model made from nothing, spelt by one of the hub."""
        kind = Grammar if self.config.model.name_or_path is None else SpeltGrammar
        return kind(tokenizer, self.tools)

    host: EngineHost | None = None
    """The engine that the config's `engine` names; None: Transformers, tools in batches."""

    def collector(
        self, model, grammar: Grammar, seed: int, temperature: float | None = None, default_engine: bool = False
    ) -> Collector:
        """A collector; temperature: None is that of training. default_engine: Transformers, whatever is configured."""
        t = self.config.task
        limits = Limits(t.max_tool_calls, t.max_completion_tokens)
        temperature = temperature or self.config.training.temperature
        kind = self.collector_type if self.config.model.name_or_path is None else self.chat_collector_type
        return kind(self.task, model, grammar, limits, temperature, seed, None if default_engine else self.host)

    def demonstrations(self, collector: Collector) -> Iterator[dict]:
        """Rows for the warm start: input_ids and labels (-100 where nothing is learned)."""
        if self.config.warm_start.data is not None:
            from reproduce.training.cold_start import sft_rows  # it imports what trains

            return sft_rows(collector, self.config.warm_start, self.data_file(self.config.warm_start.data.name))
        return web_rows(collector, self.config.warm_start, self.config.task.max_tool_calls)

    def data_file(self, name: str) -> Path:
        """The file of an SFT, RL or evaluation set. UserError if it is not the one that the config was made with."""
        data, sft = self.config.task.data, self.config.warm_start.data
        path = data_file(name, None if data is None else data.folder)
        known = dict(data.sha256 or {}) if data is not None else {}
        if sft is not None:
            known[sft.name] = sft.sha256
        if known.get(name) not in (None, file_sha256(path)):
            raise UserError(f"{path}: the file has changed since the runs were set up; restore it, or move them away")
        return path
