"""Rollouts: our agent loop and engine against the multi-turn path of TRL's `GRPOTrainer`."""

import copy
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from datasets import Dataset
from trl import GRPOTrainer

from reproduce.commands.bench.rows import Measurement, Sizes, in_turn, paired
from reproduce.commands.bench.setting import Setting
from reproduce.errors import UserError
from reproduce.rollouts.agent import AgentLoop
from reproduce.rollouts.engines.transformers import TransformersEngine
from reproduce.seeding import torch_stream
from reproduce.training.trl_config import grpo_config
from reproduce.worlds.tags import escape_tags

CHAT_TEMPLATE = """
{%- for message in messages -%}
  {%- if message.role == 'user' -%}{{ bos_token }} {{ message.content }}
  {%- elif message.role == 'tool' %} <result> {{ message.content }} </result>
  {%- else -%}
    {%- if message.content %} {{ message.content }}{% endif -%}
    {%- for call in message.tool_calls or [] %} <{{ call.function.name }}>
      {%- for key, value in call.function.arguments.items() -%}
        {%- if key != 'content' %} {{ key }}{% endif %} {{ value }}
      {%- endfor %} </{{ call.function.name }}>
    {%- endfor -%}
    {%- if not message.tool_calls %} {{ eos_token }}{% endif -%}
  {%- endif -%}
{%- endfor -%}
"""

_NOT_A_TAG = "(?!</?(?:search|python)>)"

RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "fields": {
        "tool_calls": {
            "open_pattern": rf"<(?P<name>search|python)>\s*(?P<call>{_NOT_A_TAG}\S(?:{_NOT_A_TAG}.)*?)\s*</(?P=name)>",
            "repeats": True,
            "content": "text",
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": {"content": "{call}"}}},
        },
        "content": {"content": "text"},
    },
}


@dataclass
class Sample:
    """One repetition of one side.

    seconds, cpu: of generation with tool calls, wall and CPU; scored: until log-probs are there, too. forwarded:
    positions that went through the model, padding included; calls: of tools; completions: token ids of each
    trajectory, forced ones included; sampled: for each of them, which were sampled (1) and which forced (0).
    """

    seconds: float
    cpu: float
    scored: float
    forwarded: int
    calls: int
    completions: list[list[int]]
    sampled: list[list[int]]

    @property
    def tokens(self) -> int:
        """Sampled tokens of all trajectories."""
        return sum(map(sum, self.sampled))

    @property
    def forced(self) -> int:
        """Tokens of tool results of all trajectories."""
        return sum(map(len, self.sampled)) - self.tokens


def counted(model):
    """The model, which from now on counts in `model.forwarded` the positions that go through it."""
    model.forwarded = 0

    def count(module, arguments, options) -> None:
        module.forwarded += (arguments[0] if arguments else options["input_ids"]).numel()

    model.register_forward_pre_hook(count, with_kwargs=True)
    return model


def trl_tokenizer(grammar):
    """A copy of the tokenizer with a chat template and a response template in our tags."""
    tokenizer = copy.deepcopy(grammar.tokenizer)
    begins, ends = re.escape(tokenizer.bos_token), re.escape(tokenizer.eos_token)
    template = copy.deepcopy(RESPONSE_TEMPLATE)
    template["start_anchor_pattern"] = rf"{begins}[^<]*|</result>"
    template["fields"]["content"]["close_pattern"] = ends
    tokenizer.chat_template, tokenizer.response_template = CHAT_TEMPLATE, template
    return tokenizer


def trl_tools(task, questions: list, count: list[int]) -> type:
    """The class for TRL's `environment_factory`: one instance per trajectory, with the task's own tools.

    count: its only element is raised by every call.
    """

    def call(session, tool: str, content: str) -> str:
        count[0] += 1
        return escape_tags(task.environment.run([task.call_type(session, tool, content)])[0].text)

    class Tools:
        def reset(self, index: int, **row) -> None:
            self._session = task.environment.start(questions[index])

        def search(self, content: str) -> str:
            """Search the pages, or open a hit.

            Args:
                content: Words to search for, or "page" and the number of a hit.
            """
            return call(self._session, "search", content)

        def python(self, content: str) -> str:
            """Run a program and return what it prints.

            Args:
                content: The program.
            """
            return call(self._session, "python", content)

    return Tools


class Timed(GRPOTrainer):
    """TRL's trainer with a clock around `_generate`, which prompts enter and finished trajectories leave."""

    def _generate(self, prompts):
        started, cpu, self.model.forwarded = time.perf_counter(), time.process_time(), 0
        output = super()._generate(prompts)
        self.took = time.perf_counter() - started, time.process_time() - cpu
        self.forwarded = self.model.forwarded
        self.completion_ids, self.tool_mask = output[1], output[2]
        return output


