"""Numbers of README.md and of the readings in RESULTS.md name the cell they come from, in a list that is not shown.

A line of it: `−1.5 table1_confirmatory.csv aepo/grpo difference`, the number as the text has it, a file of figures/, a
row (`method`, or `method/against`, with `_` for a blank) and a column. `abs:` before a column leaves out the sign.
"""

import re

import pandas as pd
import pytest
from places import ROOT

TEXT = (ROOT / "analysis" / "RESULTS.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = {n: TEXT.split(f"### Reading table {n}\n")[1].split("\n## ")[0] for n in range(1, 6)}
SECTIONS["README"] = README.split("<!-- /overview -->\n")[1].split("\n## ")[0]
SECTIONS["README"] += "<!-- numbers\n" + TEXT.split("<!-- numbers of README.md\n")[1]


def listed(section: str) -> list[tuple[str, str, str, str]]:
    """(number, file, row, column) of every line of the section's list."""
    lines = section.split("<!-- numbers\n")[1].split("\n-->")[0].splitlines()
    return [tuple(line.split()) for line in lines]


NUMBERS = [(n, *line) for n, section in SECTIONS.items() for line in listed(section)]


def cell(file: str, row: str, column: str) -> float:
    """The number in a CSV file of figures/. KeyError if there is none or several."""
    frame = pd.read_csv(ROOT / "figures" / file)
    keys = frame["method"] if "/" not in row else frame["method"] + "/" + frame["against"]
    found = frame.loc[keys.str.replace(" ", "_") == row, column.removeprefix("abs:")]
    if len(found) != 1:
        raise KeyError(f"{file} has {len(found)} rows {row}")
    return abs(float(found.iloc[0])) if column.startswith("abs:") else float(found.iloc[0])


def is_rounded(number: str, value: float) -> bool:
    """Whether `number`, as the text prints it, is `value`; cells have four decimals themselves."""
    digits = len(number.partition(".")[2])
    return abs(float(number.replace("−", "-")) - value) <= 0.5 * 10**-digits + 0.5e-4 + 1e-9


def stands_in(number: str, section: str) -> bool:
    """Whether the shown text of a section has the number, whole."""
    shown = section.split("<!-- numbers")[0]
    return re.search(rf"(?<![\d.+−]){re.escape(number)}(?!\.?\d)", shown) is not None


@pytest.mark.parametrize("line", NUMBERS, ids=lambda line: " ".join(map(str, line[1:])))
def test_a_number_of_the_text_is_its_cell(line):
    n, number, file, row, column = line
    assert stands_in(number, SECTIONS[n]), f"{n}: the text does not say {number}"
    assert is_rounded(number, cell(file, row, column))


def test_every_signed_difference_of_a_reading_is_listed():
    """Numbers with a sign are differences between rows: none stands in a reading without its cell, but those of past
    regimes and bounds, which no file of figures/ holds."""
    past = {"+3.5", "+1.8", "+1.1", "+2.7", "+6.2", "−1"}
    for n, section in SECTIONS.items():
        shown = re.sub(r"\[[^]]*\]|`[^`]*`|±\S+", "", section.split("<!-- numbers")[0])
        signed = set(re.findall(r"(?<![\w.])[+−]\d+(?:\.\d+)?", shown))
        assert signed - past <= {line[0] for line in listed(section)}, n


def test_numbers_are_compared_as_they_are_printed():
    assert is_rounded("−1.5", -1.4875) and is_rounded(".034", 0.034) and is_rounded("+1.9", 1.94)
    assert not is_rounded("1.5", -1.4875) and not is_rounded("+1.9", 1.9601) and not is_rounded("7.0", 7.06)
    assert stands_in("1.5", "at 1.5, x") and not stands_in("1.5", "at 11.5 and −1.5 and 1.55 <!-- numbers 1.5 -->")
    with pytest.raises(KeyError, match="0 rows nobody"):
        cell("table1.csv", "nobody", "pass_1")
