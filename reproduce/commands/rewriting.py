r"""Golds in other dress, and their near misses: the rules by which a grader is tested in both directions.

A rule takes a gold as its question file has it and returns answers that are right or wrong. The rules look at the
gold's text alone and share nothing with the code that reads answers. `rewriting.yaml` holds them: the kind of gold that
a rule applies to and the answers as templates. The functions here compute what stands in a template beside the gold's
own parts. A gold that a rule cannot rewrite safely gets no answer from it: a value that is None leaves out its
templates, one that is a list makes an answer of each item.
"""

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

from reproduce.yaml_files import read_yaml

RULES = Path(__file__).with_suffix(".yaml")
TABLES = {"math": (("right", True), ("wrong", False)), "qa": (("right_text", True), ("wrong_text", False))}


class Pair(NamedTuple):
    """An answer that `rule` made from `gold`, and whether it is right."""

    gold: str
    answer: str
    rule: str
    right: bool


def pairs(gold: str, answer_type: str = "math") -> list[Pair]:
    """Every rewriting of a gold, right ones first, each answer once. answer_type: "math" or "qa"."""
    found: dict[str, Pair] = {}
    for table, right in TABLES[answer_type]:
        for name, pattern, rule in rules(table):
            match = pattern.fullmatch(gold.strip())
            for answer in _answers(match, rule) if match else ():
                if answer != gold:
                    found.setdefault(answer, Pair(gold, answer, name, right))
    return list(found.values())


@cache
def rules(table: str) -> list[tuple[str, re.Pattern, dict]]:
    """(name, pattern of the whole gold, rule) of a table of `rewriting.yaml`."""
    data = read_yaml(RULES)
    patterns = {name: data["kinds"].get(rule.get("of"), rule.get("of", ".*")) for name, rule in data[table].items()}
    return [(name, re.compile(patterns[name], re.DOTALL), rule) for name, rule in data[table].items()]


def _answers(match: re.Match, rule: dict) -> Iterator[str]:
    values = {"0": match[0], **match.groupdict(), **(getattr(Values, rule["with"])(match) if "with" in rule else {})}
    for template in rule["answers"]:
        names = re.findall(r"<(\w+)>", template)
        listed = next((name for name in names if isinstance(values[name], list)), None)
        for item in values[listed] if listed else [None]:
            filled = values | {listed: item}
            if all(filled[name] is not None for name in names):
                yield re.sub(r"<(\w+)>", lambda found, filled=filled: str(filled[found[1]]), template)


