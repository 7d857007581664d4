"""The tables by name: what each prints, and the files that it leaves in figures/."""

from collections.abc import Iterator
from functools import lru_cache

import pandas as pd

from analysis import (
    budget,
    curves,
    differences,
    families,
    format,
    power,
    provenance,
    reported,
    shared_runs,
    style,
    table,
    table1,
    table2,
    table3,
    table4,
    table5,
    table6,
    text_table,
    training_steps,
)
from analysis.load import Source
from analysis.table import Spec, Table
from analysis.text_table import TextTable

SPECS: dict[str, Spec] = {m.SPEC.table: m.SPEC for m in (table1, table2, table3, table4, table5, table6)}


def build(source: Source) -> Table:
    """Every number of the source's table."""
    built = table.build(source, SPECS[source.table])
    return built.spec.complete(built) if built.spec.complete else built


def short_table(built: Table) -> TextTable:
    """The table in one glance."""
    return (built.spec.short_table or format.short_table)(built)


def answer(built: Table) -> str:
    """Which rows differ from the baseline, in a sentence."""
    return f"**Answer.** {(built.spec.answer or differences.answer)(built)}"


@lru_cache(maxsize=1)
def main_table(built: Table) -> TextTable:
    """Every row and column with all notes, as the appendix has it."""
    source, name, baseline = built.source, built.spec.name, built.spec.baseline
    notes = [*budget.warm_start_note(source), *shared_runs.notes(source, name), *power.notes(source, baseline)]
    notes += [*budget.sampling_note(source, baseline, name), *training_steps.collapse_notes(source, name, baseline)]
    notes += [*training_steps.identical_note(source, name), *training_steps.without_signal_note(source, name)]
    return (built.spec.main_table or format.main_table)(built, notes)


def terminal_tables(built: Table) -> list[TextTable]:
    """The table for a terminal, in narrow blocks, its confirmatory comparisons behind the scores."""
    scores, *rest = format.terminal_tables(built, short_table(built))
    return [scores, *format.confirmatory_tables(built.source, built.spec.name), *rest]


def blocks(built: Table) -> list[TextTable]:
    """The table in one glance, its confirmatory comparisons, and what its spec adds."""
    found = [short_table(built), *format.confirmatory_tables(built.source, built.spec.name)]
    return found + (built.spec.more_tables(built.source) if built.spec.more_tables else [])


def appendix(built: Table, papers: pd.DataFrame | None) -> list[TextTable]:
    """Every row and column with all notes, and the papers' numbers in a block of their own, if any."""
    return [main_table(built)] + (
        [reported.reported_table(papers, built.spec.reported)] if _has_reported(built, papers) else []
    )


def _has_reported(built: Table, papers: pd.DataFrame | None) -> bool:
    wanted = built.spec.reported
    return bool(wanted and papers is not None and len(reported.reported_cells(papers, wanted)))


@lru_cache(maxsize=1)
def frames(built: Table) -> dict[str, pd.DataFrame]:
    """Ending of a CSV file's name -> its frame: the runs, the confirmatory comparisons and these at every warm start if
    there are any, and every pair of rows or what the spec has instead."""
    more = built.spec.frames(built.source) if built.spec.frames else {"pairs": table.pairs(built.source)}
    tested = {"confirmatory": families.tested(built.source), "starts": families.at_starts(built.source)}
    return {"runs": table.runs(built.source), **{name: found for name, found in tested.items() if len(found)}, **more}


def times(built: Table) -> TextTable:
    """Minutes and dates, apart from the table."""
    return provenance.time_table(built.source, built.spec.name)


def figures(built: Table) -> Iterator[tuple[str, style.Drawn]]:
    """(file name without ending, what is drawn): differences to the baseline and training curves of every row, or what
    the spec has instead."""
    if built.spec.figures:
        found = built.spec.figures(built)
    else:
        found = {"forest": differences.figure(built), "training": curves.figure_curves(built.source, built.spec)}
    yield from ((f"table{built.spec.table}_{ending}", drawn) for ending, drawn in found.items())


def files(built: Table, papers: pd.DataFrame | None) -> dict[str, str]:
    """Name -> text of table<n>.{md,tex,csv}, table<n>_appendix.{md,tex}, table<n>_time.{md,csv} and table<n>_*.csv.

    What differs between two runs of the same seeds (minutes, dates) is in the time files only, so that all others have
    the same bytes whenever the same seeds ran on the same code.
    """
    stem, printed, more = f"table{built.spec.table}", blocks(built), appendix(built, papers)
    found = {
        f"{stem}.md": "\n".join(map(text_table.markdown, printed)),
        f"{stem}.tex": "\n".join(map(text_table.latex, printed)),
        f"{stem}_appendix.md": "\n".join(map(text_table.markdown, more)),
        f"{stem}_appendix.tex": "\n".join(map(text_table.latex, more)),
        f"{stem}.csv": built.frame.to_csv(float_format="%.4f"),
        f"{stem}_time.md": text_table.markdown(times(built)),
        f"{stem}_time.csv": pd.DataFrame(times(built).rows, columns=times(built).header).to_csv(index=False),
    }
    for ending, frame in frames(built).items():
        found[f"{stem}_{ending}.csv"] = frame.to_csv(index=False, float_format="%.4f")
    if _has_reported(built, papers):
        found[f"{stem}_reported.csv"] = reported.reported_cells(papers, built.spec.reported).to_csv(index=False)
    return found
