"""Read the parts of a mathematical answer from its plain LaTeX (`reproduce.evaluation.undress`).

A parser of expressions drops what it does not know: the base of a number, am and pm, the brackets of a pair, the order
of the letters of a word. So we read these parts here, and leave only single expressions to the parser:

    Words         "east", "(B)", "even"
    Based         digits and their base: 2516_8
    Clock         a time of day: 4:51:06 p.m.
    Amount        an expression and its unit: 15\\text{ cm}^2, \\$18.90, 90^\\circ, 15%
    Ratio         1 : 2 : 3
    Sequence      "list" (no brackets, any order), "set" (any order), "tuple" ( ), "bracket" [ ]
    Intervals     pieces of the real line, from brackets, unions or inequalities
    Named         x = 5, f(x) = ..., x \\in ...
"""

import re
from fractions import Fraction
from typing import NamedTuple

from reproduce.evaluation.undress import closing_brace
from reproduce.evaluation.units import SCALES, Unit, read_unit

MAX_DEPTH = 12  # brackets in brackets; deeper ones are compared as they are written
LIST, SET, TUPLE, BRACKET = "list", "set", "tuple", "bracket"
PERCENT = Unit("percent", Fraction(1, 100), True)
INFINITY = r"\infty"


class Words(NamedTuple):
    """text: lower case, without articles and punctuation; a choice is one capital letter. choice: whether it is one."""

    text: str
    choice: bool


class Based(NamedTuple):
    """A number in another base than ten. digits: without leading zeros, upper case."""

    digits: str
    base: int


class Clock(NamedTuple):
    """A time of day as it is written. half: "am", "pm" or None."""

    hour: int
    minute: int
    second: int
    half: str | None


class Amount(NamedTuple):
    """latex: one expression. unit: None if none is written. whole: both as they are written."""

    latex: str
    unit: Unit | None
    whole: str = ""


class Ratio(NamedTuple):
    parts: tuple


class Sequence(NamedTuple):
    kind: str
    items: tuple


class Piece(NamedTuple):
    """An interval. left_open, right_open: whether the end is excluded; an infinite end is always open."""

    left_open: bool
    left: str
    right: str
    right_open: bool


class Intervals(NamedTuple):
    """A union of intervals. name: the variable, if inequalities were written."""

    pieces: tuple[Piece, ...]
    name: str | None


class Named(NamedTuple):
    name: str
    value: object
    relation: str


def read(text: str, depth: int = 0):
    """Read the parts of an answer in plain LaTeX. Anything but the kinds above is an Amount without unit."""
    text = text.strip().rstrip(",;").strip()
    if depth > MAX_DEPTH or "\\begin" in text:
        return Amount(text, None)
    for reader in (_based, _clock, _words, _named, _inequality, _several, _union, _alternatives, _bracketed, _ratio):
        if (found := reader(text, depth)) is not None:
            return found
    return _amount(text)


# -- splitting --------------------------------------------------------------------------------------------------------

_OPENING, _CLOSING = "([{", ")]}"


def split(text: str, separator: re.Pattern) -> list[tuple[str, str]]:
    """Cut a text at the separators that are inside no bracket. Returns (separator in front, part) of each part."""
    parts, depth, start, before, position = [], 0, 0, "", 0
    while position < len(text):
        match = separator.match(text, position) if depth == 0 else None
        if match and match.end() > position:
            parts.append((before, text[start:position].strip()))
            before, start, position = match[0].strip(), match.end(), match.end()
            continue
        if text[position] == "\\" and position + 1 < len(text) and text[position + 1] not in "{}":
            position += 2  # a command, or an escaped character
            continue
        position += text[position] == "\\"
        character = text[position]
        depth += 1 if character in _OPENING else -1 if character in _CLOSING else 0
        depth = max(depth, 0)
        position += 1
    return [*parts, (before, text[start:].strip())]


def balanced(text: str) -> bool:
    """Whether every brace closes within the text, so that it cannot break out of its surroundings."""
    return closing_brace("{" + text + "}", 1) == len(text) + 1


# -- words, bases, times ----------------------------------------------------------------------------------------------

_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_SHORT_WORDS = frozenset(("no", "on"))
_ALPHABET = re.compile(r"[^\W\d_]+(?:[ .,'’-]+[^\W\d_]+)*[.]?")


