"""The table of rewritten golds: what `grade` says about each, and what math-verify says by itself.

    python -m reproduce rewritten-golds

reads data/graders/golds.csv (answers of the public question files, with set and row) and writes data/graders/pairs.csv,
one line for a gold, an answer that a rule of `rewriting` made from it, whether that answer is right, and both verdicts;
and data/graders/rules.csv, the counts of every rule. Same golds and rules, same bytes.
"""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from reproduce.arguments import Parser, first_line
from reproduce.commands.rewriting import Pair, pairs
from reproduce.errors import UserError
from reproduce.evaluation.graders import grade
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES, Question

FOLDER = Path(__file__).parents[2] / "data" / "graders"
GOLDS_A_RULE = 4  # golds of the table to which one rule is applied, the first ones that it fits
SECONDS = 5  # of one parse and one comparison of math-verify alone: its own default


class Row(NamedTuple):
    """right: whether the answer is right. graded: the verdict of `grade`. math_verify: its own, "" for words."""

    gold: str
    answer: str
    rule: str
    right: bool
    graded: bool
    math_verify: bool | str


def golds(path: Path = FOLDER / "golds.csv") -> list[tuple[str, int, str]]:
    """(set, row from 0, gold) of the table's golds. UserError if the file is missing or has other columns."""
    try:
        frame = pd.read_csv(path, dtype={"gold": str, "row": int}, keep_default_na=False)
        return list(frame[["set", "row", "gold"]].itertuples(index=False, name=None))
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore it with git") from None


def answer_type(name: str) -> str:
    """How the answers of a set are graded; the golds from the RL set are mathematics."""
    return EVALUATION_FILES[name].answer_type if name in EVALUATION_FILES else "math"


def table_pairs() -> list[tuple[str, Pair]]:
    """(answer type, pair) of the table, in its order."""
    found, used = [], defaultdict(set)
    for name, _, gold in golds():
        for pair in pairs(gold, answer_type(name)):
            key = (answer_type(name), pair.rule, pair.right)
            if gold in used[key] or len(used[key]) < GOLDS_A_RULE:
                used[key].add(gold)
                found.append((answer_type(name), pair))
    return found


def graded(pair: Pair, kind: str) -> bool:
    """The verdict of `grade` for a pair."""
    return grade(Question("rewritten", "", [pair.gold], "rewritten", kind), pair.answer).correct


def math_verify_alone(gold: str, answer: str) -> bool:
    """math-verify's verdict on gold and answer as they are written, each in a box. Main thread only (its limit is a
    signal)."""
    from math_verify import parse, verify

    expected, given = (parse(f"\\boxed{{{text}}}", parsing_timeout=SECONDS) for text in (gold, answer))
    return bool(expected and given and verify(expected, given, timeout_seconds=SECONDS))


def table() -> list[Row]:
    """Every row of the table, both verdicts computed now."""
    return [
        Row(*pair, graded(pair, kind), math_verify_alone(pair.gold, pair.answer) if kind == "math" else "")
        for kind, pair in table_pairs()
    ]


def summary(rows: list[Row]) -> pd.DataFrame:
    """For each rule: how many pairs, and how many of them each judges as they are."""
    frame = pd.DataFrame(rows)
    for name in ("graded", "math_verify"):
        frame[f"{name}_so"] = [value == right for value, right in zip(frame[name], frame["right"], strict=True)]
    of_rule = frame.groupby(["rule", "right"], sort=False)
    return of_rule.agg(pairs=("gold", "size"), graded_so=("graded_so", "sum"), math_verify_so=("math_verify_so", "sum"))


def written(rows: list[Row]) -> dict[str, str]:
    """The two files of `FOLDER`, name -> text."""
    pairs_csv = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
    return {"pairs.csv": pairs_csv, "rules.csv": summary(rows).reset_index().to_csv(index=False, lineterminator="\n")}


def main(argv: list[str] | None = None) -> int:
    """Writes both files and prints the counts of the whole. Exit code 1 if an answer is graded otherwise than it is."""
    Parser(prog="python -m reproduce rewritten-golds", description=first_line(__doc__)).parse_args(argv)
    rows = table()
    for name, text in written(rows).items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    wrong = [row for row in rows if row.graded != row.right]
    alone = sum(row.math_verify not in ("", row.right) for row in rows)
    print(f"{len(rows)} answers: {len(wrong)} graded otherwise than they are, {alone} by math-verify alone")
    for row in wrong:
        print(f"  {row.gold!r} answered by {row.answer!r} ({row.rule})")
    return 1 if wrong else 0
