"""The tags by which model and agent loop understand each other, as tokens."""

import math

from reproduce.errors import UserError

WEB_TOOLS, ACTIONS = ("search", "python"), ("action",)
"""The tags that a segment can end with: tool calls in a trajectory of one prompt, or the action of a turn."""


class Grammar:
    """The tag tokens of a tokenizer, and text to ids and back. Every tag of `tools` must be a single token."""

    def __init__(self, tokenizer, tools: tuple[str, ...] = WEB_TOOLS):
        self.tokenizer = tokenizer
        self.eos_id, self.pad_id = tokenizer.eos_token_id, tokenizer.pad_token_id
        self.open = {self._tag(f"<{tool}>"): tool for tool in tools}
        self.close = {self._tag(f"</{tool}>"): tool for tool in tools}
        self.log_vocabulary = math.log(len(tokenizer))

    def _tag(self, tag: str) -> int:
        ids = self.tokenizer.encode(tag, add_special_tokens=False)
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
            raise UserError(f"tokenizer: {tag} is not a single token; add the tags to the tokenizer's vocabulary")
        return ids[0]

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: list[int]) -> str:
        """Text without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)
