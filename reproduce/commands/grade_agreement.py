"""The command that compares graders on answers.

    python -m reproduce grade-agreement ANSWERS [--data DIR] [--judge-url URL --judge-model NAME]

ANSWERS is a JSONL file, or a parquet file such as a run's eval.parquet, with one answer a row (`read_answers`); or a
run directory, or a folder with runs such as `runs/paper/table2`, whose configs say where the questions are and whose
rows hold the verdicts of the judge that was asked (`read_runs`).
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reproduce.arguments import Parser, first_line
from reproduce.commands.agreement import F1_RIGHT, Agreement, agreement
from reproduce.config.judge import JudgeConfig
from reproduce.config.strict import build
from reproduce.errors import UserError
from reproduce.evaluation.judge import Judge
from reproduce.tools.hub.fetch import file_sha256
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
    lines = [f"{'grader':<10}{'right':>9}{'undecided':>11}   of {found.answers} answers"]
    lines += [f"{name:<10}{share:>9.1%}{found.undecided[name]:>11}" for name, share in found.accuracy.items()]
    lines += ["", f"{'pair':<18}{'both':>7}{'neither':>9}{'first only':>12}{'second only':>13}{'agree':>8}{'kappa':>7}"]
    for pair in found.pairs:
        agree = "-" if pair.agreement is None else f"{pair.agreement:.1%}"
        kappa = "-" if pair.kappa is None else f"{pair.kappa:.2f}"
        lines.append(
            f"{pair.first + ' / ' + pair.second:<18}{pair.both:>7}{pair.neither:>9}{pair.first_only:>12}"
            f"{pair.second_only:>13}{agree:>8}{kappa:>7}"
        )
    if judged and judged["undecided_reasons"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in judged["undecided_reasons"].items())
        lines += ["", f"judge undecided: {reasons}"]
    for row in found.examples:
        said = ", ".join(f"{name} {_word(row[name])}" for name in found.accuracy)
        gold = " | ".join(row["golds"])
        lines += ["", f"{row['id']}: {said}", f"  question  {_line(row['question'])}", f"  gold      {_line(gold)}"]
        lines.append(f"  answer    {_line(row['answer'] or '')}")
    return "\n".join(lines)


def _word(verdict: bool | None) -> str:
    return {True: "right", False: "wrong", None: "undecided"}[verdict]


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:199]}…"


def main(argv: list[str] | None = None) -> int:
    """Prints the comparison. UserError for bad input."""
    parser = Parser(prog="python -m reproduce grade-agreement", description=first_line(__doc__))
    parser.add_argument("answers", type=Path, help="JSONL or parquet file, one answer a row; or a folder with runs")
    parser.add_argument("--data", type=Path, help="folder with the question files that the rows' family and id name")
    parser.add_argument(
        "--f1", type=float, default=F1_RIGHT, help=f"token F1 that counts as right (default {F1_RIGHT})"
    )
    parser.add_argument("--examples", type=int, default=5, help="disagreements to show for each pair and direction")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    parser.add_argument("--judge-url", help="OpenAI-compatible endpoint, such as http://localhost:8000/v1")
    parser.add_argument("--judge-model", help="the judge's name there")
    parser.add_argument("--judge-key-variable", help="environment variable that holds the endpoint's key")
    parser.add_argument("--judge-mode", choices=MODES, default="record", help="default: record")
    parser.add_argument("--judge-cache", default="runs/judge", help="folder of the recording (default runs/judge)")
    o = parser.parse_args(argv)
    if (o.judge_url is None) != (o.judge_model is None):
        raise UserError("--judge-url and --judge-model belong together: give both, or neither for no judge")
    verdicts = None
    if o.answers.is_dir():
        answers, verdicts = read_runs(o.answers)
    else:
        answers = read_answers(o.answers, o.data)
    if o.judge_url is None:
        found, judged = agreement(answers, f1=o.f1, examples=o.examples, judged_before=verdicts)
    else:
        _need_questions(answers)
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


def _need_questions(answers: Sequence[tuple[Question, str | None]]) -> None:
    for question, _ in answers:
        if not question.question:
            raise UserError(
                f"row {question.id}: a judge needs the question; add 'question', or name the files with --data"
            )