def _words(text: str, depth: int):
    covered = "\\text" in text
    bare = _TEXT.sub(r"\1", text).strip().strip(".").strip()
    option = re.fullmatch(r"(?i:(?:option|choice|answer)\s+)?\(?\s*([A-Ja-j])\s*\)?", bare)
    if option and (covered or "(" in bare or len(bare) > 1) and (covered or option[1].isupper()):
        return Words(option[1].upper(), True)
    if len(bare) == 1 and bare.isalpha():
        return Words(bare, True) if bare in "ABCDEFGHIJ" else Words(bare.lower(), False) if covered else None
    if not _ALPHABET.fullmatch(bare):
        return None
    runs = re.findall(r"[^\W\d_]+", bare)
    longest = max(map(len, runs))
    if not (covered or longest > 2 or bare.lower() in _SHORT_WORDS or (longest == 2 and not bare.islower())):
        return None  # a product of variables
    kept = [word for word in re.sub(r"[-.,'’]", " ", bare).casefold().split() if word not in ("a", "an", "the")]
    return Words(" ".join(kept) or bare.casefold(), False)


_BASES = dict(two=2, three=3, four=4, five=5, six=6, seven=7, eight=8, nine=9, ten=10, eleven=11, twelve=12)
_BASES |= dict(thirteen=13, fourteen=14, fifteen=15, sixteen=16, twenty=20)
_BASES |= dict(binary=2, ternary=3, octal=8, decimal=10, hexadecimal=16, hex=16)
_DIGITS = r"\(?\s*(?P<digits>[-+]?[0-9](?:[0-9A-Z ]*[0-9A-Z])?(?:\.[0-9A-Z]+)?)\s*\)?"
_SUBSCRIPT = re.compile(
    _DIGITS + r"\s*_\s*\{?\s*\(?\s*(?:\\text\s*\{)?\s*(?:base[\s-]*)?(?P<base>\d{1,2}|[a-z]+)\s*\)?\s*\}?\s*\}?"
)
_IN_BASE = re.compile(
    _DIGITS + r"\s*\(?\s*(?:\\text\s*\{)?\s*\(?\s*(?:in\s+)?base[\s-]*\}?\s*_?"
    r"\{?(?P<base>\d{1,2}|[a-z]+)\}?\s*\)?\s*\}?\)?"
)


def _based(text: str, depth: int):
    match = _SUBSCRIPT.fullmatch(text) or _IN_BASE.fullmatch(text)
    if not match:
        return None
    base = int(match["base"]) if match["base"].isdigit() else _BASES.get(match["base"])
    if base is None or not 2 <= base <= 36:
        return None
    digits = match["digits"].replace(" ", "").upper().removeprefix("+")
    sign, digits = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    whole, point, part = digits.partition(".")
    digits = f"{sign}{whole.lstrip('0') or '0'}{point}{part}"
    return Amount(digits, None) if base == 10 and digits.lstrip("-").replace(".", "").isdigit() else Based(digits, base)


_HALF = r"(?:\\text\s*\{)?\s*(?P<half>[aApP]\s*\.?\s*[mM]\b\s*\.?|noon|midnight)?\s*\.?\s*\}?"
_CLOCK = re.compile(r"(?P<hour>\d{1,2})\s*(?::\s*(?P<minute>[0-5]\d))?\s*(?::\s*(?P<second>[0-5]\d))?\s*" + _HALF)


def _clock(text: str, depth: int):
    match = _CLOCK.fullmatch(text)
    if not match or not (match["half"] or match["minute"]) or int(match["hour"]) > 24:
        return None
    half = (match["half"] or "").lower()
    half = {"noon": "pm", "midnight": "am"}.get(half, half[:1] + "m" if half else None)
    return Clock(int(match["hour"]), int(match["minute"] or 0), int(match["second"] or 0), half)


# -- names and relations ----------------------------------------------------------------------------------------------

_EQUALS = re.compile(r"=")
_SYMBOL = r"(?:[A-Za-z]|\\(?!text|frac|sqrt|infty|pi|cdot|times|le|ge|ne|in|pm|cup)[A-Za-z]+)"
_NAME = re.compile(
    rf"(?:\\text\s*\{{[^{{}}]*\}}|(?:\\(?:angle|triangle|overline|vec|hat)\s*)?\{{?{_SYMBOL}[A-Za-z]*'*\}}?"
    rf"(?:\s*_\s*(?:\w|\{{[^{{}}]*\}}))?(?:\s*\(\s*\w(?:\s*,\s*\w)*\s*\))?"
    rf"|\(\s*{_SYMBOL}(?:_\w)?(?:\s*,\s*{_SYMBOL}(?:_\w)?)*\s*\)|[A-Za-z ]+)\s*"
)


