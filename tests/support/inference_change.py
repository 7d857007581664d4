"""The decisions that changed when the bootstrap left the tables, old and new side by side: a block of analysis/README.

`python tests/support/inference_change.py` writes the block again; `tests/analysis/test_inference_change.py` holds it.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [path for path in (str(ROOT), str(Path(__file__).parent)) if path not in sys.path]

import calibration  # noqa: E402
import numpy as np  # noqa: E402
import pigeonhole  # noqa: E402

from analysis import format, pairing, readme, statistics, style, text_table, write  # noqa: E402
from analysis.text_table import TextTable  # noqa: E402

README, BLOCK = ROOT / "analysis" / "README.md", "inference"
NAMED = (("2", "cispo"), ("2", "reinforce++"), ("1", "gspo"), ("3", "gigpo"))
OLD_DRAWS = 10_000
ALPHA = 0.05


def old_p_values(table: str, baseline: str = style.BASELINE) -> dict[str, float]:
    """Row -> the p-value that the table printed: bootstrap over the seeds that both rows have, Holm over all rows."""
    scores = calibration.source(table).scores
    raw, drawn = {}, {}
    for row, mine in scores.items():
        if row in (baseline, style.WARM_START):
            continue
        seeds = [seed for seed in mine.seeds if seed in scores[baseline].seeds]
        if len(seeds) not in drawn:
            drawn[len(seeds)] = pigeonhole.draws(len(seeds), mine.strata_Q, OLD_DRAWS)
        a_SQ, b_SQ = (
            pairing.scores_at(one)[[one.seeds.index(seed) for seed in seeds]] for one in (mine, scores[baseline])
        )
        a_D, b_D = pigeonhole.means(np.stack([a_SQ, b_SQ]), *drawn[len(seeds)])
        raw[row] = pigeonhole.p_value(a_D - b_D)
    return dict(zip(raw, statistics.holm(list(raw.values())), strict=True))


def decisions() -> TextTable:
    """The four named comparisons with GRPO, and every other one that was found and is not, or the reverse."""
    rows = []
    for table in calibration.TABLES:
        built, old = write.build(calibration.source(table)), old_p_values(table)
        frame = built.frame.loc[list(old)]
        same_family = dict(zip(old, statistics.holm(frame["p_1"].to_numpy(dtype=float)), strict=True))
        for name, row in frame.iterrows():
            changed = (old[name] < ALPHA) != (row["adjusted_1"] < ALPHA)
            if not changed and (table, name) not in NAMED:
                continue
            p_values = [old[name], same_family[name], row["adjusted_1"]]
            shown = [f"{format.p_value(p)}{' *' if p < ALPHA else ''}" for p in p_values]
            how = "Holm over 3" if name in built.adjusted.confirmed else f"FDR over {built.adjusted.exploratory}"
            first = [f"Table {table}", style.name(name), format.cell(row, "difference_1", sign=True)]
            rows.append([*first, shown[0], shown[1], shown[2], how])
    header = [
        "",
        "Against GRPO",
        "Difference",
        "Bootstrap, Holm",
        "Now, Holm over as many",
        "Now, as printed",
        "Family",
    ]
    note = "\\*: below 0.05. Rows: the four that the review of the bootstrap names, and every decision that changed."
    return TextTable("Decisions, old and new", header, rows, notes=[note], words=frozenset({0, 1, 6}))


def rates() -> TextTable:
    """A/A rates and coverage of both, with the bootstrap first."""
    rows = []
    for table in calibration.TABLES:
        pairs = [calibration.same_method(table, n, n)[::-1] for n in (3, 4)]
        pairs += [calibration.coverage(table, n)[::-1] for n in (3, 8)]
        shown = [f"{100 * old:.1f} / {100 * new:.1f}" for old, new in pairs]
        single = [calibration.same_method(table, 3, 5)[0], calibration.coverage_of_two_rows(table, 3, 8)]
        rows.append([f"Table {table}", *shown[:2], f"{100 * single[0]:.1f}", *shown[2:], f"{100 * single[1]:.1f}"])
    header = ["", "A/A 3 v 3", "A/A 4 v 4", "A/A 3 v 5", "Covers, 3 v 3", "Covers, 8 v 8", "Covers, 3 v 8"]
    note = (
        "Percent, bootstrap / now. A/A: p below .05 between disjoint seeds of the same method, committed runs (should "
        "be 5). Covers: the 95 % interval on simulated runs with the variances of the committed ones (should be 95). "
        "Unequal numbers: now alone."
    )
    return TextTable("How often both are wrong where nothing differs", header, rows, notes=[note])


def block() -> str:
    """Both tables as Markdown."""
    return "\n".join(text_table.markdown(table).replace("## ", "#### ", 1) for table in (decisions(), rates())).strip()


if __name__ == "__main__":
    np.seterr(all="ignore")
    print("written" if readme.insert(README, BLOCK, block()) else "nothing to change")
