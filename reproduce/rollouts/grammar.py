"""Tool-call tags: single tokens for models trained from scratch, plain text for Hub models."""

import math

from reproduce.errors import UserError

PROGRAMS = "python"
WEB_TOOLS, ACTIONS = ("search", PROGRAMS), ("action",)
"""The tags that a segment can end with: tool calls in a trajectory of one prompt, or the action of a turn."""


class Grammar:
    """Tags as single tokens. Every tag of `tools` must be one token of the tokenizer.

    stop_ids: the tokens at which an engine hands a path over.

    Raises:
        UserError: a tag is not a single token.
    """

    def __init__(self, tokenizer, tools: tuple[str, ...] = WEB_TOOLS):
        self.tokenizer = tokenizer
        self.eos_id, self.pad_id = tokenizer.eos_token_id, tokenizer.pad_token_id
        self.unknown_id = tokenizer.unk_token_id
        self._controls = {self.eos_id, self.pad_id, getattr(tokenizer, "bos_token_id", None)} - {self.unknown_id}
        self._find_tags(tools)
        self.log_vocabulary = math.log(len(tokenizer))

    def _find_tags(self, tools: tuple[str, ...]) -> None:
        self.open = {self._tag(f"<{tool}>"): tool for tool in tools}
        self.close = {self._tag(f"</{tool}>"): tool for tool in tools}
        self.stop_ids = list(self.close)

    def _tag(self, tag: str) -> int:
        ids = self.tokenizer.encode(tag, add_special_tokens=False)
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
            raise UserError(f"tokenizer: {tag} is not a single token; add the tags to the tokenizer's vocabulary")
        return ids[0]

    def ends_call(self, segment: list[int]) -> bool:
        """Whether a segment whose last token is a stop token ends with a call."""
        return True

    def call(self, segment: list[int]) -> tuple[str, str]:
        """Parse the call that a segment ends with.

        Blanks around a query are removed. A program keeps them: those before it indent its first line
        (`tools.sandbox.source`).

        Returns:
            (tool, content); content is "" if the call was never opened.
        """
        tool = self.close[segment[-1]]
        starts = [i for i, token in enumerate(segment) if self.open.get(token) == tool]
        return tool, _content(tool, self.decode(segment[starts[-1] + 1 : -1]) if starts else "")

    def encode(self, text: str) -> list[int]:
        """Encode text that may be foreign: a control token that it spells becomes an unknown word."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return ids if self._controls.isdisjoint(ids) else [self.unknown_id if i in self._controls else i for i in ids]

    def decode(self, ids: list[int]) -> str:
        """Decode token ids without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)


class SpeltGrammar(Grammar):
    """Tags as text, for Hub models, which spell them with the tokens of their vocabulary as the papers' models do.

    Hub tokenizers may split a tag anywhere. The engine pauses at any token that could end a closing tag; `ends_call`
    checks the text, and the path resumes if no tag is complete. Text behind the tag in that token (">\\n") stays in the
    trajectory.

    Raises:
        UserError: a tag is a special token, which decoding drops.
    """

    def _find_tags(self, tools: tuple[str, ...]) -> None:
        self.tools = tools
        self.closing = [f"</{tool}>" for tool in tools]
        known, special = self.tokenizer.get_vocab(), set(self.tokenizer.all_special_ids)
        for tag in [f"<{tool}>" for tool in tools] + self.closing:
            if known.get(tag) in special:
                raise UserError(f"tokenizer: {tag} is a special token, so that texts would lose it")
        pieces = self.tokenizer.batch_decode([[i] for i in range(len(self.tokenizer))]) if tools else []
        self.stop_ids = [i for i, piece in enumerate(pieces) if any(_may_end(piece, tag) for tag in self.closing)]

    def encode(self, text: str) -> list[int]:
        """Encode text that may be foreign: a control token that it spells is encoded as text, and controls nothing."""
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def ends_call(self, segment: list[int]) -> bool:
        """Whether a closing tag is complete with the segment's last token."""
        return self._closed(segment) is not None

    def call(self, segment: list[int]) -> tuple[str, str]:
        """As of `Grammar`. Raises ValueError if the segment ends with no call."""
        closed = self._closed(segment)
        if closed is None:
            raise ValueError("the segment ends with no call")
        tool, before = closed
        start = before.rfind(f"<{tool}>")
        return tool, _content(tool, before[start + len(f"<{tool}>") :] if start >= 0 else "")

    def _closed(self, segment: list[int]) -> tuple[str, str] | None:
        """(tool, the text before its closing tag) of the first closing tag in a segment."""
        text = self.decode(segment)
        found = [(text.find(tag), tool) for tag, tool in zip(self.closing, self.tools, strict=True) if tag in text]
        if not found:
            return None
        at, tool = min(found)
        return tool, text[:at]


def _content(tool: str, between: str) -> str:
    """Argument of a tool: the text between its tags."""
    return between if tool == PROGRAMS else between.strip()


def _may_end(piece: str, tag: str) -> bool:
    """Whether a token with the text `piece` can complete `tag`, given the right text before it."""
    ends = [i + 1 for i, character in enumerate(piece) if character == tag[-1]]
    return any(tag.endswith(piece[:end]) or piece[:end].endswith(tag) for end in ends)
