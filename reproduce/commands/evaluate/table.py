"""The table that `make evaluate` ends with: what was measured here, and what others report, in columns of their own."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.statistics import Estimate
from analysis.text_table import MISSING, TextTable, markdown, text
from reproduce.commands.evaluate.reported import AUTHORS, OTHERS, PAPER, Cell
from reproduce.commands.evaluate.scores import Score
from reproduce.config.tables import JobConfig
from reproduce.runs.files import write_bytes

REPORTED = {"Paper": PAPER, "Authors elsewhere": AUTHORS, "Third parties": OTHERS}
"""Column -> who reports its cells."""


def made(title: str, job: JobConfig, found: Sequence[Score], cells: Sequence[Cell]) -> TextTable:
    """The table of a checkpoint.

    Args:
        title: of the table.
        job: one of the runs.
        found: scores of all sets, each with its parts.
        cells: what is reported for the checkpoint.
    """
    k = found[0].k
    header = ["Set", "n", "pass@1", "95 % (other samples)", "95 % (other questions)", f"pass@{k}", "95 %"]
    header += ["F1", "Format", "Calls", "Failed searches", "Tokens", "Sampled", "Rule = judge", *REPORTED]
    rows = [_row(score, cells) for score in found]
    return TextTable(title, header, rows, notes=[*_notes(job, found), *_sources(found, cells)])


def _row(score: Score, cells: Sequence[Cell]) -> list[str]:
    own = [cell for cell in cells if cell.dataset == score.dataset]
    return [
        score.dataset,
        f"{score.questions} x {score.samples}",
        _percent(score.fresh.value),
        _ends(score.again),
        _ends(score.fresh),
        _percent(score.pass_k.value),
        _ends(score.pass_k),
        MISSING if score.f1 is None else _percent(score.f1.value),
        _percent(score.formatted),
        f"{score.calls:.1f}",
        f"{score.failed} of {score.searches}" if score.searches else MISSING,
        f"{score.tokens:.0f}",
        f"{score.new_tokens:.0f}",
        _agreement(score),
        *(" / ".join(cell.short for cell in own if cell.by == by) for by in REPORTED.values()),
    ]


def _percent(share: float) -> str:
    return MISSING if math.isnan(share) else f"{100 * share:.1f}"


def _ends(found: Estimate) -> str:
    return MISSING if math.isnan(found.low) else f"{100 * found.low:.1f} to {100 * found.high:.1f}"


def _agreement(score: Score) -> str:
    if score.graders is None or score.graders.agreement is None:
        return MISSING
    kappa = "" if score.graders.kappa is None else f", kappa {score.graders.kappa:.2f}"
    undecided = f", {score.graders.undecided} undecided" if score.graders.undecided else ""
    return f"{100 * score.graders.agreement:.0f} % of {score.graders.decided}{kappa}{undecided}"


def _notes(job: JobConfig, found: Sequence[Score]) -> list[str]:
    engine = "transformers" if job.engine is None else job.engine.name
    search = job.search.service if job.search.service != "local" else f"{Path(job.search.corpus).name} (BM25)"
    grader = "by math-verify (mathematics) and exact match"
    if job.judge is not None:
        grader = f"by {job.judge.chat.model}; of HotpotQA, 2Wiki, MuSiQue and Bamboogle by exact match"
    name = job.model.name_or_path
    model = Path(name).name if Path(name).is_absolute() else name
    where = f"{engine}, {job.training.device}, {job.training.dtype}"
    limits = f"at most {job.task.max_tool_calls} calls and {job.task.max_completion_tokens} tokens"
    notes = [
        f"Measured here: {model} at {job.model.revision[:19]}; {where}, temperature {job.evaluation.temperature:g}; "
        f"search: {search}, pages: {job.search.pages}; {limits}.",
        f"Graded {grader}. Percent. n: questions x samples. Calls, Tokens (tool results included) and Sampled (the "
        "model's own) are means of a trajectory. Format: share in the papers' format, without which no answer is "
        "correct; F1 asks for none.",
        "Intervals: over other samples of the same questions; over other questions of the kind, whose spread holds "
        "that of the samples; pass@k as the latter. Exact binomial where all values are equal.",
    ]
    if job.judge is None:
        notes.append(
            "The papers' cells are of an LLM judge, but where F1 is stated: give JUDGE to compare like with like."
        )
    return notes


def _sources(found: Sequence[Score], cells: Sequence[Cell]) -> list[str]:
    shown = {score.dataset for score in found}
    own = [cell for cell in cells if cell.dataset in shown]
    if not own:
        return ["data/papers holds no cell of this model on these sets."]
    said = [f"{cell.dataset} {cell.value}: {cell.by}, {cell.metric}; {cell.source}" for cell in own]
    return ["Reported, not measured here; other searches, judges and dates:", *said]


def frame(found: Sequence[Score]) -> pd.DataFrame:
    """The measured numbers, a row per set and part; shares in [0, 1]."""
    rows = []
    for score in found:
        row = {"dataset": score.dataset, "whole": score.whole, "questions": score.questions, "samples": score.samples}
        parts = {"pass_1": score.fresh, f"pass_{score.k}": score.pass_k, "f1": score.f1}
        row |= {"pass_1_low_samples": score.again.low, "pass_1_high_samples": score.again.high}
        for name, estimate in parts.items():
            ends = (math.nan,) * 3 if estimate is None else (estimate.value, estimate.low, estimate.high)
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
        row |= {"format": score.formatted, "calls": score.calls, "searches": score.searches, "failed": score.failed}
        row |= {"tokens": score.tokens, "sampled": score.new_tokens}
        graders = score.graders
        row |= {"agreement": None if graders is None else graders.agreement}
        row |= {"kappa": None if graders is None else graders.kappa}
        rows.append(row | {"undecided": None if graders is None else graders.undecided})
    return pd.DataFrame(rows)


def write(table: TextTable, found: Sequence[Score], folder: Path) -> list[Path]:
    """Write the table as Markdown, and its measured numbers as CSV."""
    paths = {
        folder / "scores.md": markdown(table),
        folder / "scores.csv": frame(found).to_csv(index=False, float_format="%.6g", lineterminator="\n"),
    }
    for path, content in paths.items():
        write_bytes(path, content.encode())
    return list(paths)


def shown(table: TextTable) -> str:
    """The table for a terminal."""
    return text(table)
