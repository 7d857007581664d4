"""A pretrained model whose trajectories have a prescribed shape, so that both sides do the same work.

The model computes every token and samples it, but where a segment opens a call, closes it or ends the trajectory is
prescribed: a pretrained model calls no tool before its warm start. Four tags and the two of results are added to the
vocabulary, so that TRL's generation can stop at one token.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from reproduce.errors import UserError
from reproduce.rollouts.engines.host import EngineHost
from reproduce.rollouts.engines.transformers import TransformersEngine
from reproduce.rollouts.grammar import Grammar
from reproduce.rollouts.token_path import Engine, TokenPath
from reproduce.seeding import torch_stream
from reproduce.training.flops import Model, model_of
from reproduce.training.hub_model import load_hub_model
from reproduce.worlds.rewards import Reward
from reproduce.worlds.tool_server import Call, ToolResult

TAGS = ("<search>", "</search>", "<python>", "</python>", "<result>", "</result>")
WORDS = (
    "You answer questions with the help of a search engine. Write a query between the tags of a search, wait for the "
    "result between the tags of a result, and go on until you know the answer. Think before each query. A result may "
    "be wrong, out of date or about something else of the same name; open another page then. "
)
"""Repeated up to a prompt's length: no tag is in it."""


@dataclass(frozen=True)
class Shape:
    """One group of `group` trajectories: a prompt of `prompt` tokens, then `calls` times a segment of `segment` sampled
    tokens and a result of `result` tokens, then a last segment. All lengths are met within the tags' few tokens.
    """

    prompt: int
    group: int
    calls: int
    segment: int
    result: int

    @property
    def completion(self) -> int:
        """Tokens of a completion, with room for the tags."""
        return (self.calls + 1) * self.segment + self.calls * (self.result + 16)

    @property
    def row(self) -> int:
        """Tokens of a trajectory."""
        return self.prompt + self.completion


@dataclass(frozen=True)
class Question:
    """The only kind of question here; `worlds.task.Question`."""

    id: str = "bench"
    family: str = "bench"
    level: int = 1
    split: str = "train"
    gold: str = ""


class Session:
    """A trajectory's state: none."""

    question = Question()

    def fork(self) -> "Session":
        """The same for a branch."""
        return Session()


class Pages:
    """A `ToolTask` and its `ToolServer`: one prompt, and every call is answered by the same page. cut(n): a text of n
    tokens. calls: how many were answered.
    """

    families, repeatable, call_type = ("bench",), True, Call

    def __init__(self, shape: Shape, cut: Callable[[int], str]):
        self.environment, self.calls, self._scored = self, 0, 0
        self._prompt, self.page = cut(shape.prompt), cut(shape.result)

    def start(self, question) -> Session:
        """A fresh session."""
        return Session()

    def run(self, calls: Sequence[Call]) -> list[ToolResult]:
        """The page for every call."""
        self.calls += len(calls)
        return [ToolResult(self.page, "page", True) for _ in calls]

    def train_questions(self, count: int, seed: int) -> list[Question]:
        """The question, `count` times."""
        return [Question()] * count

    def prompt(self, question) -> str:
        """The prompt."""
        return self._prompt

    def score(self, question, text: str) -> Reward:
        """Rewards that alternate, so that advantages are not 0."""
        self._scored += 1
        right = self._scored % 2 == 0
        return Reward(float(right), float(right), True, "", right)


