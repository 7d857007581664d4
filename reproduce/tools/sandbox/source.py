"""Find the program in a tool call: whatever a model wraps around its code is removed before Python reads it."""

import re

_FENCE = re.compile(r"\s*(```+|~~~+)[ \t]*(?:[\w.+-]+[ \t]*)?\n")
_INLINE_FENCE = re.compile(r"\s*```(?:python3?|py)?[ \t]*([^\n`]+?)[ \t]*```\s*")
_ODD_INDENT = re.compile(r"^[ \t]*[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000][\s\u200b]*", re.MULTILINE)
SHORT = 2000
"""Characters of a call that may be one line in a fence."""

_OPENS = re.compile(r"[:,(\[{\\=+\-*/%&|^<>]\s*$")


def program_source(call: str) -> str:
    """Return the program in a call's text, as Python takes it.

    We remove a byte-order mark, blank lines and spaces around it, a code fence around the whole (also one that never
    closes), and an indentation that all lines share. If only the first line lacks the indentation, because it begins
    right behind the tag, the others are shifted to it. Line ends become "\\n", and blanks that only look like spaces
    become spaces where they indent. The prompts of the RL files write `<python> code </python>`, with a blank behind
    the tag. The released rollout strips and does no more (`vllm_rollout_with_tools.py`, `_extract_content`); the rest
    is ours. The time is linear in the text.
    """
    text = call.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")
    text = _ODD_INDENT.sub(lambda found: re.sub(r"[^\t\n]", " ", found[0]), text)
    if fence := _FENCE.match(text):
        text = text[fence.end() :].rstrip().removesuffix(fence[1])
    elif len(text) < SHORT and (line := _INLINE_FENCE.fullmatch(text)):
        text = line[1]
    blank = len(text) - len(text.lstrip())
    lines = _dedented(text[text.rfind("\n", 0, blank) + 1 :].rstrip().split("\n"))
    lines[0] = lines[0].lstrip(" \t")
    if len(lines) > 1 and _stands_alone(lines[0]):
        lines = [lines[0], *_dedented(lines[1:])]
    return "\n".join(lines)


def _dedented(lines: list[str]) -> list[str]:
    """The lines without the indentation that all of them share. Blank lines have none. Other lines keep every
    character.
    """
    indents = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines if line.strip()]
    shared = 0
    while indents and all(len(indent) > shared and indent[shared] == indents[0][shared] for indent in indents):
        shared += 1
    return [line[shared:] for line in lines] if shared else lines


def _stands_alone(line: str) -> bool:
    """Whether the line is a whole statement, so that an indentation of all later lines means nothing."""
    code = line.split("#")[0]
    balanced = all(code.count(a) == code.count(b) for a, b in ("()", "[]", "{}"))
    return balanced and not _OPENS.search(code.rstrip() or ":") and '"""' not in line and "'''" not in line
