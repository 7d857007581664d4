"""Table 6: dose and response of AEPO's mechanisms, each alone; every row is compared with the same row without it."""

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis import curves, differences, dose_figure, format, style
from analysis.dose_response import CELLS, DECIDES, MEASURES, NONE, measured
from analysis.load import Source
from analysis.table import ALPHA, Spec, Table
from analysis.text_table import MISSING, TextTable

NAMES = {NONE: "No component", **{row: cell.name for row, cell in CELLS.items()}}
MECHANISMS = {
    "budget": "dynamic budget",
    "trees": "branch penalty",
    "clip": "gradient-keeping clip",
    "advantage": "entropy-aware advantage",
}


def complete(built: Table) -> Table:
    """The table with the base of every row and its measured dose (`dose_response.MEASURES`)."""
    frame = built.frame.copy()
    frame.insert(1, "against", ["" if row == NONE else SPEC.base(row) for row in frame.index])
    return replace(built, frame=frame.join(measured(built.source)))


SHOWN = {
    "budget": {"m_sd": "spread of m {}", "m_moved": "moved {} %"},
    "trees": {"largest_root": "largest root {} %", "forks_of_forks": "forks of forks {} %"},
    "clip": {"above_bound": "above the bound {} %", "audit_gradient": "gradient {} % *"},
    "advantage": {"largest_factor": "factor up to {}", "audit_gradient": "gradient {} % *"},
}
"""Mechanism -> column of its measured dose -> words around it; *: of the audit's batch."""


def dose(row: pd.Series, mechanism: str) -> str:
    """The measured dose of a row in words, as its mechanism is measured."""
    known = [(words, row.get(column, np.nan), MEASURES[column][1]) for column, words in SHOWN[mechanism].items()]
    return ", ".join(words.format(format.number(x, digits)) for words, x, digits in known if np.isfinite(x)) or MISSING


def short_table(built: Table) -> TextTable:
    """Every row that has runs: mechanism, pass@1, its measured dose, and the difference to its base."""
    spec, rows, bold = built.spec, [], set()
    for row, values in built.frame.drop(index=style.WARM_START).iterrows():
        if not values["n_seeds"]:
            continue
        cell = CELLS.get(row)
        if values.get("difference_1_bold") in (True, 1):
            bold.add((len(rows), 5))
        mechanism = MECHANISMS[cell.mechanism] if cell else MISSING
        against = MISSING if row == NONE else spec.name(spec.base(row))
        name = f"{spec.name(row)} (decides)" if row in DECIDES.values() else spec.name(row)
        cells = [mechanism, name, dose(values, cell.mechanism if cell else "trees"), format.short(values, "pass_1")]
        cells += [against, format.short(values, "difference_1", sign=True), format.p_value(values["adjusted_1"])]
        rows.append([*cells, str(int(values["n_seeds"]))])
    header = ["Mechanism", "Row", "Measured dose", "pass@1", "Against", "Difference", "Adjusted p", "Seeds"]
    notes = [
        "pass@1 in percent, last checkpoint, difference in points; ±: half of the 95 % interval over seeds × "
        "questions, conditional on the warm starts that the runs have.",
        f"Adjusted p: Holm over the four comparisons that decide, else false discovery rate; bold below {ALPHA}. "
        "Curves: `figures/table6_dose.pdf`.",
        "Measured dose: of the row's runs, defined below. *: on the audit's batch, not in these runs.",
        *format.fallen_note(built),
    ]
    more = ("All columns, costs, seeds, commits, power", "table6_appendix.md")
    return TextTable(format.title(built), header, rows, frozenset(bold), notes, frozenset({0, 1, 2, 4}), more)


def dose_table(source: Source) -> TextTable:
    """Every measured dose of every row, with its interval over seeds."""
    frame, rows = measured(source), []
    for row in SPEC.order(frame.index):
        found = [(differences.estimate(frame.loc[row], column), digits) for column, (_, digits) in MEASURES.items()]
        rows.append([SPEC.name(row), *(format.estimate(e, digits) for e, digits in found)])
    notes = [
        "[a, b]: 95 % t interval over seeds. Trees and budgets are those of the first and the last RL step, which is "
        "what published results hold; shares of tokens and factors are means over all RL steps.",
        "m: whole trajectories at the start of a group. Spread: its standard deviation over groups. Moved: |m − k/2|, "
        "percent of the k trajectories; of rows without the dynamic budget it is their fixed m.",
        "Largest root: percent of a group's branches under the root that has most, in groups of six or more tool "
        "calls. Forks of forks: percent of these branches whose parent is a branch itself.",
        "Above the bound: percent of tokens above the clip range with A > 0, whose gradient is removed or kept. "
        "Largest factor: of the advantages, 1 + a z(H).",
        "Gradient on the audit's batch: runs log no gradient without a part, so this is no measure of these runs, but "
        "the distance of a gradient with the part to the one without it on the batch of `figures/fidelity.md`, at its "
        "8 updates; rows of other numbers of updates have none.",
    ]
    return TextTable("Measured doses", ["Row", *(name for name, _ in MEASURES.values())], rows, notes=notes, wide=True)


SPEC = Spec(
    table="6",
    subject="Dose and response of AEPO's mechanisms on {sets}",
    columns="level",
    rows=tuple(NAMES),
    core=tuple(NAMES),
    ranking=(style.WARM_START, *NAMES),
    baseline=NONE,
    bases={row: cell.base for row, cell in CELLS.items()},
    names=NAMES,
    complete=complete,
    short_table=short_table,
    more_tables=lambda source: [dose_table(source)],
    figures=lambda built: {
        "dose": dose_figure.figure(built),
        "forest": differences.figure(built),
        "training": curves.figure_curves(built.source, built.spec),
    },
)
