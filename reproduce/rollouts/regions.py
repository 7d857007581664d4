"""Regions of a completion's text (tags, tool names, arguments, reasoning), found for the tokens that were sampled.

A token's place in the text is its own: what the text gains when the token is decoded behind those before it. The text
is never tokenised again, which could cut it at other places.
"""

import json
import re

from reproduce.algorithms.parts.regions import ARGUMENTS, FORMAT, NAME, REASONING
from reproduce.rollouts.grammar import ACTIONS, WEB_TOOLS, Grammar

CALLS = (*WEB_TOOLS, *ACTIONS)
_CALL = "|".join(CALLS)
_TAG = re.compile(rf"</?(?:think|answer|response|tool_call|{_CALL})>")
_THOUGHT = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_TAGGED_CALL = re.compile(rf"<({_CALL})>(.*?)</\1>", re.DOTALL)
_JSON_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_JSON_NAME = re.compile(r'"name"\s*:\s*"((?:[^"\\]|\\.)*)"')
_JSON_ARGUMENTS = re.compile(r'"(?:arguments|parameters)"\s*:\s*(?=\{)')
WINDOW = 8
"""Tokens before one with which its text is decoded: a character has at most four bytes, and a token at least one."""


def regions_of_text(text: str) -> list[int]:
    """Find the regions of every character of a completion, as bits of `algorithms.parts.regions`.

    FORMAT: a tag of thoughts, answers or calls, alone or not. REASONING: what stands between `<think>` and `</think>`.
    Of a call in tags, `<search>query</search>`, the word in the opening tag is the NAME and what the tags enclose the
    ARGUMENTS. Of `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` they are what the JSON calls so, the
    object's braces included. A thought or call that is not closed has its tag alone.
    """
    found = [0] * len(text)

    def mark(start: int, end: int, bit: int) -> None:
        for i in range(start, end):
            found[i] |= bit

    for tag in _TAG.finditer(text):
        mark(*tag.span(), FORMAT)
    for thought in _THOUGHT.finditer(text):
        mark(*thought.span(1), REASONING)
    for call in _TAGGED_CALL.finditer(text):
        mark(*call.span(1), NAME)
        mark(*call.span(2), ARGUMENTS)
    for call in _JSON_CALL.finditer(text):
        name = _JSON_NAME.search(text, *call.span(1))
        arguments = _JSON_ARGUMENTS.search(text, *call.span(1))
        if name:
            mark(*name.span(1), NAME)
        if arguments:
            mark(arguments.end(), _end_of_object(text, arguments.end()), ARGUMENTS)
    return found


def _end_of_object(text: str, start: int) -> int:
    """Where the JSON object that begins at `start` ends; `start` if it is broken."""
    try:
        return json.JSONDecoder().raw_decode(text, start)[1]
    except ValueError:
        return start


def token_spans(grammar: Grammar, ids: list[int]) -> list[tuple[int, int]]:
    """Find (start, end) of every token in the text of all of them; empty where a token adds no character.

    Args:
        grammar: decodes.
        ids: a completion's tokens.
    """
    spans, end = [], 0
    for i in range(len(ids)):
        before = ids[max(0, i - WINDOW) : i]
        start, end = end, end + len(grammar.decode([*before, ids[i]])) - len(grammar.decode(before))
        spans.append((start, end))
    return spans


def token_regions(grammar: Grammar, ids: list[int]) -> list[int]:
    """Find the regions of every token of a completion, as bits.

    A token has the regions of its characters, blanks left out if it has others. One that only completes a character of
    several bytes has that character's; a special token has none.

    Args:
        grammar: decodes.
        ids: the completion's tokens, those of tool results included.
    """
    text, spans = grammar.decode(ids), token_spans(grammar, ids)
    regions, found = regions_of_text(text), []
    for token, (start, end) in zip(ids, spans, strict=True):
        if end <= start:
            start, end = (end - 1, end) if end and grammar.decode([token]) else (0, 0)
        solid = [i for i in range(start, end) if not text[i].isspace()]
        bits = 0
        for i in solid or range(start, end):
            bits |= regions[i]
        found.append(bits)
    return found
