"""Table 3: EPO where every turn is a training row, on MiniHouse; score columns are seen (IID) and unseen (OOD) rooms.

Two statistics stand side by side. Ours: the mean over seeds of the last checkpoint on the whole fixed panel. The
paper's (`Succ.*`, arXiv 2509.22576): the mean over seeds of the best of all evaluations during training, each on a few
tasks drawn anew. The second is the maximum of noisy numbers, so it lies above what it estimates.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis import cells, pairing, provenance, statistics, style, table
from analysis.data import Source
from analysis.render import MISSING, TextTable
from analysis.reported import Reported
from analysis.steps import estimate
from analysis.table import COSTS, Spec, Table

SPLITS = ("iid", "ood")
BASES = {
    "ppo+epo": "ppo", "epo-base": "ppo", "epo-decay": "ppo", "epo-no-dw": "ppo", "ppo+epo-released": "ppo",
    "grpo+epo": "grpo", "epo-released": "grpo-released",
}  # fmt: skip
"""Row with a term of EPO -> the row that is the same without it."""
SPEC = Spec(
    table="3",
    subject="EPO on {world}",
    columns="split",
    rows=("grpo", "ppo", "ppo+epo", "grpo+epo"),
    reported=Reported(
        ("ScienceWorld IID", "ScienceWorld OOD", "ALFWorld IID", "ALFWorld OOD"),
        "ScienceWorld and ALFWorld, under the success rules of the released code",
        methods=("PPO", "PPO+EPO", "GRPO", "GRPO+EPO", "GiGPO", "RLVMR"), by_split=True, metrics=("Succ.",),
    ),
    compared=("split_iid", "split_ood", "pass_1", "difference_1", "best_iid", "best_ood", *COSTS),
)  # fmt: skip


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


def effects(source: Source) -> pd.DataFrame:
    """Gain of each term of EPO over the same method without it, at the last checkpoint: index method, points.

    Columns: against, n_seeds (common ones), split_iid, split_ood, both with `_low` and `_high`, and p: Holm-adjusted
    over the rows, for `both`.
    """
    scores, rows, p_values = source.scores, {}, {}
    for method in style.order(BASES):
        base = BASES[method]
        if method not in scores or base not in scores:
            continue
        mine, theirs = scores[method], scores[base]
        row = {"against": base, "n_seeds": len(pairing.common_seeds(mine, theirs)[0])}
        for column, keep_Q in {**table.part_columns(SPEC, scores), "both": None}.items():
            table.put(row, column, pairing.paired(mine, theirs, 1, keep_Q))
        values_D = pairing.paired_draws(mine, theirs)[1]
        p_values[method] = statistics.two_sided_p(values_D) if values_D.size else np.nan
        rows[method] = row
    for method, p in zip(p_values, statistics.holm(list(p_values.values())), strict=True):
        rows[method]["p"] = p
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def effects_table(source: Source) -> TextTable:
    """`effects` as text."""
    frame = effects(source)
    header = ["Method", "Against", "IID", "OOD", "Both", "Holm p", "Seeds"]
    rows, bold = [], set()
    for i, (method, row) in enumerate(frame.iterrows()):
        shown = [cells.cell(row, column, sign=True) for column in ("split_iid", "split_ood", "both")]
        rows.append([style.name(method), style.name(row["against"]), *shown, cells.p_value(row["p"]),
                     str(int(row["n_seeds"]))])  # fmt: skip
        if row["p"] < table.ALPHA:
            bold.add((i, 4))
    note = (
        "Paired difference of average success at the last checkpoint, points, to the same method without that term; "
        f"same seeds and tasks. Holm p: of Both, adjusted for {cells.counted(int(len(frame)))}; bold: below "
        f"{table.ALPHA}."
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


def text_table(built: Table, more_notes: list[str]) -> TextTable:
    """Both statistics of both splits, the difference to the baseline, costs, number of seeds."""
    baseline = built.spec.name(built.spec.baseline)
    scored = ("split_iid", "split_ood", "pass_1")
    costs = built.costs | {"tool_calls": "Turns"}
    header = ["Method", "IID", "OOD", "Both", f"Against {baseline}", "Holm p", "IID, best of training",
              "OOD, best of training", *costs.values(), "Seeds"]  # fmt: skip
    rows, bold = [], set()
    for i, (method, row) in enumerate(built.frame.iterrows()):
        bold |= {(i, 1 + j) for j, c in enumerate((*scored, "difference_1")) if row.get(f"{c}_bold") in (True, 1)}
        rows.append([
            built.spec.name(method), *(cells.cell(row, c) for c in scored), cells.cell(row, "difference_1", sign=True),
            cells.p_value(row["p_1"]), cells.cell(row, "best_iid"), cells.cell(row, "best_ood"),
            *(cells.human(row[c]) for c in costs), str(int(row["n_seeds"])) if row["n_seeds"] else MISSING,
        ])  # fmt: skip
    absent = [built.spec.name(m) for m in built.frame.index if built.frame.loc[m, "n_seeds"] == 0]
    splits = WORLD_SPLITS.get(cells.world(built.source), "IID and OOD: the splits of the world.")
    lines = [
        f"Success in percent. {splits} IID, OOD, Both: last checkpoint on the whole panel. [a, b]: 95 % "
        f"stratified bootstrap interval over seeds × tasks ({statistics.N_DRAWS} draws). Bold: the paired interval "
        "against every other row excludes 0.",
        f"Best of training is the paper's statistic: mean over seeds of the best of {evaluations(built.source)} during "
        "training, with its interval over seeds. It is a maximum of noisy numbers and not comparable with the columns "
        "before it.",
        f"Against {baseline}: paired difference of Both, points. Holm p: its bootstrap p-value adjusted for "
        f"{cells.counted(built.comparisons)} of this column; bold: below {table.ALPHA}.",
        "Costs: mean over seeds of the whole training (evaluations not counted).",
        *([f"No runs of: {', '.join(absent)}."] if absent else []),
        *provenance.lines(built.source, built.spec.name),
        *more_notes,
    ]
    return TextTable(cells.title(built), header, rows, frozenset(bold), lines)
