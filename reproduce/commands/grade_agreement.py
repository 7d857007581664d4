"""The command that compares graders on answers.

    python -m reproduce grade-agreement ANSWERS [--data DIR] [--judge-url URL --judge-model NAME]

ANSWERS is a JSONL file, or a parquet file such as a run's eval.parquet, with one answer a row (`read_answers`); or a
run directory, or a folder with runs such as `runs/paper/table2`, whose configs say where the questions are and whose
rows hold the verdicts of the judge that was asked (`read_runs`).
"""

import json
import math
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from reproduce.arguments import Parser, first_line
from reproduce.commands.agreement import F1_RIGHT, Agreement, agreement
from reproduce.config.judge import JudgeConfig
from reproduce.config.strict import build
from reproduce.errors import UserError
from reproduce.evaluation.judge import Judge
from reproduce.runs.files import file_sha256
from reproduce.tools.reading import any_rows
from reproduce.tools.search.calls import MODES
from reproduce.worlds.benchmarks.files import data_file
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES, Question, load
from reproduce.yaml_files import read_yaml


def read_answers(path: Path, data_dir: Path | None = None) -> list[tuple[Question, str | None]]:
    """(question, answer) of each row of a JSONL or parquet file.

    A row has `answer` (null: none was given) and `golds` (list) or `gold`; it may have `question`, `answer_type`
    ("math" or "qa"), `question_id` and `family`. With data_dir, rows of a known family (`benchmarks.EVALUATION_FILES`)
    take question, golds and type from its file, by `question_id`. UserError naming the row for anything else.
    """
    known = {}
    rows = _rows(path)
    for family in {row.get("family") for row in rows} & EVALUATION_FILES.keys() if data_dir else ():
        known |= {question.id: question for question in load(family, data_dir)}
    return [_answer(row, f"{path}, row {number}", known) for number, row in enumerate(rows)]


def read_runs(folder: Path) -> tuple[list[tuple[Question, str | None]], list[bool | None]]:
    """(question, answer) of every evaluated sample of the runs in a folder, and the judge's verdicts, None where it did
    not decide or was not asked. UserError if there is no evaluated run, or a question file has changed."""
    paths = sorted(path for path in folder.rglob("eval.parquet") if (path.parent / "config.yaml").is_file())
    if not paths:
        raise UserError(f"{folder}: holds no evaluated run (looked for eval.parquet beside config.yaml)")
    answers: list[tuple[Question, str | None]] = []
    verdicts: list[bool | None] = []
    for path in paths:
        known, rows = _questions_of(path.parent / "config.yaml"), _rows(path)
        answers += [_answer(row, f"{path}, row {number}", known) for number, row in enumerate(rows)]
        given = [row.get("judged", math.nan) for row in rows]
        verdicts += [None if math.isnan(verdict) else verdict == 1.0 for verdict in given]
    return answers, verdicts


def _questions_of(config: Path) -> dict[str, Question]:
    """id -> question of the evaluation sets that a run's config names; none in other worlds than web."""
    task = read_yaml(config).get("task") or {}
    data = task.get("data")
    if data is None:
        return {}
    known = {}
    for name in task["families"]:
        path = data_file(name, data["folder"])
        if (data["sha256"] or {}).get(name, file_sha256(path)) != file_sha256(path):
            raise UserError(f"{path}: is not the file that {config.parent} was evaluated on; restore it")
        known |= {question.id: question for question in load(name, "", check_rows=False, path=path)}
    return known


def _rows(path: Path) -> list[dict]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a .jsonl or .parquet file of answers")
    try:
        rows = [row for _, row in any_rows(path)]
    except UserError as error:
        raise UserError(f"{path}: cannot be read ({str(error).removeprefix(str(path)).lstrip(':, ')})") from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: must hold one JSON object a line, at least one")
    return rows


def _answer(row: dict, where: str, known: Mapping[str, Question]) -> tuple[Question, str | None]:
    answer = row.get("answer")
    if "answer" not in row or not isinstance(answer, str | None):
        raise UserError(f"{where}: 'answer' must be a text or null")
    if row.get("question_id") in known:
        return known[row["question_id"]], answer
    golds = row.get("golds", row.get("gold"))
    golds = _listed(golds) if isinstance(golds, str) else golds
    if not isinstance(golds, list) or not golds or not all(isinstance(gold, str) for gold in golds):
        raise UserError(f"{where}: 'golds' must be a list of texts, or 'gold' a text; or name the files with --data")
    kind = row.get("answer_type") or "qa"
    if kind not in ("math", "qa"):
        raise UserError(f"{where}: 'answer_type' must be math or qa, not {kind!r}")
    name = str(row.get("question_id") or where.rpartition(" ")[2])
    return Question(name, row.get("question") or "", golds, row.get("family") or "", kind), answer


