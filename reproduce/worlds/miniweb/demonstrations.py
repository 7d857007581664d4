"""A demonstrator for the warm start: it knows how to solve MiniWeb, and errs on purpose.

Its `noise` sets where reinforcement learning starts. At every decision (which query, which hit, whether the page is the
right one, whether to compute, whether to go on) it takes a poor option with that probability. It sees what a trajectory
sees, results of real tool calls, and nothing else of the world. It does not use the gold answer.
"""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from reproduce.worlds.miniweb.generator import ATTRIBUTES, KINDS, STALE
from reproduce.worlds.miniweb.questions import MiniQuestion
from reproduce.worlds.miniweb.tools import MiniWebTools, Session
from reproduce.worlds.tool_server import Call

Steps = Generator[Call, str, object]
"""A solver in progress: it yields calls, receives their results, and returns what its function is named for."""

RELATION_WORDS = ("employer", "birthplace", "mayor", "archive", "author", "setting", "head", "treasure")


@dataclass(frozen=True)
class Demonstration:
    """A trajectory as (text, sampled) pieces. Pieces with sampled=False are tool results, never trained on."""

    question: MiniQuestion
    pieces: tuple[tuple[str, bool], ...]
    answer: str
    calls: int

    @property
    def text(self) -> str:
        """The completion as one string."""
        return " ".join(text for text, _ in self.pieces)


class _Episode:
    """Bookkeeping of one demonstration: pieces written so far and calls left."""

    def __init__(self, environment: MiniWebTools, question: MiniQuestion, max_calls: int):
        self.question, self.max_calls = question, max_calls
        self.session: Session = environment.start(question)
        self.pieces: list[tuple[str, bool]] = []
        self.calls = 0

    def call(self, thought: str, tool: str, content: str) -> Steps:
        """Make a call and return its result text; None if no call is left."""
        if self.calls >= self.max_calls:
            return None
        self.calls += 1
        self.pieces.append((f"<think> {thought} </think> <{tool}> {content} </{tool}>", True))
        result = yield Call(self.session, tool, content)
        self.pieces.append((f"<result> {result} </result>", False))
        return result

    def finish(self, answer: str, thought: str = "done") -> Demonstration:
        self.pieces.append((f"<think> {thought} </think> <answer> \\boxed{{ {answer} }} </answer>", True))
        return Demonstration(self.question, tuple(self.pieces), answer, self.calls)


def demonstrate(
    environment: MiniWebTools, questions: list[MiniQuestion], noise: float, max_calls: int, rng: np.random.Generator
) -> list[Demonstration]:
    """Solve each question once, with noise and at most `max_calls` tool calls, all questions side by side.

    Each attempt draws from its own child of `rng`, so the batch that they run in does not matter.
    """
    attempts = [
        _attempt(environment, q, noise, max_calls, r) for q, r in zip(questions, rng.spawn(len(questions)), strict=True)
    ]
    finished: dict[int, Demonstration] = {}
    texts: dict[int, str | None] = dict.fromkeys(range(len(questions)))
    while texts:
        calls = {}
        for i, text in texts.items():
            try:
                calls[i] = attempts[i].send(text)
            except StopIteration as end:
                finished[i] = end.value
        results = environment.run(list(calls.values()))
        texts = {i: result.text for i, result in zip(calls, results, strict=True)}
    return [finished[i] for i in range(len(questions))]


def _attempt(environment, question: MiniQuestion, noise: float, max_calls: int, rng) -> Steps:
    episode = _Episode(environment, question, max_calls)
    if question.family == "mini-math":
        return (yield from _math(episode, noise, rng))
    words = question.text.split()
    label, facts, thought = " ".join(words[:2]), {}, " ".join(words[:2])
    relations = [word for word in words if word in RELATION_WORDS]
    for relation in [*relations, None]:
        page = yield from _find(episode, label, relation, thought, noise, rng)
        if page is None:
            return episode.finish(_guess(facts, rng))
        facts = page
        if relation is not None:
            label = facts.get(relation, label)
            thought = f"{relation} {label}"
    operation, attributes = _asked(words)
    values = [facts.get(attribute, str(rng.integers(10, 100))) for attribute in attributes]
    thought = " ".join(f"{attribute} {value}" for attribute, value in zip(attributes, values, strict=True))
    if operation is None or rng.random() < noise / 2:
        return episode.finish(values[int(rng.integers(len(values)))], thought)
    if rng.random() < noise / 2:
        operation = "max" if operation == "sum" else "sum"
    result = yield from _compute(episode, operation, values, thought, rng)
    return episode.finish(result, f"value {result}")


