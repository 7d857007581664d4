"""Load the papers' evaluation sets: questions with their accepted answers, from JSON, CSV or parquet files.

The repository does not contain these files (`data/README.md` has their cards). Every loader takes a data directory and
returns `Question` records. A row without the expected shape raises UserError with file, line and key. Formats are those
of the official ARPO/AEPO repository (`evaluation/data/<set>/test.jsonl`). Its RL sets:
`reproduce.worlds.benchmarks.datasets.rl`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reproduce.errors import UserError
from reproduce.tools.reading import any_rows, find
from reproduce.tools.reading import check_rows as same_rows
from reproduce.worlds.benchmarks.public_rows import canonical, decrypted
from reproduce.worlds.question import Question
from reproduce.worlds.rewards import boxed

ENDINGS = ("json", "parquet", "csv")
"""Other forms that a question file may have, besides JSON lines."""


@dataclass(frozen=True)
class QuestionFile:
    """Registry entry of an evaluation set.

    rows: the size of the published file; None if it is not known. columns: must be present. names: its place in a data
    directory, besides `eval/<name>.jsonl` and `<name>/test.jsonl` (or with one of `ENDINGS`). level_key: the column of
    the level. parts: part -> its published size. part_of: the part of a row.
    """

    name: str
    rows: int | None
    columns: tuple[str, ...]
    answer_type: str
    question_key: str = "question"
    read_golds: Callable[[Mapping[str, Any]], list[str]] = field(repr=False, default=lambda row: _as_golds(row))
    names: tuple[str, ...] = ()
    level_key: str | None = None
    parts: Mapping[str, int] | None = None
    part_of: Callable[[Mapping[str, Any]], str] | None = field(repr=False, default=None)

    @property
    def candidates(self) -> tuple[str, ...]:
        """Where a data directory may hold it."""
        places = (f"eval/{self.name}", f"{self.name}/test")
        first = tuple(f"{place}.jsonl" for place in places)
        return (*first, *self.names, *(f"{place}.{ending}" for ending in ENDINGS for place in places))


class _Wrong(ValueError):
    """Error in a row: the key, and the end of the message."""

    def __init__(self, key: str, problem: str):
        super().__init__(f"key {key!r} {problem}")


def _as_golds(row: Mapping[str, Any]) -> list[str]:
    answer = row["answer"]
    golds = answer if isinstance(answer, list) else [answer]
    if not golds or not all(isinstance(gold, str) and gold.strip() for gold in golds):
        raise _Wrong("answer", "must be a non-empty string or a list of them")
    aliases = row.get("answer_aliases")  # MuSiQue's own files
    more = aliases if isinstance(aliases, list) else []
    return list(dict.fromkeys([*golds, *(alias for alias in more if isinstance(alias, str) and alias.strip())]))


def _gsm8k_golds(row: Mapping[str, Any]) -> list[str]:
    """The number after the last `####`, without thousands separators."""
    answer = row["answer"]
    if not isinstance(answer, str) or "####" not in answer:
        raise _Wrong("answer", "must contain '#### <number>'")
    number = answer.rsplit("####", 1)[1].strip().replace(",", "")
    try:
        float(number)
    except ValueError:
        raise _Wrong("answer", f"has {number!r} after '####', which is not a number") from None
    return [number]


def _whole_number(row: Mapping[str, Any]) -> list[str]:
    answer = row["answer"]
    if type(answer) is int or (isinstance(answer, str) and answer.strip().isdigit()):
        return [str(answer).strip()]
    raise _Wrong("answer", "must be a whole number")


def _numbers_or_golds(row: Mapping[str, Any]) -> list[str]:
    """A whole number, which some releases write without quotes, or golds as elsewhere."""
    return [str(row["answer"])] if type(row["answer"]) is int else _as_golds(row)


def _math_golds(row: Mapping[str, Any]) -> list[str]:
    """`answer`, or the last box of `solution`, as in the original MATH files."""
    if "answer" in row:
        return _as_golds(row)
    gold = boxed(row["solution"]) if isinstance(row.get("solution"), str) else None
    if not gold:
        raise _Wrong("solution", "must hold the answer in \\boxed{...}, or 'answer' be there")
    return [gold]


_HLE = {"NS": ("math", "biology", "physics", "chemistry"), "CE": ("cs", "computer", "engineering")}


def _hle_part(row: Mapping[str, Any]) -> str:
    """ARPO's parts of HLE: NS natural sciences, CE computing and engineering, SF all other fields."""
    category = str(row["category"]).lower()
    return next((part for part, starts in _HLE.items() if category.startswith(starts)), "SF")


