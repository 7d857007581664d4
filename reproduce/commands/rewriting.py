r"""Golds in other dress, and their near misses: the rules by which a grader is tested in both directions.

A rule takes a gold as its question file has it and returns answers that are right (`RIGHT`) or wrong (`WRONG`). The
rules look at the gold's text alone and share nothing with the code that reads answers. Each names the kind of gold that
it applies to; a gold that it cannot rewrite safely gets no answer from it.
"""

import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

Rewrite = Callable[[str], list[str]]
RIGHT: dict[str, Rewrite] = {}
WRONG: dict[str, Rewrite] = {}
RIGHT_TEXT: dict[str, Rewrite] = {}
WRONG_TEXT: dict[str, Rewrite] = {}


class Pair(NamedTuple):
    """An answer that `rule` made from `gold`, and whether it is right."""

    gold: str
    answer: str
    rule: str
    right: bool


def pairs(gold: str, answer_type: str = "math") -> list[Pair]:
    """Every rewriting of a gold, right ones first, each answer once. answer_type: "math" or "qa"."""
    found: dict[str, Pair] = {}
    tables = ((RIGHT, True), (WRONG, False)) if answer_type == "math" else ((RIGHT_TEXT, True), (WRONG_TEXT, False))
    for rules, right in tables:
        for rule, rewrite in rules.items():
            for answer in rewrite(gold):
                if answer != gold:
                    found.setdefault(answer, Pair(gold, answer, rule, right))
    return list(found.values())


def _rule(table: dict[str, Rewrite], name: str, pattern: str = ".*"):
    """Registers a rule for the golds that match the whole of a pattern; the rule gets the match."""
    compiled = re.compile(pattern, re.DOTALL)

    def register(rewrite: Callable[[re.Match], list[str]]):
        table[name] = lambda gold: rewrite(match) if (match := compiled.fullmatch(gold.strip())) else []
        return rewrite

    return register


# -- kinds of gold ----------------------------------------------------------------------------------------------------

_INTEGER = r"(?P<sign>-?)(?P<digits>\d+)"
_FRACTION = r"(?P<sign>-?)\\d?frac\{(?P<above>\d+)\}\{(?P<below>\d+)\}"
_DECIMAL = r"(?P<sign>-?)(?P<whole>\d*)\.(?P<part>\d+)"
_BASED = r"(?P<digits>\d+)_\{?(?P<base>\d+)\}?"
_DEGREES = r"(?P<number>\d+)\^\\circ"
_MONEY = r"\\\$(?P<number>[\d.,\\!]+)"
_WORD = r"\\text\{(?P<word>[A-Za-z]{3,})\}"
_CHOICE = r"\\text\{\((?P<letter>[A-E])\)\}"
_ENDS = (
    r"(?:\\left)?(?P<open>[(\[])\s*(?P<left>[^,()\[\]]+?)\s*,\s*(?P<right>[^,()\[\]]+?)\s*(?:\\right)?(?P<close>[)\]])"
)
_TUPLE = r"(?:\\left)?\(\s*(?P<items>[^()\[\]]+,[^()\[\]]+?)\s*(?:\\right)?\)"
_LIST = r"(?P<items>-?\d+(?:, ?-?\d+)*, -?\d+|-?\d+,-\d+|-\d+,\d)"
_UNITS = r"(?P<number>[\d.]+)\s*\\(?:mbox|text)\s*\{\s*(?P<unit>cm|inches)\s*\}\^(?P<power>[23])"
_MATRIX = r"\\begin\{pmatrix\}(?P<body>.*)\\end\{pmatrix\}"
_VALUE = (
    r"(?P<value>(?!.*(?:=|＞|＜|\\in|\\text|\\mbox|<|>|\\le|\\ge|[({\[]\S*,|\\begin|,\s|_|:|\\pm|\$|\\cup))"
    r"(?!.*\\circ).*\d.*)"
)
_NUMBER = r"-?\d+|-?\d*\.\d+"
_POLYNOMIAL = r"(?P<terms>[-+\d\sa-z^]*[a-z]\^?\d?[-+\d\sa-z^]*)"


def _items(match: re.Match) -> list[str]:
    return [item.strip() for item in match["items"].split(",")]