def _math(episode: _Episode, noise: float, rng) -> Steps:
    expression = episode.question.expression.split()
    if rng.random() < noise:
        return episode.finish(str(rng.integers(0, 150)))
    if rng.random() < noise:  # a misread operand
        spots = [i for i, word in enumerate(expression) if word.isdigit()]
        expression[int(rng.choice(spots))] = str(rng.integers(2, 60))
    result = yield from episode.call("compute", "python", f"print ( {' '.join(expression)} )")
    return episode.finish(result or "0")


def _compute(episode: _Episode, operation: str, values: list[str], thought: str, rng) -> Steps:
    a, b = values
    code = f"print ( {a} + {b} )" if operation == "sum" else f"print ( max ( {a} , {b} ) )"
    result = yield from episode.call(thought, "python", code)
    return result if result is not None else a


def _asked(words: list[str]) -> tuple[str | None, tuple[str, ...]]:
    for operation in ("sum", "max"):
        if operation in words:
            return operation, ATTRIBUTES
    return None, (words[-1],)


def _guess(facts: dict[str, str], rng) -> str:
    values = [facts[a] for a in ATTRIBUTES if a in facts]
    return values[int(rng.integers(len(values)))] if values else str(rng.integers(10, 100))


def _same_thing(words: list[str], name: str, kind: str) -> bool:
    return words[:1] == [name] and len(words) > 1 and words[1] in (kind, KINDS[kind][1])


def _find(episode: _Episode, label: str, relation: str | None, thought: str, noise: float, rng) -> Steps:
    """Search and open pages until one looks right. Returns its facts, or None when the calls run out."""
    name, kind = label.split()
    deep = episode.question.family == "mini-deepsearch"
    forms = [label, f"{name} {KINDS[kind][1]}", name]
    if relation is not None:
        forms.append(f"{name} {relation}")
    form = int(rng.integers(len(forms))) if rng.random() < noise else 0
    while True:
        result = yield from episode.call(thought, "search", forms[form])
        if result is None:
            return None
        if result == "timeout":
            thought = "retry"
            form = int(rng.integers(len(forms))) if rng.random() < 0.5 else form
            continue
        for rank, thought in _order(result, name, kind, noise, rng) if deep else [("", "")]:
            body = (yield from episode.call(thought, "search", f"page {rank}")) if deep else result
            if body is None:
                return None
            for words in [part.split() for part in body.split(" , ")]:
                good = _same_thing(words, name, kind) and STALE not in words
                if good or (words[:1] == [name] and rng.random() < noise):
                    return _facts(words)
        form, thought = (form + 1) % len(forms) if rng.random() > noise else int(rng.integers(len(forms))), "other"


def _order(listing: str, name: str, kind: str, noise: float, rng) -> list[tuple[str, str]]:
    """(rank, thought) of the hits that could be the page, likeliest first."""
    hits: dict[str, list[str]] = {}
    rank = None
    for word in listing.split():
        if word.isdigit():
            rank = word
            hits[rank] = []
        elif rank is not None:
            hits[rank].append(word)
    sure = [r for r, title in hits.items() if _same_thing(title, name, kind)]
    maybe = [r for r, title in hits.items() if title == [name]]
    order = sure + ([str(r) for r in rng.permutation(maybe)] if maybe else [])
    if rng.random() < noise and hits:
        order = [str(rng.choice(list(hits)))] + order
    return [(rank, "wrong" if place else "open") for place, rank in enumerate(order)]


def _facts(words: list[str]) -> dict[str, str]:
    facts: dict[str, str] = {}
    for i, word in enumerate(words[:-1]):
        if word in ATTRIBUTES:
            facts[word] = words[i + 1]
        elif word in RELATION_WORDS:
            facts[word] = " ".join(words[i + 1 : i + 3])
    return facts
