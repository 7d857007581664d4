"""Success rules of an environment that has several (ScienceWorld): every rule's value beside the one that was trained.

Evaluation rows hold all of them in `answer`, as `released 1, strict 0, score 0.25` (`reproduce.worlds.episode_task`).
"""

import pandas as pd

from analysis import format, statistics, style, table
from analysis.load import Source
from analysis.text_table import TextTable
from reproduce.errors import UserError


def parsed(answer: str | None) -> dict[str, float]:
    """Rule -> value, 0 to 1, of an evaluation row's `answer`. UserError if it is not such a list."""
    try:
        return {name: float(value) for name, value in (pair.rsplit(" ", 1) for pair in (answer or "").split(", "))}
    except ValueError:
        raise UserError(f"evaluation rows: {answer!r} is no list of success rules with their values") from None


def values(source: Source) -> pd.DataFrame:
    """The evaluation rows with a column per rule, the rule that was trained on first; 0 to 1."""
    rows = source.evals
    found = pd.DataFrame([parsed(answer) for answer in rows["answer"]], index=rows.index)
    if found.isna().any(axis=None):
        raise UserError(f"{source.where('eval')}: rows name different success rules; move the runs of one of them away")
    return pd.concat([rows[["method", "seed", "question_id", "split", "sample"]], found], axis=1)


def estimates(source: Source) -> pd.DataFrame:
    """Method x split x rule: mean over seeds x tasks, percent, with its interval."""
    frame, rows = values(source), []
    rules = [column for column in frame if column not in ("method", "seed", "question_id", "split", "sample")]
    for method, scores in source.scores.items():
        of = frame[frame["method"] == method].groupby(["seed", "question_id"])[rules].mean()
        for split in sorted(set(scores.splits_Q)):
            keep_Q = scores.splits_Q == split
            row: dict = {"method": method, "split": split}
            for rule in rules:
                wide = of[rule].unstack("question_id").loc[list(scores.seeds), list(scores.questions)]
                found = statistics.crossed(wide.to_numpy()[:, keep_Q], scores.strata_Q[keep_Q])
                table.put(row, rule, found.interval().within(0, 1))
            rows.append(row)
    return pd.DataFrame(rows)


def rules_tables(source: Source) -> list[TextTable]:
    """`estimates` as a text table; none for an environment with a single rule."""
    names = list(parsed(source.evals["answer"].iloc[0]))
    if len(names) < 2:
        return []
    frame = estimates(source)
    rows = [
        [style.name(row["method"]), row["split"].upper(), *(format.cell(row, rule) for rule in names)]
        for _, row in frame.iterrows()
    ]
    note = (
        f"Percent, last checkpoint on the whole panel. The reward in training is `{names[0]}`. released: the episode "
        "ended by itself with a score above 0 (what EPO's released code counts); strict: score 100 and completed; "
        "score: mean final score, below 0 counted as 0. [a, b]: 95 % interval over seeds × tasks."
    )
    header = ["Method", "Split", *names]
    return [TextTable("Success under every rule", header, rows, notes=[note], words=frozenset({0, 1}))]
