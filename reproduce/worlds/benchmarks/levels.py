"""Levels of questions whose authors' file has none, from the public file that has them.

The authors' selection of WebWalkerQA (200 of 680) holds questions and answers alone. The public file, data/main-*.jsonl
of the Hub's callanwu/WebWalkerQA (arXiv 2501.07572), says how difficult each is. Questions are matched by their words.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reproduce.errors import UserError
from reproduce.tools.reading import any_rows
from reproduce.tools.search.bm25 import words
from reproduce.worlds.question import Question

FILES = {"webwalker": "webwalker-levels"}
"""Evaluation set -> name of the file with its levels."""
NAMES = ("Easy", "Medium", "Hard")
"""Of levels 1, 2, 3."""


def with_levels(questions: Sequence[Question], path: Path) -> list[Question]:
    """Fill in the levels, 1 to 3; 0 for a question that the file does not hold.

    Raises:
        UserError: a row has no question or no difficulty_level of easy, medium or hard.
    """
    known = {
        _key(text): level for text, level in (_level(row, f"{path}, row {number}") for number, row in any_rows(path))
    }
    return [replace(question, level=known.get(_key(question.question), 0)) for question in questions]


def counted(questions: Sequence[Question]) -> str:
    """Say how many questions have which level, such as "45 Easy, 84 Medium, 71 Hard"."""
    found = Counter(question.level for question in questions)
    said = [f"{found[level]} {name}" for level, name in enumerate(NAMES, 1)]
    return ", ".join([*said, *([f"{found[0]} without a level"] if found[0] else [])])


def _key(text: str) -> tuple[str, ...]:
    return tuple(words(text))


def _level(row: Any, where: str) -> tuple[str, int]:
    flat = _lower(row)
    flat |= _lower(flat.get("info"))
    question, level = flat.get("question"), str(flat.get("difficulty_level", "")).strip().capitalize()
    if not isinstance(question, str) or level not in NAMES:
        raise UserError(f"{where}: needs a question, and a difficulty_level of {', '.join(NAMES)}")
    return question, NAMES.index(level) + 1


def _lower(row: Any) -> dict[str, Any]:
    return {str(key).lower(): value for key, value in row.items()} if isinstance(row, Mapping) else {}
