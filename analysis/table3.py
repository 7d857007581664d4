"""Table 3: EPO where every turn is a training row, on MiniHouse; score columns are seen (IID) and unseen (OOD) rooms.

Two statistics stand side by side. Ours: the mean over seeds of the last checkpoint on the whole fixed panel. The
paper's (`Succ.*`, arXiv 2509.22576): the mean over seeds of the best of all evaluations during training, each on a few
tasks drawn anew. The second is the maximum of noisy numbers, so it lies above what it estimates.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis import families, format, pairing, style, success_rules, table
from analysis.load import Source
from analysis.reported import Reported
from analysis.table import COSTS, Spec, Table
from analysis.text_table import MISSING, TextTable
from analysis.training_steps import estimate

SPLITS = ("iid", "ood")
BASES = {
    "ppo+epo": "ppo",
    "epo-base": "ppo",
    "epo-decay": "ppo",
    "epo-no-dw": "ppo",
    "ppo+epo-released": "ppo",
    "grpo+epo": "grpo",
    "epo-released": "grpo-released",
}
"""Row with a term of EPO -> the row that is the same without it."""


def best_of_checks(source: Source, method: str, split: str) -> np.ndarray:
    """The paper's statistic of every seed: the highest success of all evaluations during training; NaN without any."""
    rows = source.steps[source.steps["method"] == method]
    return rows.groupby("seed")[f"check_success_{split}"].max().sort_index().to_numpy(dtype=float)


def complete(built: Table) -> Table:
    """The table with the paper's statistic: best_iid and best_ood, percent, with their intervals over seeds."""
    frame = built.frame.copy()
    for split in SPLITS:
        for name in frame.index:
            row: dict = {}
            table.put(row, f"best_{split}", estimate(best_of_checks(built.source, name, split)))
            for column, value in row.items():
                frame.loc[name, column] = value
    return replace(built, frame=frame)


def effects(source: Source) -> tuple[pd.DataFrame, families.Adjusted]:
    """Gain of each term of EPO over the same method without it, at the last checkpoint: index method, points.

    Columns: against, n_seeds, n_against, split_iid, split_ood, both with `_low` and `_high`, and of `both` p and
    adjusted_p (see `families.adjust`); NaN where both rows are the same runs.
    """
    scores, rows, found = source.scores, {}, {}
    for method in style.order(BASES):
        base = BASES[method]
        if method not in scores or base not in scores:
            continue
        mine, theirs = scores[method], scores[base]
        row = {"against": base, "n_seeds": len(mine.seeds), "n_against": len(theirs.seeds)}
        for column, keep_Q in {**table.part_columns(SPEC, scores), "both": None}.items():
            table.put(row, column, pairing.difference(mine, theirs, 1, keep_Q).interval())
        found[method, base] = pairing.difference(mine, theirs)
        rows[method] = row | {"p": found[method, base].p()}
    adjusted = families.adjust(source, found)
    for method, row in rows.items():
        row["adjusted_p"] = adjusted.p[method]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method"), adjusted


def _adjusted(found: families.Adjusted) -> str:
    confirmed = f"Holm for {' and '.join(map(style.name, found.confirmed))}, " if found.confirmed else ""
    return f"{confirmed}false discovery rate for {'the others' if confirmed else 'all'}"


def effects_table(source: Source) -> TextTable:
    """`effects` as text."""
    frame, adjusted = effects(source)
    header = ["Method", "Against", "IID", "OOD", "Both", "Adjusted p", "Seeds"]
    rows, bold = [], set()
    for i, (method, row) in enumerate(frame.iterrows()):
        shown = [format.cell(row, column, sign=True) for column in ("split_iid", "split_ood", "both")]
        if families.are_same_runs(source, method, row["against"]):
            shown = ["the same runs", MISSING, MISSING]
        shown += [format.p_value(row["adjusted_p"]), f"{row['n_seeds']}, {row['n_against']}"]
        rows.append([style.name(method), style.name(row["against"]), *shown])
        if row["adjusted_p"] < table.ALPHA:
            bold.add((i, 4))
    note = (
        "Points of success at the last checkpoint, with the 95 % interval, to the same method without that term. "
        "Adjusted "
        f"p: {_adjusted(adjusted)}; bold below {table.ALPHA}."
    )
    return TextTable("What EPO adds to its base method", header, rows, frozenset(bold), [note], frozenset({0, 1}))


