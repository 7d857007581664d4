"""Loaders of the public question files: evaluation sets (JSON lines) and the authors' RL training sets (parquet).

The repository does not contain these files (`data/README.md` has their cards). Every loader takes a data directory and
returns `Question` records; a row that does not have the expected shape raises UserError naming file, line and key.
Formats are those of the official ARPO/AEPO repository (`evaluation/data/<set>/test.jsonl`, `rl_datasets/*.parquet`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reproduce.errors import UserError

logger = logging.getLogger(__name__)

# What the prompts of the RL files hold where "\boxed" was meant: "\b" read as the escape for a backspace.
BACKSPACE_BUG, BACKSPACE_REPAIR = "\x08oxed", "\\boxed"


@dataclass(frozen=True)
class Question:
    """One question with its accepted answers.

    id: unique within the family, stable (row number in the file). golds: at least one. family: the data set's name.
    answer_type: "math" (graded as expressions) or "qa" (graded as text). level: difficulty, where the file states one.
    metadata: remaining columns, and for RL rows `system_prompt`, `data_source`, `ability`, `split`, `index`.
    """

    id: str
    question: str
    golds: list[str]
    family: str
    answer_type: str = "qa"
    level: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class QuestionFile:
    """Registry entry of an evaluation set. `columns` must be present; `rows` is the size of the published file."""

    name: str
    rows: int
    columns: tuple[str, ...]
    answer_type: str
    question_key: str = "question"
    read_golds: Callable[[Any], list[str]] = field(repr=False, default=lambda answer: _as_golds(answer))


@dataclass(frozen=True)
class RLFile:
    """Registry entry of an RL training set. `rows` is the size of the published file."""

    name: str
    rows: int


@dataclass(frozen=True)
class RLSet:
    """An RL training set as loaded.

    rows: rows in the file. backspaces: occurrences of the backspace defect found in system prompts; repaired: whether
    they were replaced by `\\boxed`. blank_golds: row numbers (from 0) left out because their gold answer is blank, so
    that no answer could ever earn a reward; rows = len(questions) + len(blank_golds).
    """

    questions: list[Question]
    rows: int
    backspaces: int
    repaired: bool
    blank_golds: list[int]


def _as_golds(answer: Any) -> list[str]:
    golds = answer if isinstance(answer, list) else [answer]
    if not golds or not all(isinstance(gold, str) and gold.strip() for gold in golds):
        raise ValueError("must be a non-empty string or a list of them")
    return list(golds)


def _gsm8k_golds(answer: Any) -> list[str]:
    """The number after the last `####`, thousands separators removed."""
    if not isinstance(answer, str) or "####" not in answer:
        raise ValueError("must contain '#### <number>'")
    number = answer.rsplit("####", 1)[1].strip().replace(",", "")
    try:
        float(number)
    except ValueError:
        raise ValueError(f"has {number!r} after '####', which is not a number") from None
    return [number]


EVALUATION_FILES: dict[str, QuestionFile] = {
    entry.name: entry
    for entry in (
        QuestionFile("2wiki", 200, ("question", "answer"), "qa"),
        QuestionFile("hotpotqa", 200, ("question", "answer"), "qa"),
        QuestionFile("bamboogle", 125, ("question", "answer"), "qa"),
        QuestionFile("aime24", 30, ("id", "problem", "answer"), "math", question_key="problem"),
        QuestionFile("math500", 500, ("question", "answer"), "math"),
        QuestionFile("gsm8k", 1319, ("question", "answer"), "math", read_golds=_gsm8k_golds),
    )
}
RL_FILES: dict[str, RLFile] = {
    entry.name: entry for entry in (RLFile("train_10k", 10000), RLFile("valid", 180), RLFile("hard_search_1k", 1071))
}
RL_COLUMNS = ("data_source", "prompt", "ability", "reward_model", "extra_info")


def load(name: str, data_dir: str | Path, *, check_rows: bool = True) -> list[Question]:
    """Questions of an evaluation set, in file order.

    data_dir: directory that holds `eval/<name>.jsonl`, or `<name>/test.jsonl` as in the official repository.
    check_rows: refuse a file whose size differs from the published one (a truncated download); pass False for a subset
    of your own. Raises UserError for an unknown name, a missing file, a malformed row or a wrong number of rows.
    """
    if name not in EVALUATION_FILES:
        raise UserError(f"unknown question set {name!r}; known: {', '.join(EVALUATION_FILES)}")
    entry = EVALUATION_FILES[name]
    path = _find(Path(data_dir), (f"eval/{name}.jsonl", f"{name}/test.jsonl"), name)
    questions = [_question(entry, path, line, row) for line, row in _read_jsonl(path)]
    _check_rows(path, len(questions), entry.rows, check_rows)
    return [_numbered(question, number) for number, question in enumerate(questions)]


def load_rl(name: str, data_dir: str | Path, *, keep_backspace: bool = False, check_rows: bool = True) -> RLSet:
    """An RL training set, in file order (see `RLSet`).

    data_dir: directory that holds `<name>.parquet` (or `rl_datasets/<name>.parquet`). The shipped system prompts hold
    a backspace character and "oxed" where `\\boxed` was meant, while the reward demands `\\boxed{`: repaired and logged
    here unless `keep_backspace` is set, for training on the files exactly as released. Rows with a blank gold are left
    out and logged. Raises UserError as `load` does.
    """
    if name not in RL_FILES:
        raise UserError(f"unknown RL set {name!r}; known: {', '.join(RL_FILES)}")
    path = _find(Path(data_dir), (f"{name}.parquet", f"rl_datasets/{name}.parquet"), name)
    rows = _read_parquet(path)
    _check_rows(path, len(rows), RL_FILES[name].rows, check_rows)
    questions: list[Question] = []
    blank: list[int] = []
    backspaces = 0
    for number, row in enumerate(rows):
        question, found = _rl_question(name, path, number, row, keep_backspace)
        backspaces += found
        if question is None:
            blank.append(number)
        else:
            questions.append(question)
    if backspaces:
        action = "kept" if keep_backspace else "replaced by '\\boxed'"
        logger.warning("%s: %d backspace characters in system prompts %s", path.name, backspaces, action)
    if blank:
        logger.warning("%s: left out %d rows with a blank gold answer: %s", path.name, len(blank), blank)
    return RLSet(questions, len(rows), backspaces, bool(backspaces) and not keep_backspace, blank)


def real_search_questions(data_dir: str | Path, n: int = 20) -> list[Question]:
    """The first `n` questions of 2wiki, hotpotqa and bamboogle taken in turn: a fixed mix for checking an agent loop.

    Raises UserError if `n` is below 1 or above the 525 questions there are.
    """
    sets = [load(name, data_dir) for name in ("2wiki", "hotpotqa", "bamboogle")]
    total = sum(map(len, sets))
    if not 1 <= n <= total:
        raise UserError(f"real_search_questions: n is {n}; choose 1 to {total}")
    longest = max(map(len, sets))
    mixed = [questions[i] for i in range(longest) for questions in sets if i < len(questions)]
    return mixed[:n]


def _find(data_dir: Path, candidates: tuple[str, ...], name: str) -> Path:
    for candidate in candidates:
        if (data_dir / candidate).is_file():
            return data_dir / candidate
    raise UserError(
        f"{data_dir}: no file for {name!r} (looked for {' and '.join(candidates)}); check the data directory"
    )


def _check_rows(path: Path, found: int, expected: int, check: bool) -> None:
    if check and found != expected:
        raise UserError(
            f"{path}: {found} rows, the published file has {expected}; fetch it again, "
            "or pass check_rows=False if this is a subset on purpose"
        )


def _read_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number from 1, parsed row) of every non-blank line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; fetch the file again") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise UserError(
                    f"{path}, line {number}: not valid JSON ({error}); repair or remove the line"
                ) from error


def _question(entry: QuestionFile, path: Path, line: int, row: Any) -> Question:
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {line}: expected a JSON object, found {type(row).__name__}; repair the line")
    for key in entry.columns:
        if key not in row:
            raise UserError(f"{path}, line {line}: key {key!r} is missing; repair the line")
    text = row[entry.question_key]
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{path}, line {line}: key {entry.question_key!r} must be a non-empty string; repair the line")
    try:
        golds = entry.read_golds(row["answer"])
    except ValueError as error:
        raise UserError(f"{path}, line {line}: key 'answer' {error}; repair the line") from error
    metadata = {key: value for key, value in row.items() if key not in (entry.question_key, "answer")}
    return Question("", text, golds, entry.name, entry.answer_type, None, metadata)


def _numbered(question: Question, number: int) -> Question:
    return Question(
        f"{question.family}-{number:05d}",
        question.question,
        question.golds,
        question.family,
        question.answer_type,
        question.level,
        question.metadata,
    )


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: not a readable parquet file ({str(error).splitlines()[0]}); fetch it again"
        ) from error
    for column in RL_COLUMNS:
        if column not in table.column_names:
            raise UserError(f"{path}: column {column!r} is missing; expected {', '.join(RL_COLUMNS)}")
    return table.to_pylist()


def _rl_question(
    name: str, path: Path, number: int, row: Mapping[str, Any], keep_backspace: bool
) -> tuple[Question | None, int]:
    """The question of a row (None if its gold is blank) and the number of backspace defects in its system prompt."""

    def fail(key: str, wanted: str) -> UserError:
        return UserError(f"{path}, row {number}: key {key!r} must be {wanted}; repair or remove the row")

    prompt = row["prompt"]
    if not isinstance(prompt, list) or [m.get("role") if m else None for m in prompt] != ["system", "user"]:
        raise fail("prompt", "one system and one user message")
    system, text = prompt[0].get("content"), prompt[1].get("content")
    if not isinstance(system, str) or not isinstance(text, str) or not text.strip():
        raise fail("prompt", "messages with non-empty string contents")
    gold = (row["reward_model"] or {}).get("ground_truth")
    if not isinstance(gold, str):
        raise fail("reward_model.ground_truth", "a string")
    backspaces = system.count(BACKSPACE_BUG)
    if not gold.strip():
        return None, backspaces
    if not keep_backspace:
        system = system.replace(BACKSPACE_BUG, BACKSPACE_REPAIR)
    extra = row["extra_info"] or {}
    metadata = {
        "system_prompt": system,
        "data_source": row["data_source"],
        "ability": row["ability"],
        "split": extra.get("split"),
        "index": extra.get("index"),
    }
    answer_type = "math" if row["ability"] == "math" else "qa"
    return Question(f"{name}-{number:05d}", text, [gold], name, answer_type, None, metadata), backspaces