def _less(is_open: bool) -> str:
    return "<" if is_open else r"\le"


def _more(is_open: bool) -> str:
    return ">" if is_open else r"\ge"


# -- the same answer in other dress -----------------------------------------------------------------------------------


@_rule(RIGHT, "a stop or a comma at the end")
def _(gold):
    return [f"{gold[0]}{end}" for end in (".", ";", ",", " .")]


@_rule(RIGHT, "mathematics marks around it", r"(?!.*\\\$).*")
def _(gold):
    return [f"${gold[0]}$", rf"\({gold[0]}\)", rf"\[ {gold[0]} \]", f"$${gold[0]}$$"]


@_rule(RIGHT, "bold and code marks around it", r"[^*`]*")
def _(gold):
    return [f"**{gold[0]}**", f"`{gold[0]}`", f"**{gold[0]}.**"]


@_rule(RIGHT, "a box, or a box with a blank")
def _(gold):
    return [rf"\boxed{{{gold[0]}}}", rf"\boxed {{{gold[0]}}}", rf"$\boxed{{{gold[0]}}}$."]


@_rule(RIGHT, "a lead-in")
def _(gold):
    return [f"The answer is {gold[0]}.", f"Final answer: {gold[0]}"]


@_rule(RIGHT, "no-break spaces around it, invisible characters in it")
def _(gold):
    return [f"\u00a0{gold[0]}\u200b", f"\ufeff{gold[0]}"]


@_rule(RIGHT, "a name in front", rf"{_VALUE}")
def _(gold):
    return [f"k={gold[0]}" if "k" not in gold[0] else f"m = {gold[0]}"]


@_rule(RIGHT, "no name in front", r"[a-z]\s*(?:=|\\in)\s*(?P<value>-?\d+|\[.*\])")
def _(gold):
    return [gold["value"]]


