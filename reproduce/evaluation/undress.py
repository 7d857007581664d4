"""Undress an answer: one spelling for whatever Unicode, Markdown and LaTeX can write in many ways.

`plain_text` is for answers in words: characters in one Unicode form, no bold, code or mathematics marks around them.
`plain_latex` is for mathematics: also one command for each symbol, no spacing or font commands, thousands together, no
lead-in ("the answer is") and no stop at the end. Neither changes a value, a unit, a bracket or an order;
`reproduce.evaluation.answers` reads those. Both are linear in practice; callers bound the length.
"""

import re
import unicodedata
from functools import lru_cache

from reproduce.text import clean

_ROUNDS = 8  # how many layers of dress are taken off at most
# Compatibility forms that change what is read when they are replaced (x² is not x2), so they stay.
_MEANING = ("<super>", "<sub>", "<fraction>", "<circle>", "<square>")
_JOINERS = "\u200c\u200d"  # invisible, but part of the spelling in some scripts


@lru_cache(maxsize=4096)
def _plain_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf" and character not in _JOINERS:
        return ""
    if category == "Zs":
        return " "
    if category == "Nd":
        return str(unicodedata.decimal(character))
    form = unicodedata.decomposition(character)
    return unicodedata.normalize("NFKC", character) if form[:1] == "<" and not form.startswith(_MEANING) else character


def unify(text: str) -> str:
    """Bring a text to one Unicode form.

    It is composed (NFC); full-width and mathematical letters and digits become plain ones, every kind of space a space,
    digits of all scripts 0 to 9; invisible characters go. Superscripts and fractions stay.
    """
    return clean("".join(map(_plain_character, clean(text))))


_BOX = re.compile(r"\\f?boxed\s*\{")
_PAIRS = ("**", "__", "```", "`", "$$", "$")
_QUOTES = ('"', "'")  # part of a title in words, and nothing in mathematics
_BRACKETS = (("\\(", "\\)"), ("\\[", "\\]"))
_WRAPPER = re.compile(r"(?:\\f?boxed|\\(?:text|mathrm|mathbf|textbf|textit|textrm|mbox|boldsymbol|underline))\s*\{")


def _unwrap(text: str, marks: tuple[str, ...]) -> str:
    """`text` without one pair of marks around the whole of it."""
    for mark in marks:
        inside = text[len(mark) : -len(mark)]
        if inside.strip() and text.startswith(mark) and text.endswith(mark) and mark not in inside:
            return inside.strip()
    for opening, closing in _BRACKETS:
        inside = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and opening not in inside and closing not in inside:
            return inside.strip()
    return text


def closing_brace(text: str, start: int) -> int | None:
    """Find the brace that closes the one before `start`; None if there is none. `\\}` closes nothing."""
    depth, position = 1, start
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
        position += 1
    return None


def _uncover(text: str, wrapper: re.Pattern) -> str:
    """The argument of a command that covers the whole text."""
    match = wrapper.match(text)
    if match and closing_brace(text, match.end()) == len(text) - 1:
        return text[match.end() : -1].strip()
    return text


def plain_text(text: str) -> str:
    """Undress an answer in words: `unify`, then remove marks and commands around the whole of it, layer by layer."""
    text = unify(text).strip()
    for _ in range(_ROUNDS):
        bare = _uncover(_unwrap(text, _PAIRS), _WRAPPER)
        if bare == text:
            break
        text = bare
    return text


# -- mathematics ------------------------------------------------------------------------------------------------------

_COMMANDS = r"""
times ×✕⨯  div ÷  cdot ·⋅∙•‧  le ≤⩽≦  ge ≥⩾≧  ne ≠  infty ∞  cup ∪  cap ∩  in ∈  pm ±  mp ∓  emptyset ∅
pi πϖ𝜋  setminus ∖  angle ∠  triangle △
""".split()
"""Names of LaTeX commands, each followed by the characters that it replaces."""
_SIGNS = r"""-−‐‑‒–—―﹣－ /∕⁄ *∗ eℯ iⅈ .。． ,、， :： ;； "“” '‘’′ |∣""".split()
"""Each sign, followed by the characters that it replaces."""
_SYMBOLS = {
    **{
        character: rf"\{name} "
        for name, characters in zip(_COMMANDS[::2], _COMMANDS[1::2], strict=True)
        for character in characters
    },
    **{character: signs[0] for signs in _SIGNS for character in signs[1:]},
    **dict.fromkeys("°º˚", r"^\circ "),
    "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}",
    "√": r"\sqrt",
    "℃": r"^\circ C",
    "℉": r"^\circ F",
}
_GREEK = {
    chr(code): rf"\{unicodedata.name(chr(code)).rsplit(' ', 1)[1].lower().replace('lamda', 'lambda')} "
    for code in [*range(0x3B1, 0x3CA)]
    if code not in (0x3C2, 0x3BF, 0x3C0)
}
_TRANSLATED = str.maketrans(_GREEK | _SYMBOLS)
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎]+")
_VULGAR = re.compile("[¼-¾⅐-⅞]")


