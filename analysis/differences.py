"""The forest plot of a table: the difference of every row to the baseline, points of average pass@1."""

import numpy as np

from analysis import families, forest, format, style
from analysis.statistics import Estimate
from analysis.table import ALPHA, Table


def estimate(row, column: str) -> Estimate:
    """The estimate of a table's column in one of its rows, percent or points."""
    return Estimate(*(float(row.get(f"{column}{end}", np.nan)) for end in ("", "_low", "_high")))


def figure(built: Table) -> style.Drawn:
    """Difference of average pass@1 to the baseline with its interval, core rows first; a band: the family's margin."""
    spec, frame = built.spec, built.frame[built.frame["n_seeds"] > 0]
    rows = _rows(built)
    lines = [
        forest.line_of(
            spec.name(m),
            m,
            estimate(frame.loc[m], "difference_1"),
            core=m in spec.core,
            note=str(int(frame.loc[m, "n_seeds"])),
        )
        for m in rows
    ]
    family = families.confirmatory(spec.table)
    margin = family.margin if family else None
    base = spec.base_name
    runs = int(frame["n_seeds"].get(spec.baseline, 0))
    what = "success" if spec.columns == "split" else "pass@1"
    caption = (
        f"Points of {what}, row minus {base}, mean and 95 % interval over seeds × questions, each alone; in brackets "
        f"the "
        f"training seeds of the row ({spec.name(spec.baseline)}: {runs}). {forest.CLIPPED}"
    )
    if margin:
        caption += f" Grey band: ±{margin:g} points, the margin inside which a difference counts as none."
    if any(not line.core for line in lines):
        caption += " Below the gap, in grey: exploratory rows."
    panel = forest.Panel(f"Points of {what} against {base}", margin=margin)
    title = f"{format.title(built)}: against {base}"
    return style.Drawn(forest.figure(lines, [panel], title, caption), says(built, rows))


def answer(built: Table) -> str:
    """`says` of the rows of the forest plot."""
    return says(built, _rows(built))


def _rows(built: Table) -> list[str]:
    spec, frame = built.spec, built.frame[built.frame["n_seeds"] > 0]
    rows = [m for m in spec.order(frame.index) if m not in (style.WARM_START, spec.baseline)]
    return [m for m in rows if np.isfinite(frame.loc[m].get("difference_1", np.nan))]


def says(built: Table, rows: list[str]) -> str:
    """How many rows differ from the baseline after the adjustment, and which."""
    spec, frame = built.spec, built.frame
    base = spec.base_name
    if not rows:
        return f"No row stands beside {base}, so nothing is compared."
    sure = [m for m in rows if frame.loc[m, "adjusted_1"] < ALPHA]
    above = [spec.name(m) for m in sure if frame.loc[m, "difference_1"] > 0]
    below = [spec.name(m) for m in sure if frame.loc[m, "difference_1"] < 0]
    return (
        f"With an adjusted p below {ALPHA} above {base}: {', '.join(above) or 'none'}; below it: "
        f"{', '.join(below) or 'none'}; the other {len(rows) - len(sure)} of {len(rows)} rows cannot be told from it "
        "with these seeds."
    )