@_rule(RIGHT, "full-width digits", _NUMBER)
def _(gold):
    return [gold[0].translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"})]


@_rule(RIGHT, "other minus signs", r"(?!.*\\begin).*-.*")
def _(gold):
    return [gold[0].replace("-", minus) for minus in ("−", "–", "－")]


@_rule(RIGHT, "a bold or upright font", _NUMBER)
def _(gold):
    return [rf"\{font}{{{gold[0]}}}" for font in ("mathbf", "mathrm", "text", "textbf", "boldsymbol")]


@_rule(RIGHT, "separators between thousands", r"(?P<sign>-?)(?P<digits>[1-9]\d{3,8})")
def _(gold):
    grouped = f"{int(gold['digits']):,}"
    separators = (",", "{,}", r"\,", r",\!", r"\;", "\u2009", "\u202f", " ")
    return [gold["sign"] + grouped.replace(",", separator) for separator in separators]


@_rule(RIGHT, "no separators between thousands", r"\d{1,3}(?:,(?:\\!\s?)?\d{3})+")
def _(gold):
    return [re.sub(r"\D", "", gold[0])]


@_rule(RIGHT, "leading or trailing zeros", _INTEGER)
def _(gold):
    return [f"{gold['sign']}0{gold['digits']}", f"{gold[0]}.0", f"{gold[0]}.00"]


@_rule(RIGHT, "a plus in front", r"[1-9]\d*")
def _(gold):
    return [f"+{gold[0]}"]


@_rule(RIGHT, "a power of ten", r"(?P<digits>[1-9]\d*?)(?P<zeros>0{2,})")
def _(gold):
    digits, power = gold["digits"], len(gold["zeros"])
    return [
        f"{digits}e{power}",
        f"{digits}E+{power}",
        rf"{digits}\times10^{power}",
        rf"{digits} \times 10^{{{power}}}",
        rf"{digits} \cdot 10^{{{power}}}",
        f"{digits}×10^{power}",
    ]


@_rule(RIGHT, "a unit in words behind it", r"(?P<number>\d+)")
def _(gold):
    number = gold["number"]
    return [
        f"{number} dollars",
        f"{number} cm",
        f"{number} hours",
        rf"{number}\text{{ apples}}",
        rf"{number} \text{{ cm}}",
        rf"{number}\,\mathrm{{km}}",
        rf"\${number}",
        f"{number} people",
    ]


@_rule(RIGHT, "an ordinal", r"(?P<number>\d+)")
def _(gold):
    last = (
        "th"
        if gold["number"][-2:] in ("11", "12", "13")
        else {"1": "st", "2": "nd", "3": "rd"}.get(gold["number"][-1], "th")
    )
    return [
        rf"{gold[0]}^{{\text{{{last}}}}}",
        f"{gold[0]}{last}",
        rf"{gold[0]}\text{{{last}}}",
        f"{gold[0]}^{{{last}}}",
    ]


@_rule(RIGHT, "another way to write a fraction", _FRACTION)
def _(gold):
    sign, above, below = gold["sign"], int(gold["above"]), int(gold["below"])
    found = [
        f"{sign}{above}/{below}",
        rf"{sign}\dfrac{{{above}}}{{{below}}}",
        rf"{sign}\tfrac{{{above}}}{{{below}}}",
        rf"{sign}\frac{{{3 * above}}}{{{3 * below}}}",
        f"{sign}{above}⁄{below}",
        rf"\frac{{{sign}{above}}}{{{below}}}",
        f"{sign}({above}/{below})",
    ]
    rest = below
    while rest % 2 == 0:
        rest //= 2
    while rest % 5 == 0:
        rest //= 5
    if rest == 1:
        found.append(f"{sign}{_decimal(Fraction(above, below))}")
    if above > below and not sign and above % below:
        found.append(rf"{above // below}\frac{{{above % below}}}{{{below}}}")
    return found


def _decimal(value: Fraction) -> str:
    """A value that ends in decimals, in full."""
    places = next(n for n in range(40) if (value * 10**n).denominator == 1)
    digits = str(int(value * 10**places)).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


@_rule(RIGHT, "a decimal number as a fraction, a power of ten or a percentage", _DECIMAL)
def _(gold):
    value = Fraction(f"{gold['whole'] or 0}.{gold['part']}")
    shifted = rf"{gold['sign']}{_decimal(value * 10**3)}\times 10^{{-3}}"
    percent = [rf"{gold['sign']}{_decimal(value * 100)}\%"] if value < 1 else []
    whole = [f"{gold['sign']}0.{gold['part']}"] if not gold["whole"] else []
    return [
        rf"{gold['sign']}\frac{{{value.numerator}}}{{{value.denominator}}}",
        shifted,
        f"{gold[0]}0",
        *percent,
        *whole,
    ]


@_rule(RIGHT, "a percentage", r"(?P<number>[\d.]+)\\%")
def _(gold):
    number = gold["number"]
    return [f"{number}%", f"{number} percent", rf"{number}\text{{ percent}}", _decimal(Fraction(number) / 100), number]


@_rule(RIGHT, "degrees", _DEGREES)
def _(gold):
    number = gold["number"]
    return [
        f"{number}°",
        rf"{number}^{{\circ}}",
        f"{number} degrees",
        rf"{number}\text{{ degrees}}",
        number,
        f"{number} °",
    ]


@_rule(RIGHT, "another way to write a base", _BASED)
def _(gold):
    digits, base = gold["digits"], gold["base"]
    lowered = "".join(chr(0x2080 + int(digit)) for digit in base)
    return [
        f"{digits}_{{{base}}}",
        f"{digits}{lowered}",
        f"{digits} base {base}",
        rf"{digits}_{{\text{{{_NAMES[int(base)]}}}}}",
        rf"{digits}\text{{ (base }}{base})",
        f"{digits}_{base}",
    ]


_NAMES = "- - two three four five six seven eight nine ten eleven twelve thirteen".split()


@_rule(RIGHT, "money", _MONEY)
def _(gold):
    number = gold["number"].replace(r"\!", "")
    return [
        f"${number}",
        f"{number} dollars",
        number,
        rf"{number}\text{{ dollars}}",
        f"\\${number.replace(',', '{,}')}",
    ]


@_rule(RIGHT, "a unit in another form", _UNITS)
def _(gold):
    number, unit, power = gold["number"], gold["unit"], gold["power"]
    word = {"2": "square", "3": "cubic"}[power]
    return [
        number,
        f"{number} {unit}^{power}",
        rf"{number}\,\mathrm{{{unit}}}^{power}",
        f"{number} {word} {unit}",
        rf"{number} \text{{ {word} {unit}}}",
        f"{number} {unit}{'²' if power == '2' else '³'}",
    ]


@_rule(RIGHT, "a word without its command", _WORD)
def _(gold):
    word = gold["word"]
    return [word, word.lower(), word.upper(), f'"{word}"', rf"\textbf{{{word}}}", rf"\mathrm{{{word}}}", f"{word}."]


@_rule(RIGHT, "a choice without its command", _CHOICE)
def _(gold):
    letter = gold["letter"]
    return [
        letter,
        f"({letter})",
        rf"\textbf{{({letter})}}",
        rf"\text{{{letter}}}",
        rf"\mathrm{{({letter})}}",
        f"{letter})",
    ]


@_rule(RIGHT, "spaces and sizes of brackets", _TUPLE)
def _(gold):
    items = _items(gold)
    return [
        rf"\left({','.join(items)}\right)",
        rf"\left( {', '.join(items)} \right)",
        rf"( {',  '.join(items)} )",
        rf"\bigl({', '.join(items)}\bigr)",
        "(" + r",\ ".join(items) + ")",
    ]


@_rule(RIGHT, "the names of a pair in front", r"\((?P<items>-?\d+,-?\d+)\)")
def _(gold):
    return [f"(x,y) = {gold[0]}"]


@_rule(RIGHT, "a list in another order or as a set", _LIST)
def _(gold):
    items = _items(gold)
    found = [
        ", ".join(reversed(items)),
        rf"\{{{', '.join(items)}\}}",
        f"{', '.join(items[:-1])} and {items[-1]}",
        rf"{', '.join(items[:-1])}\text{{ and }}{items[-1]}",
        "; ".join(items),
    ]
    return [*found, ", ".join(f"x={item}" for item in items), " or ".join(f"x = {item}" for item in items)]


@_rule(RIGHT, "an interval as an inequality", _ENDS)
def _(gold):
    left, right = gold["left"], gold["right"]
    below, above = ("<" if gold["open"] == "(" else r"\le "), ("<" if gold["close"] == ")" else r"\leq ")
    if left == r"-\infty":
        return [f"x {above}{right}", f"x{above.replace('<', ' < ')}{right}", f"(−∞, {right}{gold['close']}"]
    if right in (r"\infty", r"+\infty"):
        return [f"x {_more(gold['open'] == '(')} {left}", rf"{gold['open']}{left}, +\infty)"]
    if gold["open"] + gold["close"] in ("()", "[]"):
        return []  # a pair, or an interval: the text does not say
    return [f"{left} {below} x {above} {right}"]


@_rule(RIGHT, "both values of a plus-minus", r"(?P<first>[^\\{]+)\\pm\s*(?P<second>\d*\s*\\sqrt\{\d+\})")
def _(gold):
    first, second = gold["first"].strip(), gold["second"]
    return [
        f"{first} + {second}, {first} - {second}",
        rf"{first} - {second} \text{{ and }} {first} + {second}",
        f"{first} ± {second}",
    ]


@_rule(RIGHT, "another way to write a root", r"(?P<front>\d*)\s*\\sqrt\{?(?P<inside>\d+)\}?")
def _(gold):
    front, inside = gold["front"] or "1", gold["inside"]
    squared = int(front) ** 2 * int(inside)
    return [
        rf"\sqrt{{{squared}}}",
        f"{gold['front']}√{inside}",
        rf"{front}\cdot {inside}^{{1/2}}",
        rf"{front} \cdot {inside}^{{0.5}}",
        f"{front}*sqrt({inside})",
        rf"\sqrt{{{inside}}}\cdot {front}",
    ]


@_rule(RIGHT, "Greek letters and signs of Unicode", r"(?!.*\\begin).*(?:\\pi|\\infty|\\cup|\\sqrt\{\d+\}).*")
def _(gold):
    text = gold[0].replace(r"\pi", "π").replace(r"\infty", "∞").replace(r"\cup", "∪")
    return [re.sub(r"\\sqrt\{(\d+)\}", r"√\1", text)]


@_rule(RIGHT, "raised characters of Unicode", _POLYNOMIAL)
def _(gold):
    return [re.sub(r"\^(\d)", lambda match: "⁰¹²³⁴⁵⁶⁷⁸⁹"[int(match[1])], gold[0]), re.sub(r"\^(\d)", r"^{\1}", gold[0])]


@_rule(RIGHT, "an upright imaginary unit", r"(?P<front>-?\d+\s*[-+]\s*\d*)i")
def _(gold):
    return [rf"{gold['front']}\mathrm{{i}}", rf"{gold['front']}\text{{i}}", rf"{gold['front']}\, i"]


@_rule(RIGHT, "another matrix", _MATRIX)
def _(gold):
    return [
        rf"\begin{{bmatrix}}{gold['body']}\end{{bmatrix}}",
        rf"\left(\begin{{matrix}}{gold['body']}\end{{matrix}}\right)",
    ]


@_rule(RIGHT, "a time of day", r"(?P<clock>[\d:\\!]+) \\text\{ (?P<half>[ap])\.m\.\}")
def _(gold):
    clock = gold["clock"].replace(r"\!", "")
    return [f"{clock} {gold['half']}m", f"{clock} {gold['half'].upper()}M", rf"{clock}\text{{ {gold['half']}.m.}}"]


@_rule(RIGHT, "spaces in a ratio", r"(?P<first>\d+):(?P<second>\d)")
def _(gold):
    return [
        f"{gold['first']} : {gold['second']}",
        rf"{gold['first']}\colon {gold['second']}",
        f"{gold['first']}：{gold['second']}",
    ]


# -- near misses ------------------------------------------------------------------------------------------------------


@_rule(WRONG, "the next number, ten times, a digit less", _INTEGER)
def _(gold):
    value = int(gold[0])
    return [
        str(value + 1),
        str(value - 1),
        *([str(10 * value), str(-value)] if value else []),
        f"{value}.5",
        *([gold[0][:-1]] if len(gold["digits"].lstrip("0")) > 1 else []),
    ]


@_rule(WRONG, "something added that changes the value", r"(?P<number>[3-9]|[1-9]\d+)")
def _(gold):
    n = gold["number"]
    return [
        *([f"{n}!"] if len(n) < 3 else []),  # a large factorial only tests the time limit
        rf"{n}\%",
        f"{n}x",
        f"{n}i",
        f"{n} thousand",
        f"{n}^2",
        f"{n}e1",
        rf"{n}\pi",
        rf"\frac{{1}}{{{n}}}",
        f"{n}_{max(map(int, n)) + 2 if max(map(int, n)) < 8 else 16}",
        rf"\sqrt{{{n}}}",
        f"{n}'",
        f"{n} halves",
        rf"\frac{{{n}}}{{0}}",
    ]


@_rule(WRONG, "several answers, or a bound", r"(?P<number>\d+)")
def _(gold):
    n = int(gold["number"])
    return [
        f"{n}, {n + 1}",
        f"{n} or {n + 1}",
        rf"x \le {n}",
        f"x>{n}",
        f"at least {n}",
        f"({n}, {n})",
        f"({n}, {n + 1})",
        f"not {n}",
        f"{n} {n}",
        rf"{n} \pm 1",
    ]


@_rule(WRONG, "words and no number", _NUMBER)
def _(gold):
    return ["nan", "inf", "none", "unknown", r"\text{no}", "-", "?", r"\emptyset"]


@_rule(WRONG, "a wrong group of thousands", r"(?P<digits>[1-9]\d{3,8})")
def _(gold):
    grouped = f"{int(gold['digits']) + 1000:,}"
    return [grouped, grouped.replace(",", "{,}"), gold["digits"].replace("", ",").strip(","), f"{gold['digits']},000"]


@_rule(WRONG, "a wrong power of ten", r"(?P<digits>[1-9]\d*?)(?P<zeros>0{2,})")
def _(gold):
    digits, power = gold["digits"], len(gold["zeros"])
    return [f"{digits}e{power + 1}", rf"{digits}\times 10^{{{power - 1}}}", f"{digits}e-{power}"]


@_rule(WRONG, "another fraction", _FRACTION)
def _(gold):
    sign, above, below = gold["sign"], int(gold["above"]), int(gold["below"])
    other = "" if sign else "-"
    if above == below:
        return []
    return [
        rf"{sign}\frac{{{below}}}{{{above}}}",
        rf"{sign}\frac{{{above + 1}}}{{{below}}}",
        f"{other}{above}/{below}",
        f"{sign}{above}/{below + 1}",
        rf"{sign}\frac{{{above}}}{{{below}}}\%",
        f"{sign}{above}{below}",
        f"{sign}{int(100 * above / below) / 100 + 0.01:.2f}",
        rf"{sign}\left(\frac{{{above}}}{{{below}}}\right)^{{2}}",
    ]


@_rule(WRONG, "another decimal number", _DECIMAL)
def _(gold):
    sign, whole, part = gold["sign"], gold["whole"], gold["part"]
    last = str((int(part[-1]) + 1) % 10)
    return [
        f"{sign}{whole}.{part[:-1]}{last}",
        f"{sign}{whole}.0{part}",
        f"{sign}{whole}{part}",
        f"{gold[0]}\\%",
        f"{'' if sign else '-'}{whole}.{part}",
        # From six digits on, the gold may be this number rounded.
        *([f"{gold[0]}1"] if len((whole + part).lstrip("0")) < 6 else []),
    ]


@_rule(WRONG, "another percentage", r"(?P<number>[\d.]+)\\%")
def _(gold):
    number = gold["number"]
    return [
        rf"{number}0\%" if "." not in number else rf"1{number}\%",
        f"0.00{number.replace('.', '')}",
        f"{number} dollars",
        rf"-{number}\%",
    ]


@_rule(WRONG, "another angle", _DEGREES)
def _(gold):
    number = int(gold["number"])
    return [f"{number + 1}°", rf"{number} \text{{ radians}}", rf"-{number}^\circ", f"{number}%", rf"{number}^\circ C"]


@_rule(WRONG, "another base, or none", _BASED)
def _(gold):
    digits, base = gold["digits"], int(gold["base"])
    return (
        [
            f"{digits}_{{{base + 1}}}",
            f"{digits}_{base + 2}",
            digits,
            f"{digits}_{{10}}",
            f"{digits[::-1]}_{base}",
            f"{digits} base {base + 1}",
        ]
        if digits != digits[::-1]
        else [f"{digits}_{base + 1}", digits]
    )


@_rule(WRONG, "other money", _MONEY)
def _(gold):
    number = gold["number"].replace(r"\!", "")
    return [
        f"{number} cents",
        f"€{number}",
        f"\\${number}0" if "." not in number else f"\\$1{number}",
        rf"\${number}\%",
        f"{number} apples",
    ]


@_rule(WRONG, "another unit", _UNITS)
def _(gold):
    number, unit, power = gold["number"], gold["unit"], gold["power"]
    return [
        f"{number} {unit}",
        rf"{number}\text{{ {unit}}}^{5 - int(power)}",
        rf"{number}\text{{ m}}^{power}",
        f"{number}1 {unit}^{power}",
        f"{number} seconds",
        rf"{number}\text{{ degrees}}",
    ]


@_rule(WRONG, "other letters, or the same in another order", _WORD)
def _(gold):
    word = gold["word"]
    return [
        word[::-1].lower(),
        rf"\text{{{''.join(sorted(word))}}}",
        word[1:],
        f"{word}s or not",
        rf"\text{{not {word}}}",
        word[0],
    ]


@_rule(WRONG, "another choice, or two", _CHOICE)
def _(gold):
    other = "A" if gold["letter"] != "A" else "B"
    return [
        other,
        f"({other})",
        rf"\text{{({other})}}",
        rf"\text{{({gold['letter']}) or ({other})}}",
        f"{other}{gold['letter']}",
    ]


@_rule(WRONG, "other brackets", _TUPLE)
def _(gold):
    inside = ", ".join(_items(gold))
    if gold[0].count("infty") > 1:
        return [rf"\{{{inside}\}}"]
    if re.search("infty|pi|sqrt", gold[0]):
        return [rf"\{{{inside}\}}", f"[{inside}]"]
    return [rf"\{{{inside}\}}", f"[{inside}]", inside]


@_rule(WRONG, "another order, one more or one less", _TUPLE)
def _(gold):
    items = _items(gold)
    found = [f"({', '.join(items[:-1])})", f"({', '.join([*items, items[-1]])})", f"({', '.join([*items, '0'])})"]
    return found + ([f"({', '.join(reversed(items))})"] if items != items[::-1] else [])


@_rule(WRONG, "an interval with another end", _ENDS)
def _(gold):
    left, right = gold["left"], gold["right"]
    found = []
    if "infty" in left and "infty" in right:
        return []
    if "infty" not in left:
        found.append(f"{'[' if gold['open'] == '(' else '('}{left}, {right}{gold['close']}")
    if "infty" not in right:
        found.append(f"{gold['open']}{left}, {right}{']' if gold['close'] == ')' else ')'}")
    if left == r"-\infty":
        found += [f"x {_less(gold['close'] == ']')} {right}", f"x > {right}", right]
    if right == r"\infty":
        found += [f"x {_more(gold['open'] == '[')} {left}", f"x < {left}", left]
    return found


@_rule(WRONG, "another list", _LIST)
def _(gold):
    items = _items(gold)
    return [
        ", ".join(items[:-1]),
        ", ".join([*items, items[0]]),
        f"({', '.join(items)})",
        ", ".join([*items[:-1], "77"]),
        f"[{', '.join(items)}]",
        ", ".join(f"{-int(item)}" for item in items)
        if sorted(map(int, items)) != sorted(-int(item) for item in items)
        else "0",
    ]


@_rule(WRONG, "one value of a plus-minus", r"(?P<first>[^\\{]+)\\pm\s*(?P<second>\d*\s*\\sqrt\{\d+\})")
def _(gold):
    return [
        f"{gold['first']} + {gold['second']}",
        f"{gold['first']} - {gold['second']}",
        rf"({gold[0].replace(chr(92) + 'pm', ',')})",
    ]


@_rule(WRONG, "another root", r"(?P<front>\d*)\s*\\sqrt\{?(?P<inside>\d+)\}?")
def _(gold):
    front, inside = gold["front"], gold["inside"]
    return [
        rf"{front}\sqrt{{{int(inside) + 1}}}",
        rf"{front}\sqrt[3]{{{inside}}}",
        f"-{gold[0]}",
        rf"{front or 1}\cdot {inside}",
        rf"{int(front or 1) + 1}\sqrt{{{inside}}}",
        rf"{gold[0]} i",
        f"{int(front or 1) * int(inside) ** 0.5:.2f}",
    ]


@_rule(WRONG, "another multiple of pi", r"(?P<number>\d*)\s*\\pi")
def _(gold):
    number = int(gold["number"] or 1)
    return [
        rf"{number + 1}\pi",
        rf"-{number}\pi",
        str(number),
        f"{number * 3.14:.2f}",
        rf"{number}\pi^2",
        rf"{number} p",
    ]


@_rule(WRONG, "another sign, exponent, letter or case", _POLYNOMIAL)
def _(gold):
    text = gold[0]
    letter = re.search("[a-z]", text)[0]
    found = [text.replace(letter, "w" if letter != "w" else "v"), text.replace(letter, letter.upper()), f"{text} + 1"]
    if "+" in text:
        found.append(text.replace("+", "-", 1))
    if "^" in text:
        found += [
            re.sub(r"\^(\d)", lambda match: f"^{int(match[1]) + 1}", text, count=1),
            re.sub(r"\^\d", "", text, count=1),
        ]
    return [*found, f"{text} = 0", f"{text}'"]


@_rule(WRONG, "another complex number", r"(?P<real>-?\d+)\s*(?P<sign>[-+])\s*(?P<front>\d*)i")
def _(gold):
    other = "-" if gold["sign"] == "+" else "+"
    return [
        f"{gold['real']} {other} {gold['front']}i",
        f"{gold['real']} {gold['sign']} {gold['front']}",
        f"{gold[0]}^2",
        f"{gold['front'] or 1} {gold['sign']} {gold['real']}i" if gold["front"] != gold["real"] else "0",
        f"({gold['real']}, {gold['sign']}{gold['front'] or 1})",
        f"{gold['real']} {gold['sign']} {gold['front']}j",
    ]


@_rule(WRONG, "another name or relation", r"(?P<name>[a-z])\s*=\s*(?P<value>.*[a-z\d].*)")
def _(gold):
    other = "t" if gold["name"] != "t" else "s"
    return [
        f"{other} = {gold['value']}",
        f"{gold['name']} = {gold['value']} + 1",
        rf"{gold['name']} \ne {gold['value']}",
        f"{gold['name']} < {gold['value']}",
    ]


@_rule(WRONG, "another matrix or none", _MATRIX)
def _(gold):
    rows = [row.split("&") for row in gold["body"].split(r"\\")]
    turned = r" \\ ".join(" & ".join(one.strip() for one in column) for column in zip(*rows, strict=True))
    flat = [one.strip() for row in rows for one in row]
    changed = gold[0].replace(flat[0], f"{flat[0]}1", 1)
    found = [changed, f"({', '.join(flat)})", rf"\{{{', '.join(flat)}\}}"]
    return found + (
        [rf"\begin{{pmatrix}} {turned} \end{{pmatrix}}"]
        if turned != r" \\ ".join(" & ".join(one.strip() for one in row) for row in rows)
        else []
    )


@_rule(WRONG, "the other half of the day", r"(?P<clock>[\d:\\!]+) \\text\{ (?P<half>[ap])\.m\.\}")
def _(gold):
    clock, other = gold["clock"].replace(r"\!", ""), "ap".replace(gold["half"], "")
    return [f"{clock} {other}m", rf"{clock}\text{{ {other}.m.}}", clock, f"1{clock} {gold['half']}m"]


@_rule(WRONG, "another ratio", r"(?P<first>\d+):(?P<second>\d)")
def _(gold):
    first, second = gold["first"], gold["second"]
    found = [f"{first}:{int(second) + 1}", f"{first}, {second}", f"{first}{second}"]
    return found + ([f"{second}:{first}"] if first != second else [])


# -- answers in words -------------------------------------------------------------------------------------------------


@_rule(RIGHT_TEXT, "the other Unicode forms")
def _(gold):
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in gold[0])
    return [unicodedata.normalize("NFD", gold[0]), unicodedata.normalize("NFC", gold[0]), wide]


