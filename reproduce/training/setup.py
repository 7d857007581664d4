"""A run's world and kind of model together: task, tokenizer, grammar, collectors, rows of the warm start.

A model made from scratch reads whole words and learns from demonstrations first. A model of the hub reads chats in its
own template and begins as it is, or with supervised fine-tuning on an SFT set.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from functools import partial

import torch

from reproduce.config.engine import EngineConfig
from reproduce.config.sections import SHAPE
from reproduce.config.tables import JobConfig
from reproduce.evaluation.graders import grade
from reproduce.rollouts.agent import Limits
from reproduce.rollouts.chat import ChatCollector, ChatEpisodeCollector
from reproduce.rollouts.collector import Collector
from reproduce.rollouts.engines.host import EngineHost, open_engine
from reproduce.rollouts.episodes import EpisodeCollector
from reproduce.rollouts.grammar import ACTIONS, WEB_TOOLS, Grammar, SpeltGrammar
from reproduce.training.engine_settings import settled
from reproduce.training.flops import model_of, vocabulary_of
from reproduce.training.hub_model import load_hub_model
from reproduce.training.parallel import processes
from reproduce.training.sampler_copy import divided
from reproduce.training.sft_warm_start import sft_rows
from reproduce.training.tiny_model import build_model, word_tokenizer
from reproduce.training.warm_start import tool_rows, turn_rows
from reproduce.worlds.benchmarks.files import checked_file
from reproduce.worlds.episode_task import EpisodeTask
from reproduce.worlds.registry import world_of
from reproduce.worlds.task import Task


class Setup(ABC):
    """config: the run's. task: of its world. host: opens the engine that its config names."""

    tool_collector, episode_collector = Collector, EpisodeCollector
    grammar_type = Grammar
    turn_tags: tuple[str, ...] = ACTIONS
    """The tags that end the answer of a turn."""

    def __init__(self, config: JobConfig, task: Task, host: EngineHost | None = None):
        self.config, self.task, self.host = config, task, host
        self.episodes = isinstance(task, EpisodeTask)

    @abstractmethod
    def initial_model(self, device: str):
        """(model, tokenizer) that the warm start begins with."""

    def grammar(self, tokenizer) -> Grammar:
        """The tags of tools or actions, as the kind of model writes them."""
        return self.grammar_type(tokenizer, self.turn_tags if self.episodes else WEB_TOOLS)

    def collector(
        self, model, grammar: Grammar, seed: int, temperature: float | None = None, default_engine: bool = False
    ) -> Collector:
        """A collector over the setup's task.

        Args:
            model: that engines sample from.
            grammar: of `grammar`.
            seed: of its random streams.
            temperature: None: that of training.
            default_engine: sample with Transformers, whatever engine is configured.
        """
        t = self.config.task
        limits = Limits(t.max_tool_calls, t.max_completion_tokens)
        temperature = temperature or self.config.training.temperature
        kind = self.episode_collector if self.episodes else self.tool_collector
        return kind(self.task, model, grammar, limits, temperature, seed, None if default_engine else self.host)

    def demonstrations(self, collector: Collector) -> Iterator[dict]:
        """Rows for the warm start: input_ids and labels (-100 where nothing is learned)."""
        rows = turn_rows if self.episodes else tool_rows
        return rows(collector, self.config.warm_start, self.config.task.max_tool_calls)


class ScratchSetup(Setup):
    """For a model made from scratch."""

    def initial_model(self, device: str):
        """(model, tokenizer) with random weights, float32."""
        m, tokenizer = self.config.model, self.tokenizer()
        shape = {name: value for name, value in asdict(m).items() if name in SHAPE}
        ids = dict(pad_id=tokenizer.pad_token_id, bos_id=tokenizer.bos_token_id, eos_id=tokenizer.eos_token_id)
        return build_model(len(tokenizer), self.config.warm_start.seed, **shape, **ids).to(device), tokenizer

    def tokenizer(self):
        """A tokenizer of the world's words."""
        return word_tokenizer(world_of(self.config.task).words(self.config.task))


class HubSetup(Setup):
    """For a model of the hub, or of a folder."""

    tool_collector = ChatCollector
    grammar_type = SpeltGrammar
    turn_tags = ()  # it ends an answer by itself

    @property
    def episode_collector(self):
        """Collects episodes whose messages keep to the config's limit."""
        return partial(ChatEpisodeCollector, prompt_tokens=self.config.task.episodes.prompt_tokens)

    def initial_model(self, device: str):
        """(model, tokenizer) as they were published."""
        m = self.config.model
        return load_hub_model(m.name_or_path, m.revision, device, self.config.training.dtype)

    def demonstrations(self, collector: Collector) -> Iterator[dict]:
        """Rows of the SFT set that the config names, or as for a model made from scratch."""
        w = self.config.warm_start
        if w.data is None:
            return super().demonstrations(collector)
        return sft_rows(collector, w, checked_file(self.config, w.data.name))


def setup_of(config: JobConfig, task: Task, host: EngineHost | None = None) -> Setup:
    """The setup of a config over a task that is open."""
    return (ScratchSetup if config.model.name_or_path is None else HubSetup)(config, task, host)


def own_engine(config: JobConfig) -> EngineConfig | None:
    """The section `engine` of a run, with what it leaves open settled for the processes and cards that are here."""
    if config.engine is None or config.engine.name != "vllm":
        return config.engine
    from reproduce.training.memory import SPARE, estimate, width_of

    on_card = config.training.device.startswith("cuda") and torch.cuda.is_available()
    card = float(torch.cuda.get_device_properties(0).total_memory) if on_card else 0.0
    resting = 0.0
    if card:
        unasked = replace(config, engine=replace(config.engine, kv_cache_gb=1.0))  # vLLM's part is what is looked for
        resting = estimate(unasked, card, processes(), divided()).resting + SPARE * card
    model = model_of(config.model, vocabulary_of(config))
    of_node = int(os.environ.get("LOCAL_WORLD_SIZE", processes()))
    return settled(config, model, width_of(config), card, resting, processes(), of_node)


@contextmanager
def open_setup(config: JobConfig) -> Iterator[Setup]:
    """The setup of a config, with its world and its engine open. UserError if one cannot be opened."""
    with (
        world_of(config.task).open(config, lambda question, answer: grade(question, answer).correct) as task,
        closing(open_engine(own_engine(config), processes())) as host,
    ):
        yield setup_of(config, task, host)
