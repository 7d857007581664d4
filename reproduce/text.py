"""Clean foreign text: whatever a file, a page, a service or a program brings in passes `clean` once."""

import re
import sys
import unicodedata
from functools import cache

_SPACING = re.compile("[\x1c-\x1f\x85]")  # separators
_CONTROL = re.compile("[\x00-\x07\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff]")
MOST_MARKS = 30  # in a row: Unicode's stream-safe text format (UAX 15, section 13)
JOINER = "\u034f"  # the combining grapheme joiner, which that format puts behind as many marks


def clean(text: str) -> str:
    """Return `text` as valid Unicode in normal form C, without byte-order marks and control characters.

    Two halves of a surrogate pair are joined. A lone half becomes U+FFFD, since no tokenizer, file or request can hold
    it. Tab, line ends, form feed and backspace stay, separators become a space, other control characters go. (The
    public RL files hold a form feed of `\\frac` and a backspace of `\\boxed`; their loader repairs the backspace.) Runs
    of more than 30 combining marks, which no language has, are broken by a joiner: normalising takes quadratic time in
    them.
    """
    text = _CONTROL.sub("", _SPACING.sub(" ", text))
    if text.isascii():
        return text
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return unicodedata.normalize("NFC", _marks().sub(rf"\g<0>{JOINER}", text))


@cache
def _marks() -> re.Pattern:
    """A pattern that finds `MOST_MARKS` combining marks with another one behind them."""
    marks = "".join(filter(unicodedata.combining, map(chr, range(0x300, sys.maxunicode + 1))))
    return re.compile(f"[{marks}]{{{MOST_MARKS}}}(?=[{marks}])")


def cleaned(value):
    """Clean every string in `value`, keys included. Lists and mappings are walked; other values are kept."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {cleaned(key): cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [cleaned(item) for item in value]
    return value
