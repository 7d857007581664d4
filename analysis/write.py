"""The tables by name: what each prints, and the files that it leaves in figures/."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from analysis import (
    curves,
    format,
    heatmap,
    provenance,
    reported,
    style,
    success_rules,
    table,
    table1,
    table2,
    table3,
    table4,
    text_table,
    training_steps,
)
from analysis import table5 as grid
from analysis.load import Source
from analysis.table import Spec, Table
from analysis.text_table import TextTable
from reproduce.errors import UserError

SPECS: dict[str, Spec] = {spec.table: spec for spec in (table1.SPEC, table2.SPEC, table3.SPEC, table4.SPEC, grid.SPEC)}


def spec(name: str | int) -> Spec:
    """The spec of a table. UserError that lists the tables there are."""
    if str(name) not in SPECS:
        raise UserError(f"table {name} is not part of this version; choose one of {', '.join(SPECS)}")
    return SPECS[str(name)]


def build(source: Source) -> Table:
    """Every number of the source's table."""
    built = table.build(source, spec(source.table))
    return table3.complete(built) if built.spec is table3.SPEC else built


def main_table(built: Table) -> TextTable:
    """The measured table with its notes."""
    notes = (training_steps.identical_note, training_steps.without_signal_note)
    more = [training_steps.collapse_note(built.source, built.spec.name)]
    more += [line for note in notes for line in note(built.source, built.spec.name)]
    if built.spec is grid.SPEC:
        return grid.main_table(built, more)
    if built.spec is table3.SPEC:
        return table3.main_table(built, more)
    return format.main_table(built, more)


def terminal_tables(built: Table) -> list[TextTable]:
    """The table for a terminal, in narrow blocks."""
    whole = main_table(built)
    if built.spec is not grid.SPEC:
        by_rule = success_rules.rules_table(built.source) if built.spec is table3.SPEC else None
        return [*format.terminal_tables(built, whole), *([by_rule] if by_rule else [])]
    last = whole.header.index("Mean of the grid")
    bold = frozenset((i, j) for i, j in whole.bold if j < last)
    columns = [0, *range(last, len(whole.header))]
    return [
        replace(whole, header=whole.header[:last], rows=[row[:last] for row in whole.rows], bold=bold, notes=[]),
        replace(
            whole,
            title="Over the grid",
            header=[whole.header[j] for j in columns],
            bold=frozenset(),
            rows=[[row[j] for j in columns] for row in whole.rows],
            words=frozenset({0, columns.index(last + 2)}),
        ),
    ]


def blocks(built: Table, papers: pd.DataFrame | None) -> list[TextTable]:
    """The measured table (table 3: with EPO's effects, and every success rule where there are several), and the papers'
    numbers in a block of their own, if any."""
    found = [main_table(built)]
    if built.spec is table3.SPEC:
        found.append(table3.effects_table(built.source))
        by_rule = success_rules.rules_table(built.source)
        found += [] if by_rule is None else [by_rule]
    if _has_reported(built, papers):
        found.append(reported.reported_table(papers, built.spec.reported))
    return found


def _has_reported(built: Table, papers: pd.DataFrame | None) -> bool:
    wanted = built.spec.reported
    return bool(wanted and papers is not None and len(reported.reported_cells(papers, wanted)))


def write(built: Table, papers: pd.DataFrame | None, folder: Path) -> list[Path]:
    """Write table<n>.{md,tex,csv,pdf}, table<n>_time.{md,csv} and table<n>_*.csv; return the paths.

    What differs between two runs of the same seeds (minutes, dates) is in the time files only, so that all others have
    the same bytes whenever the same seeds ran on the same code.
    """
    folder, stem = Path(folder), f"table{built.spec.table}"
    folder.mkdir(parents=True, exist_ok=True)
    printed = blocks(built, papers)
    times = provenance.time_table(built.source, built.spec.name)
    files = {
        f"{stem}.md": "\n".join(text_table.markdown(b) for b in printed),
        f"{stem}.tex": "\n".join(text_table.latex(b) for b in printed),
        f"{stem}.csv": built.frame.to_csv(float_format="%.4f"),
        f"{stem}_runs.csv": table.runs(built.source).to_csv(index=False, float_format="%.4f"),
        f"{stem}_time.md": text_table.markdown(times),
        f"{stem}_time.csv": pd.DataFrame(times.rows, columns=times.header).to_csv(index=False),
    }
    if built.spec is grid.SPEC:
        files[f"{stem}_best.csv"] = grid.best(built.source).to_csv(float_format="%.4f")
    else:
        files[f"{stem}_pairs.csv"] = table.pairs(built.source).to_csv(index=False, float_format="%.4f")
    if built.spec is table3.SPEC:
        files[f"{stem}_epo.csv"] = table3.effects(built.source).to_csv(float_format="%.4f")
    if _has_reported(built, papers):
        files[f"{stem}_reported.csv"] = reported.reported_cells(papers, built.spec.reported).to_csv(index=False)
    paths = []
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
        paths.append(folder / name)
    return [*paths, text_table.pdf(printed, folder / f"{stem}.pdf")]


def draw_figures(built: Table, folder: Path) -> list[Path]:
    """The training curves of every row (table<n>_training), and the heat maps of a grid; .pdf and .svg."""
    stem = f"table{built.spec.table}"
    if built.spec is grid.SPEC:
        return [
            *style.save(heatmap.figure_heat(built), folder, f"{stem}_heat"),
            *style.save(heatmap.figure_curves(built), folder, f"{stem}_training"),
        ]
    return style.save(curves.figure_curves(built.source, built.spec), folder, f"{stem}_training")