_QA = ("question", "answer")
EVALUATION_FILES: dict[str, QuestionFile] = {
    entry.name: entry
    for entry in (
        QuestionFile("2wiki", 200, _QA, "qa"),
        QuestionFile("hotpotqa", 200, _QA, "qa"),
        QuestionFile("musique", 200, _QA, "qa"),
        QuestionFile("bamboogle", 125, _QA, "qa"),
        QuestionFile(
            "aime24", 30, ("id", "problem", "answer"), "math", question_key="problem", read_golds=_numbers_or_golds
        ),
        QuestionFile("aime25", 30, ("problem", "answer"), "math", question_key="problem", read_golds=_whole_number),
        QuestionFile("math500", 500, _QA, "math"),
        QuestionFile("gsm8k", 1319, _QA, "math", read_golds=_gsm8k_golds),
        # The authors' file is in no mirror; either form of its rows is read, and its size is not checked.
        QuestionFile("math", None, (), "math", read_golds=_math_golds),
        QuestionFile("webwalker", 200, _QA, "qa"),
        QuestionFile(
            "gaia",
            103,
            ("task_id", "Question", "answer", "Level"),
            "qa",
            question_key="Question",
            level_key="Level",
            parts={"1": 39, "2": 52, "3": 12},
            part_of=lambda row: str(row["Level"]),
        ),
        QuestionFile(
            "hle",
            500,
            (*_QA, "category"),
            "qa",
            names=("hle/top.json",),
            parts={"NS": 330, "CE": 75, "SF": 95},
            part_of=_hle_part,
        ),
        QuestionFile("xbench", 100, _QA, "qa"),
    )
}


def question_path(name: str, data_dir: str | Path) -> Path:
    """Find the file of an evaluation set in a data directory.

    Raises:
        UserError: the name is unknown, or the file is missing.
    """
    if name not in EVALUATION_FILES:
        raise UserError(f"unknown question set {name!r}; known: {', '.join(EVALUATION_FILES)}")
    return find(Path(data_dir), EVALUATION_FILES[name].candidates, name)


def load(name: str, data_dir: str | Path, *, check_rows: bool = True, path: Path | None = None) -> list[Question]:
    """Load the questions of an evaluation set, in file order.

    Args:
        name: a key of `EVALUATION_FILES`.
        data_dir: directory that holds `eval/<name>.jsonl`, or `<name>/test.jsonl` as in the official repository
            (`QuestionFile.candidates` lists all places).
        check_rows: refuse a file whose size, or the sizes of whose parts, differ from the published ones (a truncated
            download, another split). Pass False for a subset of your own.
        path: the file itself, if you know it.

    Raises:
        UserError: the name is unknown, the file is missing, a row is malformed, or a size is wrong.
    """
    path = question_path(name, data_dir) if path is None else path
    entry = EVALUATION_FILES[name]
    rows = [(line, canonical(row, entry.columns)) for line, row in any_rows(path)]
    if name == "xbench":
        rows = [(line, decrypted(row, f"{path}, line {line}")) for line, row in rows]
    questions = [_question(entry, path, line, row) for line, row in rows]
    if check_rows and entry.rows is not None:
        same_rows(path, len(questions), entry.rows)
    if check_rows and entry.parts is not None:
        found = Counter(entry.part_of(row) for _, row in rows)
        if found != entry.parts:
            expected = ", ".join(f"{part} {count}" for part, count in entry.parts.items())
            has = ", ".join(f"{part} {count}" for part, count in sorted(found.items()))
            raise UserError(f"{path}: has the parts {has}; the published file has {expected}: it is another selection")
    return [replace(question, id=f"{name}-{number:05d}") for number, question in enumerate(questions)]


def real_search_questions(data_dir: str | Path, n: int = 20) -> list[Question]:
    """Return the first `n` questions of 2wiki, hotpotqa and bamboogle taken in turn: a fixed mix for testing an agent
    loop.

    Raises:
        UserError: `n` is below 1 or above the 525 questions that there are.
    """
    sets = [load(name, data_dir) for name in ("2wiki", "hotpotqa", "bamboogle")]
    total = sum(map(len, sets))
    if not 1 <= n <= total:
        raise UserError(f"real_search_questions: n is {n}; choose 1 to {total}")
    longest = max(map(len, sets))
    mixed = [questions[i] for i in range(longest) for questions in sets if i < len(questions)]
    return mixed[:n]


def _question(entry: QuestionFile, path: Path, line: int, row: Any) -> Question:
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {line}: expected a JSON object, found {type(row).__name__}; repair the line")
    for key in entry.columns:
        if key not in row:
            raise UserError(f"{path}, line {line}: key {key!r} is missing; repair the line")
    key = entry.question_key if entry.columns or entry.question_key in row else "problem"
    text = row.get(key)
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{path}, line {line}: key {key!r} must be a non-empty string; repair the line")
    try:
        golds = entry.read_golds(row)
        level = 0 if entry.level_key is None else _level(row, entry.level_key)
    except _Wrong as error:
        raise UserError(f"{path}, line {line}: {error}; repair the line") from error
    metadata = {name: value for name, value in row.items() if name not in (key, "answer")}
    return Question("", text, golds, entry.name, entry.answer_type, level, metadata)


def _level(row: Mapping[str, Any], key: str) -> int:
    if not str(row[key]).isdigit() or int(row[key]) < 1:
        raise _Wrong(key, "must be a whole number from 1")
    return int(row[key])
