"""Load the authors' RL training sets (parquet, verl format), and repair the backspace in their system prompts."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reproduce.errors import UserError
from reproduce.tools.reading import check_rows as same_rows
from reproduce.tools.reading import find, parquet_rows
from reproduce.worlds.benchmarks.questions import Question

logger = logging.getLogger(__name__)

# What the prompts of the RL files hold where "\boxed" was meant: "\b" read as the escape for a backspace.
BACKSPACE_BUG, BACKSPACE_REPAIR = "\x08oxed", "\\boxed"


@dataclass(frozen=True)
class RLFile:
    """Registry entry of an RL training set. rows: size of the published file. names: the file's names in the authors'
    repository and on the Hub.
    """

    name: str
    rows: int
    names: tuple[str, ...]

    @property
    def candidates(self) -> tuple[str, ...]:
        """Where a data directory may hold it."""
        return tuple(f"{folder}{name}" for name in self.names for folder in ("", "rl_datasets/"))


RL_FILES: dict[str, RLFile] = {
    entry.name: entry
    for entry in (
        RLFile("train_10k", 10000, ("train_10k.parquet",)),
        RLFile("valid", 180, ("valid.parquet",)),
        RLFile("hard_search_1k", 1071, ("hard_search_1k.parquet", "hard_search.parquet")),
    )
}
RL_COLUMNS = ("data_source", "prompt", "ability", "reward_model", "extra_info")


@dataclass(frozen=True)
class RLSet:
    """An RL training set as loaded.

    rows: rows in the file. backspaces: occurrences of the backspace defect in system prompts. repaired: whether they
    were replaced by `\\boxed`. blank_golds: row numbers (from 0) that are left out because their gold answer is blank,
    so that no answer could earn a reward. rows = len(questions) + len(blank_golds).
    """

    questions: list[Question]
    rows: int
    backspaces: int
    repaired: bool
    blank_golds: list[int]


def rl_path(name: str, data_dir: str | Path) -> Path:
    """Find the file of an RL set in a data directory.

    Raises:
        UserError: the name is unknown, or the file is missing.
    """
    if name not in RL_FILES:
        raise UserError(f"unknown RL set {name!r}; known: {', '.join(RL_FILES)}")
    return find(Path(data_dir), RL_FILES[name].candidates, name)


def load_rl(
    name: str, data_dir: str | Path, *, keep_backspace: bool = False, check_rows: bool = True, path: Path | None = None
) -> RLSet:
    """Load an RL training set, in file order.

    The shipped system prompts hold a backspace character and "oxed" where `\\boxed` was meant, while the reward demands
    `\\boxed{`. We repair and log this. Rows with a blank gold are left out and logged.

    Args:
        name: a key of `RL_FILES`.
        data_dir: directory that holds `<name>.parquet` (or `rl_datasets/<name>.parquet`).
        keep_backspace: train on the files exactly as released.
        check_rows: refuse a file whose number of rows is not the published one.
        path: the file itself, if you know it.

    Raises:
        UserError: the name is unknown, the file is missing, a row is malformed, or the number of rows is wrong.
    """
    path = rl_path(name, data_dir) if path is None else path
    rows = parquet_rows(path, RL_COLUMNS)
    if check_rows:
        same_rows(path, len(rows), RL_FILES[name].rows)
    questions: list[Question] = []
    blank: list[int] = []
    backspaces = 0
    for number, row in enumerate(rows):
        question, found = _question(name, path, number, row, keep_backspace)
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


def _question(
    name: str, path: Path, number: int, row: Mapping[str, Any], keep_backspace: bool
) -> tuple[Question | None, int]:
    """The question of a row (None if its gold is blank), and the number of backspace defects in its system prompt."""

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
    split = "validation" if name == "valid" else "train"
    made = Question(f"{name}-{number:05d}", text, [gold], name, answer_type, metadata=metadata, split=split)
    return made, backspaces