@dataclass
class LmSetting:
    """model: with the tags in its vocabulary. arithmetic: its shape."""

    model: object
    grammar: Grammar
    arithmetic: Model
    origin: str

    def copy_of_model(self):
        """The weights in a model of their own, in training mode."""
        return copy.deepcopy(self.model).train()

    def pages(self, shape: Shape) -> Pages:
        """The task of a shape."""
        ids = self.grammar.encode(WORDS * (1 + max(shape.prompt, shape.result) // 40))
        return Pages(shape, lambda count: self.grammar.decode(ids[:count]))

    def tag(self, name: str) -> int:
        """The id of a tag."""
        return self.grammar.tokenizer.convert_tokens_to_ids(name)

    @property
    def never(self) -> list[int]:
        """Tokens that the model does not sample by itself: tags, and the end."""
        return [self.grammar.eos_id, *map(self.tag, TAGS)]

    def prescribed(self, shape: Shape, calls: int, position: int) -> int | None:
        """The token at a position of a segment after `calls` calls, or None: the model samples it."""
        calling = calls < shape.calls
        if position == 0 and calling:
            return self.tag("<search>")
        if position == shape.segment - 1:
            return self.tag("</search>") if calling else self.grammar.eos_id
        return None


def lm_setting(folder: str) -> LmSetting:
    """The model of a folder, float32 on the CPU. UserError if there is none."""
    if not folder or not Path(folder).is_dir():
        raise UserError(f"bench --model: {folder or 'nothing'} is no folder; name that of a pretrained model")
    model, tokenizer = load_hub_model(folder, None, "cpu", "float32")
    if tokenizer.bos_token is None:
        raise UserError(f"bench --model: the tokenizer of {folder} has no token that begins a text")
    tokenizer.add_tokens([tag for tag in TAGS if tag not in tokenizer.get_vocab()])
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    section = type("Section", (), {"name_or_path": str(folder), "revision": None})
    return LmSetting(model, Grammar(tokenizer), model_of(section, 0), f"{Path(folder).name}, float32, tags added")


class PrescribedEngine(Engine):
    """`engine` with the prescribed tokens in its paths: they pass the model as sampled ones do."""

    def __init__(self, engine: TransformersEngine, setting: LmSetting, shape: Shape):
        engine.stop_ids = engine.end_ids = frozenset()
        self.engine, self.token = engine, partial(setting.prescribed, shape)
        self.segment, self.never = shape.segment, setting.never

    def run(self, paths: list[TokenPath], advance, tools=None) -> None:
        """As of `Engine`."""

        def ended(done: list[TokenPath]) -> list[TokenPath]:
            for path in done:
                calls = path.turn
                path.add_sampled(self.token(calls, self.segment - 1), 0.0, 0.0)
                path.finish = "stop" if self.token(calls, 0) is not None else "eos"
            return [self._begun(path) for path in advance(done)]

        def without(model, arguments, output) -> None:
            output.logits[..., self.never] = -torch.inf

        hook = self.engine.model.register_forward_hook(without)
        try:
            self.engine.run([self._begun(path) for path in paths], ended)
        finally:
            hook.remove()

    def _begun(self, path: TokenPath) -> TokenPath:
        opening = self.token(path.turn, 0)
        path.budget = self.segment - 1
        if opening is not None:
            path.add_sampled(opening, 0.0, 0.0)
            path.budget -= 1
        return path


class PrescribedHost(EngineHost):
    """Opens a `PrescribedEngine`."""

    def __init__(self, setting: LmSetting, shape: Shape):
        super().__init__()
        self.setting, self.shape = setting, shape

    def engine(self, model, grammar, temperature: float, seed: int, *names) -> PrescribedEngine:
        stream = torch_stream(seed, "sampling", *names)
        engine = TransformersEngine(model, [], grammar.eos_id, temperature, stream)
        return PrescribedEngine(engine, self.setting, self.shape)


class PrescribedLogits(LogitsProcessor):
    """The same for Transformers' generation, one of its calls: all rows are at the same position of their segment."""

    def __init__(self, setting: LmSetting, shape: Shape):
        self.token, self.position = partial(setting.prescribed, shape), 0
        self.result = setting.tag("</result>")
        self.never = setting.never

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, self.never] = -torch.inf
        for row, calls in enumerate((input_ids == self.result).sum(1).tolist()):
            token = self.token(calls, self.position)
            if token is not None:
                scores[row] = -torch.inf
                scores[row, token] = 0.0
        self.position += 1
        return scores


def prescribe(model, setting: LmSetting, shape: Shape) -> None:
    """Makes `model.generate` follow the shape."""
    generate = model.generate

    def prescribed(*arguments, **options):
        return generate(*arguments, logits_processor=LogitsProcessorList([PrescribedLogits(setting, shape)]), **options)

    model.generate = prescribed