@_rule(RIGHT_TEXT, "case and spaces")
def _(gold):
    upper = gold[0].upper()
    same = [upper] if upper.lower() == gold[0].lower() else []  # "ß" has another upper case
    return [*same, gold[0].lower(), f"  {gold[0].replace(' ', '  ')} ", gold[0].replace(" ", "\u00a0") + "\u200b"]


@_rule(RIGHT_TEXT, "an article in front", r"(?i:(?!(?:a|an|the)\b)\w.*)")
def _(gold):
    return [f"The {gold[0]}"]


@_rule(RIGHT_TEXT, "marks around it", r"[^$*`\\{}]*")
def _(gold):
    return [f"**{gold[0]}**", f"`{gold[0]}`", rf"\text{{{gold[0]}}}", rf"\boxed{{{gold[0]}}}", rf"\boxed {{{gold[0]}}}"]


@_rule(WRONG_TEXT, "a letter less, a word more, other words", r".*\w{4}")
def _(gold):
    words = gold[0].split()
    found = [gold[0][:-1], f"not {gold[0]}", f"{gold[0]} Smith", f"{gold[0]} or another"]
    articles = {"a", "an", "the"} & set(gold[0].lower().split())
    return found + ([" ".join(reversed(words))] if words != words[::-1] and not articles else [])


@_rule(WRONG_TEXT, "no accents", r".*[À-ɏ].*")
def _(gold):
    bare = "".join(c for c in unicodedata.normalize("NFD", gold[0]) if not unicodedata.combining(c))
    return [bare] if bare != unicodedata.normalize("NFD", gold[0]) else []


@_rule(WRONG_TEXT, "another number", r".*\d")
def _(gold):
    return [f"{gold[0][:-1]}{(int(gold[0][-1]) + 1) % 10}"] if gold[0][-1] in "0123456789" else []