def _symbols(text: str) -> str:
    text = _RAISED.sub(lambda match: f"^{{{unicodedata.normalize('NFKC', match[0])}}}".replace("−", "-"), text)
    text = _LOWERED.sub(lambda match: f"_{{{unicodedata.normalize('NFKC', match[0])}}}".replace("−", "-"), text)
    text = _VULGAR.sub(lambda match: _vulgar(match[0]), text)
    return text.translate(_TRANSLATED)


def _vulgar(character: str) -> str:
    above, _, below = unicodedata.normalize("NFKC", character).partition("⁄")
    return rf"\frac{{{above}}}{{{below}}}"


_LEAD = re.compile(
    r"(?:(?:therefore|thus|so|hence),?\s+)?(?:the\s+|my\s+)?(?:final\s+|correct\s+)?(?:answer|result)\s*"
    r"(?:is|equals|:|=)\s*:?\s*(?=\S)",
    re.IGNORECASE,
)
_END = re.compile(r"(?:[.,;:\s~]|\\[,;:!\s\\]|\\q?quad)++\Z")
_FONT = r"\\(?:mathbf|mathrm|mathit|mathsf|mathtt|mathnormal|boldsymbol|bm|operatorname\*?)"
_TEXT = r"\\(?:text(?:normal|bf|it|rm|sf|tt|sc|md|up)?|mbox|hbox|emph)"
_STYLE = re.compile(r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|phantom\{\})(?![A-Za-z])")
_SIZE = re.compile(r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\s*(\.)?")
_COLOUR = re.compile(r"\\(?:textcolor|color)\s*\{[^{}]*\}")
_OLD_FONT = re.compile(r"\{\s*\\(?:rm|bf|it|sf|tt)\s+([^{}]*)\}")
_OLD_FONT_OPEN = re.compile(r"\\(?:rm|bf|it|sf|tt)(?![A-Za-z])")
_GROUPS = re.compile(
    # Thousands set apart by LaTeX's thin spaces or by a comma in braces or before a negative space.
    r"(?<![\d.])\d{1,3}(?:\s*(?:\{\s*,\s*\}|,?\s*\\!|\\[,;: ]|\\thinspace|~)+\s*\d{3}(?!\d))+"
)
_THIN = re.compile(r"(?<![\d.,/^_])[1-9]\d{0,2}(?: \d{3})+(?![\d/,]| \d)")
_UNDERSCORES = re.compile(r"(?<=\d)_(?=\d{3}(?!\d))|(?<=\d)'(?=\d{3}(?!\d))")
_SPACING = re.compile(r"\\[,;: ]|\\(?:thinspace|medspace|thickspace|q?quad|enspace|hspace\{[^{}]*\})(?![A-Za-z])|~")
_SYNONYMS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
        (r"\\(?:leqslant|leqq|leq)(?![A-Za-z])|<=|=<", r"\\le "),
        (r"\\(?:geqslant|geqq|geq)(?![A-Za-z])|>=", r"\\ge "),
        (r"\\neq(?![A-Za-z])|!=", r"\\ne "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\lbrack(?![A-Za-z])", "["),
        (r"\\rbrack(?![A-Za-z])", "]"),
        (r"\\colon(?![A-Za-z])", ":"),
        (r"\\(?:varnothing|empty)(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset "),
        (r"\\(?:imath)(?![A-Za-z])", "i"),
        (r"\\(?:Reals?|R)(?![A-Za-z])|\\text\{R\}", r"\\mathbb{R}"),
        (r"\\[lr]?vert(?![A-Za-z])", "|"),
        (r"(?:\{\})?\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degrees?(?![A-Za-z])", r"^\\circ "),
        (r"\\%", "%"),
        (r"(?<![A-Za-z\\])\+?(?:infinity|infty|inf|oo)(?![A-Za-z])|\+\s*\\infty", r"\\infty "),
        (r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi "),
        (r"(?<![A-Za-z\\])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![A-Za-z\\])sqrt\s*(\d+)", r"\\sqrt{\1}"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\sqrt\s*(\d+|[A-Za-z])(?![\d])", r"\\sqrt{\1}"),
        (
            r"(?<![A-Za-z\\])(sin|cos|tan|cot|csc|log|ln|arcsin|arccos|arctan)(?=\s*[({\\^_]|\s+[A-Za-z\d](?![A-Za-z]))",
            r"\\\1",
        ),
        (r"(?<=[\w)}])\s*\*\*\s*(?=[\w({-])", "^"),
        (r"\^\s*\(([^()]*)\)", r"^{\1}"),
        (r"\^\s*(-?\d+)(?![\d.])", r"^{\1}"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
        (r"\\frac\s+", r"\\frac"),
        (r"\}\s+\{", "}{"),
    )
]


_TEXTS = re.compile(rf"(?P<mark>[\^_])?\s*{_TEXT}\s*\{{(?P<inside>[^{{}}]*)\}}")
_FONTS = re.compile(rf"(?P<mark>[\^_])?\s*{_FONT}\s*\{{(?P<inside>[^{{}}]*)\}}")


def _fonts(text: str) -> str:
    """Remove fonts. Words keep one command, `\\text{...}`; a single letter or a number keeps none."""

    def replaced(match: re.Match) -> str:
        inside = match["inside"].strip().strip("$").removeprefix("\\(").removesuffix("\\)")
        mark, letters = match["mark"] or "", sum(character.isalpha() for character in inside)
        one_symbol = letters == 0 or (letters == 1 and match.re is _FONTS) or inside in ("i", "e")
        if one_symbol or (match.re is _FONTS and "\\" in inside):
            return f"{mark}{{{inside}}}" if mark else inside
        return rf"{mark}\text{{{inside}}}"

    return _TEXTS.sub(replaced, _FONTS.sub(replaced, text))


def _math_marks(text: str) -> str:
    r"""Without `\(..\)`, `\[..\]` and `$..$` inside the text; a dollar sign before a number that is left is money."""
    text = re.sub(r"(?<!\\)\\[()\[\]]", "", text).replace("$$", "$")
    text = text.replace(r"\$", "\0")
    if text.count("$") % 2 == 0:
        text = text.replace("$", "")
    return text.replace("$", "\0").replace("\0", r"\$")


def plain_latex(text: str) -> str:
    """Undress an answer in mathematics (see the module docstring). Text that is not mathematics keeps its letters."""
    text = _symbols(unify(_symbols(text))).strip()
    for _ in range(_ROUNDS):
        bare = _uncover(_unwrap(text, _PAIRS + _QUOTES), _BOX)
        bare = _LEAD.sub("", bare, count=1) if _LEAD.match(bare) else bare
        bare = _END.sub("", bare).strip()
        if bare.startswith("{") and closing_brace(bare, 1) == len(bare) - 1:
            bare = bare[1:-1].strip()
        if bare == text:
            break
        text = bare
    text = text.replace("**", "") if re.search(r"\*\*[^*]+\*\*", text) else text
    text = _STYLE.sub("", _COLOUR.sub("", _SIZE.sub("", text.replace("`", ""))))
    if "\\begin" not in text:
        text = text.replace("\\\\", "\\") if re.match(r"\\\\[a-z]", text) else text
        text = _math_marks(text)
    text = _GROUPS.sub(lambda match: re.sub(r"[^\d]", "", match[0]), text)
    text = _THIN.sub(lambda match: match[0].replace(" ", ""), text)
    text = _UNDERSCORES.sub("", text)
    if "\\begin" not in text:
        text = _SPACING.sub(" ", text)
    text = text.replace("\\!", "")
    text = _OLD_FONT_OPEN.sub(" ", _OLD_FONT.sub(r"\\text{\1}", text))
    text = _fonts(_fonts(text))
    for pattern, replacement in _SYNONYMS:
        text = pattern.sub(replacement, text)
    return _END.sub("", " ".join(text.split())).strip()