def trl_side(setting: Setting, questions: list, k: int, folder: Path, greedy: bool = False) -> Callable[[int], Sample]:
    """A function that rolls out `k` trajectories per question by TRL alone; `questions` are the same every time."""
    count = [0]
    training = replace(setting.config.training, prompts_per_step=len(questions), group_size=k, minibatches=1)
    arguments = grpo_config(folder, training, setting.limits.completion_tokens, seed=0)
    arguments.max_tool_calling_iterations = setting.limits.tool_calls
    arguments.top_k = 1 if greedy else 0
    model = counted(setting.copy_of_model())
    model.generation_config.eos_token_id = [setting.grammar.eos_id, *setting.grammar.stop_ids]
    rows = [
        {"prompt": [{"role": "user", "content": setting.task.prompt(q)}], "index": i} for i, q in enumerate(questions)
    ]
    trainer = Timed(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=trl_tokenizer(setting.grammar),
        reward_funcs=lambda completions, **columns: [0.0] * len(completions),
        environment_factory=trl_tools(setting.task, questions, count),
    )
    trainer.model.train()

    def run(repetition: int) -> Sample:
        count[0], started = 0, time.perf_counter()
        trainer._generate_and_score_completions([row for row in rows for _ in range(k)])
        scored = time.perf_counter() - started
        return Sample(*trainer.took, scored, trainer.forwarded, count[0], trainer.completion_ids, trainer.tool_mask)

    return run


def our_side(setting: Setting, questions: list, k: int, greedy: bool = False) -> Callable[[int], Sample]:
    """The same with our agent loop and engine; each repetition draws from its own stream."""
    task, grammar, model = setting.task, setting.grammar, counted(setting.copy_of_model())
    bos, temperature = grammar.tokenizer.bos_token_id, setting.config.training.temperature

    def run(repetition: int) -> Sample:
        engine = TransformersEngine(
            model, grammar.stop_ids, grammar.eos_id, temperature, torch_stream(0, "bench", repetition), greedy=greedy
        )
        loop = AgentLoop(engine, task.environment, task.call_type, grammar, setting.limits)
        started, cpu, model.forwarded = time.perf_counter(), time.process_time(), 0
        rollout = loop.rollout(questions, [[bos, *grammar.encode(task.prompt(q))] for q in questions], k)
        took = time.perf_counter() - started, time.process_time() - cpu
        paths = [t.path for group in rollout.groups for t in group]
        completions = [p.completion for p in paths]
        return Sample(*took, took[0], model.forwarded, rollout.tool_calls, completions, [p.sampled for p in paths])

    return run


def rollout_rows(sizes: Sizes, setting: Setting, folder: Path) -> list[Measurement]:
    """Tokens per second of both sides, and what shows that they did the same work.

    The repetition that is not counted also fills the environment's record of searches and program outputs, so tools
    cost next to nothing on either side. Raises UserError if a side made no tool call at all: then there was no
    multi-turn rollout to time.
    """
    questions = setting.task.panel("validation", sizes.prompts)
    sides = {
        "ours": our_side(setting, questions, sizes.group),
        "TRL": trl_side(setting, questions, sizes.group, folder / "trl"),
    }
    samples = in_turn("rollout: ours against TRL", sides, sizes.repetitions)
    for name, taken in samples.items():
        if not any(s.calls for s in taken):
            raise UserError(f"bench: no tool call happened on the side of {name}; run `make reproduce-table2` first")
    scored = "TRL: and its forward pass for log-probs; ours come with sampling, entropies too"
    passed, equal = "1 / ratio: what not passing a prefix again can gain", "equal work: about 1"
    first = "sampled tokens per second"
    return [
        paired("rollout", measure, samples, measure == first, note, value)
        for measure, note, value in (
            (first, "TRL: generation and tool loop only", lambda s: s.tokens / s.seconds),
            ("the same per CPU second", "", lambda s: s.tokens / s.cpu),
            ("per second, log-probs included", scored, lambda s: s.tokens / s.scored),
            ("forwarded positions per sampled token", passed, lambda s: s.forwarded / s.tokens),
            ("sampled tokens per trajectory", equal, lambda s: s.tokens / len(s.sampled)),
            ("forced tokens per trajectory", equal, lambda s: s.forced / len(s.sampled)),
            ("tool calls per trajectory", equal, lambda s: s.calls / len(s.sampled)),
        )
    ]