WORLD_SPLITS = {
    "minihouse": "IID: rooms of training, other games; OOD: other rooms.",
    "alfworld": "IID: rooms of training, other games; OOD: other rooms.",
    "scienceworld": "IID: development variations, OOD: test variations of the trained task types.",
}
"""World of episodes -> what its two splits are."""


def evaluations(source: Source) -> str:
    """`4 evaluations of 16 tasks a split`, from the settings and the logged steps."""
    checks = (source.config.get("evaluation") or {}).get("checks") or {}
    counts = source.steps.groupby(["method", "seed"])["check_success_iid"].count()
    count = str(int(counts.max())) if len(counts) else "no"
    tasks = f" of {checks['questions']} random tasks a split" if "questions" in checks else ""
    return f"{count} evaluations{tasks}"


def main_table(built: Table, more_notes: list[str]) -> TextTable:
    """Both statistics of both splits, the difference to the baseline, costs, number of seeds."""
    scored = {"split_iid": "IID", "split_ood": "OOD", "pass_1": "Both"}
    best = {f"best_{split}": f"{split.upper()}, best of training" for split in SPLITS}
    baseline = built.spec.name(built.spec.baseline)
    splits = WORLD_SPLITS.get(format.world(built.source), "IID and OOD: the splits of the world.")
    lines = [
        f"Success in percent. {splits} IID, OOD, Both: last checkpoint on the whole panel. "
        f"{format.interval('tasks')}. {format.BOLD}",
        f"Best of training is the paper's statistic: mean over seeds of the best of {evaluations(built.source)} during "
        "training, with its t interval over seeds. It is a maximum of noisy numbers and not comparable with the "
        "columns before it.",
        f"Against {baseline}: difference of Both, points. {format.adjusted(built.adjusted)}",
        "Costs: mean over seeds of the whole training (evaluations not counted).",
        *format.origin(built),
        *more_notes,
    ]
    return format.score_table(built, scored, lines, best, built.costs | {"tool_calls": "Turns"})


def more_tables(source: Source) -> list[TextTable]:
    """EPO's effects, and every success rule where the world has several."""
    return [effects_table(source), *success_rules.rules_tables(source)]


def short_table(built: Table) -> TextTable:
    """Success on both splits and their mean."""
    scored = {"split_iid": "IID", "split_ood": "OOD", "pass_1": "Both"}
    return format.short_table(built, scored, "tasks")


def frames(source: Source) -> dict[str, pd.DataFrame]:
    """Every pair of rows, and EPO's effects."""
    return {"pairs": table.pairs(source), "epo": effects(source)[0].reset_index()}


SPEC = Spec(
    table="3",
    subject="EPO on {world}",
    columns="split",
    rows=("grpo", "ppo", "ppo+epo", "grpo+epo"),
    core=("grpo", "gigpo", "ppo", "ppo+epo", "grpo+epo"),
    reported=Reported(
        ("ScienceWorld IID", "ScienceWorld OOD", "ALFWorld IID", "ALFWorld OOD"),
        "ScienceWorld and ALFWorld, under the success rules of the released code",
        methods=("PPO", "PPO+EPO", "GRPO", "GRPO+EPO", "GiGPO", "RLVMR"),
        by_split=True,
        metrics=("Succ.",),
    ),
    compared=("split_iid", "split_ood", "pass_1", "difference_1", "best_iid", "best_ood", *COSTS),
    complete=complete,
    main_table=main_table,
    short_table=short_table,
    more_tables=more_tables,
    frames=frames,
)
