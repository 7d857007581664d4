"""Decide whether a mathematical answer is right: compare the parts (`reproduce.evaluation.answers`) of gold and answer.

Every part counts: a base, am or pm, brackets, order in a tuple, how often a value is in a list, the letters of a word,
a unit that both sides state. An answer may leave out or add a unit or the name of the unknown (`x = 5`), and write a
number in another form. Single expressions go to `reproduce.evaluation.expressions`.
"""

from fractions import Fraction
from functools import lru_cache

from reproduce.evaluation.answers import (
    BRACKET,
    INFINITY,
    LIST,
    PERCENT,
    SET,
    TUPLE,
    Amount,
    Based,
    Clock,
    Intervals,
    Named,
    Piece,
    Ratio,
    Sequence,
    Words,
    balanced,
    read,
)
from reproduce.evaluation.expressions import equal, number
from reproduce.evaluation.undress import plain_latex

MAX_ITEMS = 100


@lru_cache(maxsize=65536)
def equivalent(gold: str, answer: str, *, percent_asked: bool = False) -> bool:
    """Whether the answer means the same as the gold; both as written, without box.

    Args:
        gold: the accepted answer.
        answer: the given answer.
        percent_asked: the question asks for a percentage, so that "15%" answers it if the gold is "15".

    Raises:
        TimeLimit: the comparison takes too long.
    """
    expected, given = plain_latex(gold), plain_latex(answer)
    if given and given == expected:
        return True
    if not given or not balanced(expected) or not balanced(given):
        return False
    return _same(read(expected), read(given), percent_asked)


def _same(gold, given, percent: bool = False) -> bool:
    if isinstance(gold, Named) or isinstance(given, Named):
        return _same_named(gold, given, percent)
    if isinstance(gold, Intervals) or isinstance(given, Intervals):
        first, second = _intervals(gold), _intervals(given)
        return first is not None and second is not None and _same_intervals(first, second)
    gold, given = _alone(gold), _alone(given)
    if isinstance(gold, Sequence) and isinstance(given, Sequence):
        return _same_sequence(gold, given, percent)
    if isinstance(gold, Clock) or isinstance(given, Clock):
        return _same_time(gold, given)
    if isinstance(gold, Ratio) or isinstance(given, Ratio):
        return _same_ratio(gold, given)
    if isinstance(gold, Amount) and isinstance(given, Amount):
        return _same_amount(gold, given, percent)
    return type(gold) is type(given) and isinstance(gold, Words | Based) and gold == given


def _same_named(gold, given, percent: bool) -> bool:
    if isinstance(gold, Named) and isinstance(given, Named):
        if gold.name == given.name:
            return _same(gold.value, given.value, percent)
        return _same_equation(gold, given)
    if isinstance(gold, Named):
        if isinstance(given, Amount) and "=" in given.latex:
            return _same_equation(gold, given)
        return _named_alike(gold, given) and _same(gold.value, given, percent)
    if isinstance(gold, Amount) and "=" in gold.latex:
        return _same_equation(gold, given)
    return _named_alike(gold, given) and _same(gold, given.value, percent)


def _named_alike(gold, given) -> bool:
    """Whether the variables agree where inequalities and names state them."""
    names = {part.name for part in (gold, given) if isinstance(part, Named | Intervals) and part.name}
    return len(names) < 2


def _same_equation(gold, given) -> bool:
    first, second = _equation(gold), _equation(given)
    return first is not None and second is not None and equal(first, second)


def _equation(part) -> str | None:
    if isinstance(part, Named):
        known = isinstance(part.value, Amount) and part.relation == "=" and any(map(str.isalpha, part.value.latex))
        return f"{part.name} = {part.value.latex}" if known else None
    return part.latex if isinstance(part, Amount) else None


def _alone(part):
    """The element of a set that has one."""
    return part.items[0] if isinstance(part, Sequence) and part.kind == SET and len(part.items) == 1 else part


def _same_sequence(gold: Sequence, given: Sequence, percent: bool) -> bool:
    unordered = {LIST, SET}
    if len(gold.items) != len(given.items) or len(gold.items) > MAX_ITEMS:
        return False
    if gold.kind in unordered and given.kind in unordered:
        left = list(given.items)
        for item in gold.items:
            found = next((number for number, one in enumerate(left) if _same(item, one, percent)), None)
            if found is None:
                return False
            del left[found]
        return True
    pairs = zip(gold.items, given.items, strict=True)
    return gold.kind == given.kind and all(_same(first, second, percent) for first, second in pairs)