def _named(text: str, depth: int):
    parts = split(text, _EQUALS)
    if len(parts) >= 2 and _NAME.fullmatch(parts[0][1]) and all(part for _, part in parts):
        rest = parts[-1][1]
        several = len(split(rest, _COMMAS)) > 1 and not _THOUSANDS.fullmatch(rest)
        if several or any(len(split(item, _COMMAS)) > 1 for _, item in parts[1:-1]):
            return None  # x = 1, y = 2 is a list of names; x = 1, 2 is a list too
        return Named(_squeezed(parts[0][1]), read(rest, depth + 1), "=")
    name, found, rest = text.partition("\\in ")
    if found and _NAME.fullmatch(name):
        return Named(_squeezed(name), read(rest, depth + 1), "in")
    return None


def _squeezed(text: str) -> str:
    return re.sub(r"\\text\s*|[\s{}]", "", text)


_RELATION = re.compile(r"\\le(?![A-Za-z])|\\ge(?![A-Za-z])|\\ne(?![A-Za-z])|<|>")
_VARIABLE = re.compile(rf"{_SYMBOL}(?:_\w|_\{{\w+\}})?")
_BUILDER = re.compile(r"\\\{\s*(?P<name>[A-Za-z])\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?:\||\\mid|:)\s*(?P<rule>.*)\\\}")


def _inequality(text: str, depth: int):
    built = _BUILDER.fullmatch(text)
    if built:
        return _inequality(built["rule"], depth) or read(built["rule"], depth + 1)
    parts = split(text, _RELATION)
    if len(parts) not in (2, 3) or len(split(text, _COMMAS)) > 1:
        return None
    texts, relations = [part for _, part in parts], [relation for relation, _ in parts[1:]]
    at = [number for number, part in enumerate(texts) if _VARIABLE.fullmatch(part)]
    if at not in ([0], [1]) or (len(texts) == 3 and at != [1]) or not all(texts):
        return None
    name = texts[at[0]]
    if any(re.search(rf"(?<![A-Za-z\\]){re.escape(name)}(?![A-Za-z])", part) for part in texts if part != name):
        return None
    if len(texts) == 2:
        bound, relation = texts[1 - at[0]], relations[0]
        if at[0] == 1:
            relation = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}.get(relation, relation)
        below, above = ("-" + INFINITY, bound), (bound, INFINITY)
        if relation == "\\ne":
            return Intervals((Piece(True, *below, True), Piece(True, *above, True)), name)
        is_open = relation in ("<", ">")
        less = relation in ("<", "\\le")
        return Intervals((Piece(True, *below, is_open) if less else Piece(is_open, *above, True),), name)
    rising = {relation in ("<", "\\le") for relation in relations}
    if len(rising) != 1 or "\\ne" in relations:
        return None
    open_left, open_right = (relation in ("<", ">") for relation in relations)
    if rising.pop():
        return Intervals((Piece(open_left, texts[0], texts[2], open_right),), name)
    return Intervals((Piece(open_right, texts[2], texts[0], open_left),), name)


# -- several things ---------------------------------------------------------------------------------------------------

_COMMAS = re.compile(
    r"\s*[,;]\s*(?:(?:\\text\s*\{\s*)?(?:and|or)\b\s*\}?)?|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|"
    r"\\text\s*\{\s*(?:,\s*)?(?:and|or)\s*\}|\\(?:lor|land|vee)(?![A-Za-z])"
)
_THOUSANDS = re.compile(r"[-+]?(?:\\\$\s*)?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?(?![\d,])")


def _several(text: str, depth: int):
    if depth == 0 or depth == 1:
        found = _THOUSANDS.match(text)
        if found and len(split(text[found.end() :], _COMMAS)) == 1:
            return None  # a number with commas between its thousands
    parts = split(text, _COMMAS)
    if len(parts) < 2:
        return None
    items = [read(part, depth + 1) for _, part in parts if part]
    pieces = [piece for item in items if isinstance(item, Intervals) for piece in item.pieces]
    if items and all(isinstance(item, Intervals) for item in items):
        names = {item.name for item in items}
        joined = all("and" not in separator and "\\land" not in separator for separator, _ in parts)
        return Intervals(tuple(pieces), names.pop()) if len(names) == 1 and joined else Sequence(LIST, tuple(items))
    return Sequence(LIST, _flat(items))


def _flat(items) -> tuple:
    """Items, with the two values of a plus-minus instead of their list."""
    return tuple(
        one for item in items for one in (item.items if isinstance(item, Sequence) and item.kind == LIST else [item])
    )