def _listed(gold: str) -> list[str]:
    """The accepted answers that `Question.gold` put into one text."""
    try:
        found = json.loads(gold) if gold.startswith("[") else None
    except (ValueError, RecursionError):
        found = None
    several = isinstance(found, list) and len(found) > 1 and all(isinstance(one, str) for one in found)
    return found if several else [gold]


def report(found: Agreement, judged: dict[str, Any] | None) -> str:
    """The comparison as text."""
    graders = pd.DataFrame({"right": found.accuracy, "undecided": found.undecided})
    counts = {"both": "both", "neither": "neither", "first_only": "first only", "second_only": "second only"}
    pairs = pd.DataFrame(found.pairs, index=[f"{pair.first} / {pair.second}" for pair in found.pairs])
    pairs = pairs[list(counts)].rename(columns=counts)
    pairs["agree"] = [math.nan if pair.agreement is None else pair.agreement for pair in found.pairs]
    pairs["kappa"] = [math.nan if pair.kappa is None else pair.kappa for pair in found.pairs]
    shown = {"right": "{:.1%}".format, "agree": "{:.1%}".format, "kappa": "{:.2f}".format}
    lines = [f"{found.answers} answers", graders.to_string(formatters=shown), ""]
    lines.append(pairs.to_string(formatters=shown, na_rep="-"))
    if judged and judged["undecided_reasons"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in judged["undecided_reasons"].items())
        lines += ["", f"judge undecided: {reasons}"]
    words = {True: "right", False: "wrong", None: "undecided"}
    for row in found.examples:
        said = ", ".join(f"{name} {words[row[name]]}" for name in found.accuracy)
        lines += ["", f"{row['id']}: {said}"]
        texts = {"question": row["question"], "gold": " | ".join(row["golds"]), "answer": row["answer"] or ""}
        lines += [f"  {name:<10}{textwrap.shorten(text, 200, placeholder='…')}" for name, text in texts.items()]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Prints the comparison. UserError for bad input."""
    parser = Parser(prog="python -m reproduce grade-agreement", description=first_line(__doc__))
    add = parser.add_argument
    add("answers", type=Path, help="JSONL or parquet file, one answer a row; or a folder with runs")
    add("--data", type=Path, help="folder with the question files that the rows' family and id name")
    add("--f1", type=float, default=F1_RIGHT, help="token F1 that counts as right (default: %(default)s)")
    add("--examples", type=int, default=5, help="disagreements to show for each pair and direction")
    add("--json", type=Path, help="also write everything to this file")
    add("--judge-url", help="OpenAI-compatible endpoint, such as http://localhost:8000/v1")
    add("--judge-model", help="the judge's name there")
    add("--judge-key-variable", help="environment variable that holds the endpoint's key")
    add("--judge-mode", choices=MODES, default="record", help="default: %(default)s")
    add("--judge-cache", default="runs/judge", help="folder of the recording (default: %(default)s)")
    o = parser.parse_args(argv)
    if (o.judge_url is None) != (o.judge_model is None):
        raise UserError("--judge-url and --judge-model belong together: give both, or neither for no judge")
    answers, verdicts = read_runs(o.answers) if o.answers.is_dir() else (read_answers(o.answers, o.data), None)
    if o.judge_url is None:
        found, judged = agreement(answers, f1=o.f1, examples=o.examples, judged_before=verdicts)
    else:
        for question, _ in answers:
            if not question.question:
                rest = "a judge needs the question; add 'question', or name the files with --data"
                raise UserError(f"row {question.id}: {rest}")
        chat = {"base_url": o.judge_url, "model": o.judge_model, "key_variable": o.judge_key_variable}
        settings = {"chat": chat, "mode": o.judge_mode, "cache_dir": o.judge_cache}
        with Judge(build(JudgeConfig, settings, "grade-agreement", "judge.")) as judge:
            found, judged = agreement(answers, judge, f1=o.f1, examples=o.examples)
            print(f"judge: {json.dumps(judge.costs() | judged)}", file=sys.stderr)
    print(report(found, judged))
    if o.json:
        o.json.parent.mkdir(parents=True, exist_ok=True)
        pairs = [pair._asdict() | {"agreement": pair.agreement, "kappa": pair.kappa} for pair in found.pairs]
        o.json.write_text(json.dumps(found._asdict() | {"pairs": pairs, "judge": judged}, indent=2) + "\n")
    return 0