class Values:
    """Functions of a gold's match: the values by name that stand in the templates of the rules `with` them."""

    # numbers
    def named(gold):
        return {"name": "k=" if "k" not in gold[0] else "m = "}

    def wide(gold):
        return {"wide": gold[0].translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"})}

    def minuses(gold):
        return {"minuses": [gold[0].replace("-", minus) for minus in ("−", "–", "－")]}

    def grouped(gold):
        separators = (",", "{,}", r"\,", r",\!", r"\;", "\u2009", "\u202f", " ")
        grouped = f"{int(gold['digits']):,}"
        return {"grouped": [grouped.replace(",", separator) for separator in separators]}

    def ungrouped(gold):
        return {"ungrouped": re.sub(r"\D", "", gold[0])}

    def misgrouped(gold):
        grouped = f"{int(gold['digits']) + 1000:,}"
        each = gold["digits"].replace("", ",").strip(",")
        return {"grouped": grouped, "braced": grouped.replace(",", "{,}"), "each": each}

    def power(gold):
        power = len(gold["zeros"])
        return {"power": power, "more": power + 1, "less": power - 1}

    def ordinal(gold):
        teens = gold["number"][-2:] in ("11", "12", "13")
        return {"th": "th" if teens else {"1": "st", "2": "nd", "3": "rd"}.get(gold["number"][-1], "th")}

    def integer(gold):
        value = int(gold[0])
        times = {"tenfold": 10 * value if value else None, "negative": -value if value else None}
        shorter = gold[0][:-1] if len(gold["digits"].lstrip("0")) > 1 else None
        return {"value": value, "next": value + 1, "before": value - 1, **times, "shorter": shorter}

    def natural(gold):
        n = int(gold["number"])
        return {"n": n, "next": n + 1}

    def changed(gold):
        n, most = gold["number"], max(map(int, gold["number"]))
        small = n if len(n) < 3 else None  # a large factorial only tests the time limit
        return {"small": small, "base": most + 2 if most < 8 else 16}

    def fraction(gold):
        above, below = int(gold["above"]), int(gold["below"])
        mixed = above > below and not gold["sign"] and above % below
        found = {"above": above, "below": below, "above3": 3 * above, "below3": 3 * below, "rest": above % below}
        decimal = _written(Fraction(above, below)) if _ends(below) else None
        return found | {"decimal": decimal, "mixed": above // below if mixed else None}

    def other_fraction(gold):
        above, below = int(gold["above"]), int(gold["below"])
        if above == below:
            return dict.fromkeys(("above", "below", "sign", "next", "below_next", "other", "hundredth"))
        hundredth = f"{int(100 * above / below) / 100 + 0.01:.2f}"
        other = {"other": "" if gold["sign"] else "-", "next": above + 1, "below_next": below + 1}
        return {"above": above, "below": below, "hundredth": hundredth, **other}

    def decimal(gold):
        value = Fraction(f"{gold['whole'] or 0}.{gold['part']}")
        percent = _written(value * 100) if value < 1 else None
        found = {"above": value.numerator, "below": value.denominator, "thousand": _written(value * 10**3)}
        return {**found, "percent": percent, "zero": None if gold["whole"] else 0}

    def other_decimal(gold):
        whole, part = gold["whole"], gold["part"]
        longer = f"{gold[0]}1" if len((whole + part).lstrip("0")) < 6 else None  # else the gold may be this one rounded
        changed = f"{part[:-1]}{(int(part[-1]) + 1) % 10}"
        return {"changed": changed, "other": "" if gold["sign"] else "-", "longer": longer}

    def percent(gold):
        return {"share": _written(Fraction(gold["number"]) / 100)}

    def other_percent(gold):
        number = gold["number"]
        return {"tenfold": f"{number}0" if "." not in number else f"1{number}", "digits": number.replace(".", "")}

    def base(gold):
        names = "- - two three four five six seven eight nine ten eleven twelve thirteen".split()
        lowered = "".join(chr(0x2080 + int(digit)) for digit in gold["base"])
        return {"lowered": lowered, "base_name": names[int(gold["base"])]}

    def other_bases(gold):
        digits, base = gold["digits"], int(gold["base"])
        if digits == digits[::-1]:
            return {"other_bases": [f"{digits}_{base + 1}", digits]}
        other = [
            f"{digits}_{{{base + 1}}}",
            f"{digits}_{base + 2}",
            digits,
            f"{digits}_{{10}}",
            f"{digits[::-1]}_{base}",
        ]
        return {"other_bases": [*other, f"{digits} base {base + 1}"]}

    def money(gold):
        number = gold["written"].replace(r"\!", "")
        tenfold = f"{number}0" if "." not in number else f"1{number}"
        return {"number": number, "braced": number.replace(",", "{,}"), "tenfold": tenfold}

    def unit(gold):
        square = gold["power"] == "2"
        word, raised = ("square", "²") if square else ("cubic", "³")
        return {"word": word, "raised": raised, "other_power": 3 if square else 2}

    # words, lists, intervals
    def word(gold):
        word = gold["word"]
        cut = {"beheaded": word[1:], "first": word[0]}
        case = {"lower": word.lower(), "upper": word.upper(), "backwards": word[::-1].lower()}
        return {**case, **cut, "sorted": "".join(sorted(word))}

    def other_choice(gold):
        return {"other": "A" if gold["letter"] != "A" else "B"}

    def items(gold):
        items = [item.strip() for item in gold["items"].split(",")]
        spaced, numbers = ", ".join(items), [int(i) for i in items if re.fullmatch(r"-?\d+", i)]
        turned, infinite = items[::-1], gold[0].count("infty")
        negated = "0" if sorted(numbers) == sorted(-n for n in numbers) else ", ".join(str(-n) for n in numbers)
        found = {"spaced": spaced, "tight": ",".join(items), "wide": ",  ".join(items), "blanks": r",\ ".join(items)}
        found |= {"head": items[0], "last": items[-1], "but_last": ", ".join(items[:-1]), "reversed": ", ".join(turned)}
        found |= {
            "semicolons": "; ".join(items),
            "each_x": ", ".join(f"x={item}" for item in items),
            "negated": negated,
        }
        found |= {
            "or_x": " or ".join(f"x = {item}" for item in items),
            "square": f"[{spaced}]" if infinite < 2 else None,
        }
        turned = f"({', '.join(turned)})" if items != turned else None
        return found | {"turned": turned, "bare": spaced if not re.search("infty|pi|sqrt", gold[0]) else None}

    def inequalities(gold):
        left, right, opened, closed = (gold[name] for name in ("left", "right", "open", "close"))
        below, above = ("<" if opened == "(" else r"\le "), ("<" if closed == ")" else r"\leq ")
        if left == r"-\infty":
            found = [f"x {above}{right}", f"x{above.replace('<', ' < ')}{right}", f"(−∞, {right}{closed}"]
        elif right in (r"\infty", r"+\infty"):
            found = [f"x {_more(opened == '(')} {left}", rf"{opened}{left}, +\infty)"]
        else:  # a pair, or an interval: the text of one with two brackets of a kind does not say
            found = [f"{left} {below} x {above} {right}"] if opened + closed not in ("()", "[]") else []
        return {"inequalities": found}

    def other_ends(gold):
        left, right, opened, closed = (gold[name] for name in ("left", "right", "open", "close"))
        found = []
        if "infty" in left and "infty" in right:
            return {"other_ends": []}
        if "infty" not in left:
            found.append(f"{'[' if opened == '(' else '('}{left}, {right}{closed}")
        if "infty" not in right:
            found.append(f"{opened}{left}, {right}{']' if closed == ')' else ')'}")
        if left == r"-\infty":
            less = "<" if closed == "]" else r"\le"
            found += [f"x {less} {right}", f"x > {right}", right]
        if right == r"\infty":
            found += [f"x {_more(opened == '[')} {left}", f"x < {left}", left]
        return {"other_ends": found}

    # expressions
    def stripped(gold):
        return {"first": gold["first"].strip()}

    def one_value(gold):
        return {"comma": gold[0].replace(r"\pm", ",")}

    def root(gold):
        inside, one = int(gold["inside"]), int(gold["front"] or 1)
        found = {"one": gold["front"] or "1", "squared": one**2 * inside, "next": inside + 1, "front_next": one + 1}
        return {**found, "rounded": f"{one * inside**0.5:.2f}"}

    def pi(gold):
        n = int(gold["number"] or 1)
        return {"n": n, "next": n + 1, "rounded": f"{n * 3.14:.2f}"}

    def unicode(gold):
        text = gold[0].replace(r"\pi", "π").replace(r"\infty", "∞").replace(r"\cup", "∪")
        return {"unicode": re.sub(r"\\sqrt\{(\d+)\}", r"√\1", text)}

    def raised(gold):
        raised = re.sub(r"\^(\d)", lambda match: "⁰¹²³⁴⁵⁶⁷⁸⁹"[int(match[1])], gold[0])
        return {"raised": raised, "braced": re.sub(r"\^(\d)", r"^{\1}", gold[0])}

    def polynomial(gold):
        text, letter = gold[0], re.search("[a-z]", gold[0])[0]
        exponent = re.sub(r"\^(\d)", lambda match: f"^{int(match[1]) + 1}", text, count=1)
        return {
            "letter": text.replace(letter, "w" if letter != "w" else "v"),
            "upper": text.replace(letter, letter.upper()),
            "sign": text.replace("+", "-", 1) if "+" in text else None,
            "exponent": exponent if "^" in text else None,
            "no_exponent": re.sub(r"\^\d", "", text, count=1) if "^" in text else None,
        }

    def complex(gold):
        real, sign, front = gold["real"], gold["sign"], gold["front"]
        swapped = f"{front or 1} {sign} {real}i" if front != real else "0"
        return {"other": "-" if sign == "+" else "+", "swapped": swapped, "one": front or 1}

    def other_name(gold):
        return {"other": "t" if gold["name"] != "t" else "s"}

    def matrix(gold):
        rows = [[one.strip() for one in row.split("&")] for row in gold["body"].split(r"\\")]
        first = rows[0][0]
        turned, same = (r" \\ ".join(" & ".join(row) for row in way) for way in (zip(*rows, strict=True), rows))
        flat, changed = ", ".join(one for row in rows for one in row), gold[0].replace(first, f"{first}1", 1)
        return {"changed": changed, "flat": flat, "turned": turned if turned != same else None}

    def clock(gold):
        other = "ap".replace(gold["half"], "")
        return {"clock": gold["written"].replace(r"\!", ""), "upper": gold["half"].upper(), "other": other}

    def ratio(gold):
        first, second = gold["first"], gold["second"]
        return {"next": int(second) + 1, "turned": f"{second}:{first}" if first != second else None}

    # answers in words
    def forms(gold):
        wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in gold[0])
        return {"forms": [unicodedata.normalize("NFD", gold[0]), unicodedata.normalize("NFC", gold[0]), wide]}

    def cases(gold):
        upper, lower = gold[0].upper(), gold[0].lower()
        spaces = {"doubled": gold[0].replace(" ", "  "), "unbroken": gold[0].replace(" ", "\u00a0")}
        return {
            "upper": upper if upper.lower() == lower else None,
            "lower": lower,
            **spaces,
        }  # "ß" has another upper case

    def sentence(gold):
        words, articles = gold[0].split(), {"a", "an", "the"} & set(gold[0].lower().split())
        turned = " ".join(reversed(words)) if words != words[::-1] and not articles else None
        return {"shorter": gold[0][:-1], "turned": turned}

    def bare(gold):
        apart = unicodedata.normalize("NFD", gold[0])
        bare = "".join(c for c in apart if not unicodedata.combining(c))
        return {"bare": bare if bare != apart else None}

    def counted(gold):
        last = gold[0][-1]
        return {"counted": f"{gold[0][:-1]}{(int(last) + 1) % 10}" if last in "0123456789" else None}


def _written(value: Fraction) -> str:
    """A value that ends in decimals, in full."""
    places = next(n for n in range(40) if (value * 10**n).denominator == 1)
    digits = str(int(value * 10**places)).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


def _ends(below: int) -> bool:
    """Whether a fraction over `below` ends in decimals: no prime but 2 and 5 divides it."""
    for prime in (2, 5):
        while below % prime == 0:
            below //= prime
    return below == 1


def _more(strictly: bool) -> str:
    return ">" if strictly else r"\ge"