_CUP = re.compile(r"\\cup(?![A-Za-z])|(?<![A-Za-z\\])U(?![A-Za-z])")
_REALS = re.compile(r"\\mathbb\{R\}|\\text\s*\{\s*all real numbers\s*\}|all real numbers", re.IGNORECASE)
_WHOLE = Piece(True, "-" + INFINITY, INFINITY, True)


def _union(text: str, depth: int):
    if _REALS.fullmatch(text):
        return Intervals((_WHOLE,), None)
    whole, _, point = text.partition("\\setminus")
    if point and _REALS.fullmatch(whole.strip()) and (hole := re.fullmatch(r"\s*\\\{([^{},]*)\\\}\s*", point)):
        return Intervals(
            (Piece(True, "-" + INFINITY, hole[1].strip(), True), Piece(True, hole[1].strip(), INFINITY, True)), None
        )
    parts = [part for _, part in split(text, _CUP)]
    pieces = [_piece(part, len(parts) > 1) for part in parts]
    if None in pieces:
        if len(parts) > 1 and all(part.startswith("\\{") for part in parts):
            return Sequence(SET, _flat([read(part[2:-2], depth + 1) for part in parts]))
        return None
    return Intervals(tuple(pieces), None)


def _piece(text: str, always: bool) -> Piece | None:
    """The interval that is written with brackets.

    One with two round or two square brackets counts in a union (`always`) or with an infinite end; elsewhere it may be
    a pair.
    """
    if not text or text[0] not in "([" or text[-1] not in ")]":
        return None
    ends = [part for _, part in split(text[1:-1], _COMMAS)]
    if len(ends) != 2 or not all(ends):
        return None
    if text[0] + text[-1] in ("()", "[]") and not always and INFINITY not in text:
        return None
    return Piece(text[0] == "(", ends[0], ends[1], text[-1] == ")")


_PLUS_MINUS = re.compile(r"\\(pm|mp)(?![A-Za-z])")


def _alternatives(text: str, depth: int):
    """The two values of a plus-minus. All its signs in one text go together."""
    if not _PLUS_MINUS.search(text) or text.startswith("\\{"):
        return None
    upper = _PLUS_MINUS.sub(lambda match: "+" if match[1] == "pm" else "-", text)
    lower = _PLUS_MINUS.sub(lambda match: "-" if match[1] == "pm" else "+", text)
    return Sequence(LIST, _flat([read(re.sub(r"^\s*\+", "", one), depth + 1) for one in (upper, lower)]))


_KINDS = {"()": TUPLE, "[]": BRACKET}


def _bracketed(text: str, depth: int):
    if text.startswith("\\{") and text.endswith("\\}"):
        items = [part for _, part in split(text[2:-2], _ITEMS)]
        return Sequence(SET, _flat([read(item, depth + 1) for item in items if item]))
    if len(text) < 2 or text[0] + text[-1] not in _KINDS or not _closes_last(text):
        return None
    inside = text[1:-1].strip()
    items = [part for _, part in split(inside, _ITEMS)]
    if len(items) < 2:
        return read(inside, depth + 1) if text[0] == "(" and inside else None
    return Sequence(_KINDS[text[0] + text[-1]], tuple(read(item, depth + 2) for item in items))


_ITEMS = re.compile(r"\s*[,;]\s*")


def _closes_last(text: str) -> bool:
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0:
            return position == len(text) - 1
    return False


_COLON = re.compile(r":")


def _ratio(text: str, depth: int):
    parts = [part for _, part in split(text, _COLON)]
    if len(parts) < 2 or not all(parts) or any(re.search(r"[A-Za-z]{3,}", re.sub(r"\\[a-z]+", "", p)) for p in parts):
        return None
    return Ratio(tuple(read(part, depth + 1) for part in parts))


# -- one expression with its unit -------------------------------------------------------------------------------------