def _intervals(part) -> Intervals | None:
    """A part as intervals: a pair in brackets may be one."""
    if isinstance(part, Intervals):
        return part
    if isinstance(part, Sequence) and part.kind in (TUPLE, BRACKET) and len(part.items) == 2:
        ends = [item.latex for item in part.items if isinstance(item, Amount) and item.unit is None]
        if len(ends) == 2:
            return Intervals((Piece(part.kind == TUPLE, *ends, part.kind == TUPLE),), None)
    return None


def _same_intervals(gold: Intervals, given: Intervals) -> bool:
    if len(gold.pieces) != len(given.pieces) or (gold.name and given.name and gold.name != given.name):
        return False
    left = list(given.pieces)
    for piece in gold.pieces:
        found = next((number for number, one in enumerate(left) if _same_piece(piece, one)), None)
        if found is None:
            return False
        del left[found]
    return True


def _same_piece(gold: Piece, given: Piece) -> bool:
    return (
        _open(gold.left_open, gold.left) == _open(given.left_open, given.left)
        and _open(gold.right_open, gold.right) == _open(given.right_open, given.right)
        and _same(read(gold.left), read(given.left))
        and _same(read(gold.right), read(given.right))
    )


def _open(is_open: bool, end: str) -> bool:
    return is_open or INFINITY in end


def _same_time(gold, given) -> bool:
    if isinstance(gold, Clock) and isinstance(given, Clock):
        stated = gold.half is not None or gold.hour > 12
        return _seconds(gold, None if stated else given.half) == _seconds(given, None)
    if isinstance(given, Clock) and isinstance(gold, Amount):  # "11" answered by "11 pm"
        whole = given.half is not None and given.minute == given.second == 0
        return whole and gold.unit is None and equal(gold.latex, str(given.hour))
    return isinstance(given, Amount) and gold.half is None and _same_ratio(_as_ratio(gold), given)


def _seconds(clock: Clock, half: str | None) -> tuple:
    half = clock.half or half
    hour = clock.hour if half is None else clock.hour % 12 + 12 * (half == "pm") if clock.hour <= 12 else clock.hour
    return hour, clock.minute, clock.second, half is None and hour <= 12


def _as_ratio(clock: Clock) -> Ratio:
    parts = [clock.hour, clock.minute, *([clock.second] if clock.second else [])]
    return Ratio(tuple(Amount(str(part), None) for part in parts))


def _same_ratio(gold, given) -> bool:
    if isinstance(gold, Ratio) and isinstance(given, Ratio):
        pairs = zip(gold.parts, given.parts, strict=False)
        return len(gold.parts) == len(given.parts) and all(_same(first, second) for first, second in pairs)
    first, second = _quotient(gold), _quotient(given)
    return first is not None and second is not None and equal(first, second)


def _quotient(part) -> str | None:
    if isinstance(part, Ratio):
        latex = [one.latex for one in part.parts if isinstance(one, Amount) and one.unit is None]
        return rf"\frac{{{latex[0]}}}{{{latex[1]}}}" if len(latex) == len(part.parts) == 2 else None
    return part.latex if isinstance(part, Amount) and part.unit is None else None


def _same_amount(gold: Amount, given: Amount, percent: bool) -> bool:
    if PERCENT in (gold.unit, given.unit):
        return _same_share(gold, given, percent)
    if gold.unit and given.unit:
        if gold.unit.name != given.unit.name:
            return False
        return equal(gold.latex, _times(given.latex, given.unit.factor / gold.unit.factor))
    if equal(gold.latex, given.latex):
        return True
    # A letter behind a number may be a unit on one side and a variable on the other: 2 m and 2m.
    return (gold.unit is None) != (given.unit is None) and equal(gold.whole, given.whole)


def _same_share(gold: Amount, given: Amount, percent: bool) -> bool:
    """Compare percentages. "15" answers the gold "15%"; "15%" answers "15" only if the question asks for percent."""
    if gold.unit == given.unit:
        return equal(gold.latex, given.latex)
    if gold.unit is None:
        return equal(gold.latex, _times(given.latex, PERCENT.factor)) or (percent and equal(gold.latex, given.latex))
    if given.unit is None:
        return equal(gold.latex, given.latex) or equal(_times(gold.latex, PERCENT.factor), given.latex)
    return False


def _times(latex: str, factor: Fraction) -> str:
    if factor == 1:
        return latex
    value = number(latex)
    if value is not None:
        return str(value * factor)
    return rf"\frac{{{factor.numerator}}}{{{factor.denominator}}} \cdot ({latex})"
