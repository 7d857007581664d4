"""Units of measure behind a number: which unit it is, and how many base units it makes.

A unit that one side leaves out is understood. Two units must be the same, or measure the same thing in other steps (`5
m` and `500 cm`). A noun that is no known unit ("apples") is kept by its name.
"""

import re
from fractions import Fraction
from typing import NamedTuple


class Unit(NamedTuple):
    """name: what is measured ("length^2"), or the noun. factor: one of it in base units. known: it is in the table."""

    name: str
    factor: Fraction
    known: bool


def _table() -> dict[str, tuple[str, Fraction]]:
    found = {}
    for dimension, steps in _STEPS.items():
        for names, factor in steps.items():
            found |= {name: (dimension, Fraction(factor)) for name in names.split("|")}
    return found


# International yard, pound and US gallon by their definitions; a month and a year have no fixed number of days.
_STEPS = {
    "length": {
        "mm|millimeter|millimetre": "1/1000",
        "cm|centimeter|centimetre": "1/100",
        "dm|decimeter|decimetre": "1/10",
        "m|meter|metre": "1",
        "km|kilometer|kilometre": "1000",
        "in|inch|inche": "0.0254",
        "ft|foot|feet": "0.3048",
        "yd|yard": "0.9144",
        "mi|mile": "1609.344",
    },
    "time": {
        "ms|millisecond": "1/1000",
        "s|sec|second": "1",
        "min|minute": "60",
        "h|hr|hour": "3600",
        "day": "86400",
        "week|wk": "604800",
    },
    "months": {"month": "1", "year|yr": "12"},
    "mass": {
        "mg|milligram": "1/1000000",
        "g|gram|gm": "1/1000",
        "kg|kilogram|kilo": "1",
        "lb|pound": "0.45359237",
        "oz|ounce": "0.028349523125",
        "ton|tonne": "1000",
    },
    "volume": {
        "ml|mL|milliliter|millilitre": "1/1000",
        "cl|centiliter": "1/100",
        "l|L|liter|litre": "1",
        "gal|gallon": "3.785411784",
        "quart|qt": "0.946352946",
        "pint|pt": "0.473176473",
    },
    "dollars": {"dollar|usd|buck": "1", "cent": "1/100"},
    "euros": {"euro|eur": "1"},
    "sterling": {"gbp|quid": "1"},
    "rupees": {"rupee|rs|inr": "1"},
    "yen": {"yen|jpy": "1"},
    "angle": {"degree|deg|°": "1"},
    "radians": {"radian|rad": "1"},
    "celsius": {"°c|celsius": "1"},
    "fahrenheit": {"°f|fahrenheit": "1"},
    "speed": {"mph": "0.44704", "kmh|kph|kmph": "5/18"},
    "data": {"kb": "1/1000", "mb|MB": "1", "gb|GB": "1000"},
    "current": {"A|amp|ampere": "1"},
    "voltage": {"V|volt": "1"},
    "power": {"W|watt": "1", "kw|kilowatt": "1000"},
    "energy": {"J|joule": "1"},
    "force": {"N|newton": "1"},
    "frequency": {"hz|hertz": "1"},
}
_UNITS = _table()
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_BEHIND = {"squared": 2, "cubed": 3}
SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
# Words behind a number that change it, or that make it something else than a number of things.
_NO_UNITS = frozenset(
    "half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths eighth eighths tenth tenths "
    "hundredth hundredths thousandth thousandths percent percentage and or plus minus times over point mod modulo base "
    "pi root negative not to by from than if when for where with of is are factorial score pair pairs sin cos tan log "
    "ln infinity remainder more less at least most about through between either both neither "
    "am pm noon midnight o'clock".split()
)
_WORD = re.compile(r"°[CFcf]?|[^\W\d_][^\W\d_'.-]*\.?")
_MAX_WORDS = 4


def read_unit(text: str) -> Unit | None:
    """Read the unit that a text names, such as "cm", "square inches", "m/s^{2}", "miles per hour"; None if it is no
    unit.
    """
    text = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", text).replace(r"\%", " ")
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?\s*([CF](?![a-z]))?", lambda match: f" °{match[1] or ''} ", text)
    text = re.sub(r"(?i)\bdegrees?\s+([CF])(?:elsius|ahrenheit)?\b", r"°\1", text)
    text = re.sub(r"\s+per\s+|\s*/\s*", " / ", text)
    name, factor, known, above, words = [], Fraction(1), True, True, 0
    power, rest = 1, text.strip()
    while rest:
        if rest[0] in "/·* ":
            if rest[0] == "/":
                above = False
            rest = rest[1:].lstrip()
            continue
        if rest.startswith(r"\cdot"):
            rest = rest[5:].lstrip()
            continue
        match = _WORD.match(rest)
        if not match:
            return None
        word, rest, words = match[0].rstrip("."), rest[match.end() :].lstrip(), words + 1
        if words > _MAX_WORDS or word.lower() in _NO_UNITS or word.lower() in SCALES:
            return None
        if word.lower() in _POWERS:
            power = _POWERS[word.lower()]
            continue
        exponent = re.match(r"\^\s*\{?\s*(-?\d)\s*\}?|(?:squared|cubed)\b", rest)
        if exponent:
            power *= int(exponent[1]) if exponent[1] else _BEHIND[exponent[0]]
            rest = rest[exponent.end() :].lstrip()
        dimension, step, listed = _look_up(word)
        power = power if above else -power
        name.append((dimension, power))
        factor, known, power = factor * step**power, known and listed, 1
    if not name or power != 1:
        return None
    if known:
        named = " ".join(f"{dimension}^{power}" for dimension, power in sorted(name))
        named = {"length^3": "volume^1", "length^1 time^-1": "speed^1"}.get(named, named)
        # A litre is a thousandth of a cubic metre.
        factor *= 1000 if named == "volume^1" and name[0][0] == "length" else 1
        return Unit(named, factor, True)
    return Unit(" ".join(dimension for dimension, _ in name), Fraction(1), False)


def _look_up(word: str) -> tuple[str, Fraction, bool]:
    for form in (word, word.lower(), _singular(word.lower())):
        if form in _UNITS:
            return *_UNITS[form], True
    return _singular(word.lower()), Fraction(1), False


def _singular(word: str) -> str:
    if len(word) > 3 and word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith("ss") else word