_DOLLARS = Unit("dollars^1", Fraction(1), True)
_RUPEES, _EUROS = Unit("rupees^1", Fraction(1), True), Unit("euros^1", Fraction(1), True)
_MONEY = {
    r"\$": _DOLLARS,
    "USD": _DOLLARS,
    "€": _EUROS,
    "EUR": _EUROS,
    "₹": _RUPEES,
    "Rs": _RUPEES,
    "£": Unit("sterling^1", Fraction(1), True),
    "¥": Unit("yen^1", Fraction(1), True),
}
_CURRENCY = re.compile(r"(?P<sign>[-+]?)\s*(?:(?:US|C|A)?\s*(?P<mark>\\\$|€|£|₹|¥)|(?P<code>USD|EUR|Rs)\.?\s+)\s*")
_CURRENCY_BEHIND = re.compile(r"\s*(?P<mark>\\\$|€|£|₹|¥)$")
_PERCENT = re.compile(
    r"\s*(?:%|\\text\s*\{\s*(?:%|per\s?cent|percentage|pct)\.?\s*\}|per\s?cent|pct\.?)$", re.IGNORECASE
)
_ORDINAL = re.compile(r"([-+]?\d+)\s*(?:\^\s*)?\{?\s*(?:\\text\s*\{)?\s*(?:st|nd|rd|th)\s*\}?\s*\}?", re.IGNORECASE)
_SCALE = re.compile(rf"(?<![A-Za-z\\])({'|'.join(SCALES)})s?(?![A-Za-z])", re.IGNORECASE)
_POWER = r"(?:\s*\^\s*\{?-?\d\}?)?"
_GLUED = "cm|mm|km|kg|mg|ft|hrs?|lbs?|oz|m[lL]|mph|kph|min|sec|cents?|dollars?|degrees?|inches|feet|miles|hours|days"
_UNIT_WORD = re.compile(
    rf"\s*(?:\\text\s*\{{[^{{}}]*\}}|\^\s*\{{?\\circ\s*\}}?\s*[CF]?(?![A-Za-z])|"
    rf"(?<![A-Za-z\\])(?:{_GLUED})(?![A-Za-z])|"
    rf"(?<=[\s/])(?:[^\W\d_]{{2,}}\.?|[mgshlLVAWJNCF](?![A-Za-z]))){_POWER}"
)
_UNIT_SIGN = re.compile(r"\s*(?:/|\\cdot(?![A-Za-z]))")
_MAX_STARTS = 12  # words and letters at the end of a text that a unit may begin with
_UNIT_START = re.compile(r"\\text|\^\s*\{?\\circ|(?<![A-Za-z\\])[^\W\d_]")
_FUNCTION_LAST = re.compile(r"(?:\\[A-Za-z]+|(?<![A-Za-z])(?:sin|cos|tan|cot|sec|csc|log|ln|exp|lim|max|min|det|mod))$")


def _amount(text: str) -> Amount:
    whole = text
    if ordinal := _ORDINAL.fullmatch(text):
        return Amount(ordinal[1], None, ordinal[1])
    unit = None
    if money := _CURRENCY.match(text):
        unit, text = _MONEY[money["mark"] or money["code"]], money["sign"] + text[money.end() :]
    elif money := _CURRENCY_BEHIND.search(text):
        unit, text = _MONEY[money["mark"]], text[: money.start()]
    if percent := _PERCENT.search(text):
        return Amount(_number(text[: percent.start()]), PERCENT, whole)
    text = _scaled(text)
    for start in list(_UNIT_START.finditer(text))[-_MAX_STARTS:]:
        if _only_units(text, start.start()) and _countable(text[: start.start()]):
            found = read_unit(text[start.start() :])
            if found and unit in (None, found):
                unit, text = found, text[: start.start()]
                break
    return Amount(_number(text), unit, whole)


def _only_units(text: str, position: int) -> bool:
    """Whether nothing follows but words of units and the signs between them."""
    while position < len(text):
        match = _UNIT_WORD.match(text, position) or _UNIT_SIGN.match(text, position)
        if not match:
            return not text[position:].strip()
        position = match.end()
    return True


def _scaled(text: str) -> str:
    """ "3 million" as a product, with the words behind it."""
    scale = _SCALE.search(text)
    before = text[: scale.start()].rstrip() if scale else ""
    before, covered = (before[: -len("\\text{")].rstrip(), True) if before.endswith("\\text{") else (before, False)
    if not scale or not _countable(before):
        return text
    behind = text[scale.end() :].strip()
    if covered:
        behind = behind[1:].strip() if behind.startswith("}") else rf"\text{{{behind}"
    return rf"{before} \times {SCALES[scale[1].lower()]} {behind}".strip()


def _countable(text: str) -> bool:
    """Whether a unit may follow this text: it ends as a number or an expression does."""
    text = text.rstrip()
    return (
        bool(text)
        and text[-1] not in "+-*/^_=<>,:;(\\"
        and not (_FUNCTION_LAST.search(text) and not text.endswith("\\pi"))
    )


def _number(text: str) -> str:
    """The expression without commas between thousands."""
    return _COMMA_GROUPS.sub(lambda match: match[0].replace(",", ""), text.strip())


_COMMA_GROUPS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
