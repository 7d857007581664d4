"""Shared code of the notebooks: where they read from and write to, set by environment variables, and what they show.

REPRODUCE_PROFILE    profile, default mini
REPRODUCE_SOURCE     "results" (published, default) or the folder that holds your runs, such as runs
REPRODUCE_DATA       the data folder, default data/
REPRODUCE_SETTINGS   settings of the command line under which the runs were made, as their folder names them
REPRODUCE_FIGURES    the folder for files and figures; without it a notebook shows them and writes none

`make tables figures` sets the last one: the notebooks are what computes and writes every table and figure.
"""

import io
import json
import os
from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Image, Markdown, display
from threadpoolctl import threadpool_limits

from analysis import comparison, load, style, text_table, write
from analysis.execute import ONE_THREAD
from analysis.reported import load_reported
from analysis.table import Table
from analysis.text_table import TextTable

# Sums of one thread, in the libraries that are loaded and in those to come: the same bytes on any number of cores.
threadpool_limits(1)
os.environ.update(ONE_THREAD)

_report: dict[str, list[str]] = {"files": [], "text": []}


def source(table: str) -> load.Source:
    """The results of a table from where the environment says."""
    experiment = f"table{table}.{os.environ.get('REPRODUCE_SETTINGS', '')}".removesuffix(".")
    where = os.environ.get("REPRODUCE_SOURCE", load.RESULTS)
    root = where if where == load.RESULTS else load.ROOT / where
    return load.load_source(os.environ.get("REPRODUCE_PROFILE", "mini"), experiment, root, data_folder())


def data_folder() -> Path:
    """The data folder, absolute."""
    return load.ROOT / os.environ.get("REPRODUCE_DATA", "data")


def table(built: Table) -> None:
    """Write the table's files and show it; own runs stand beside the published ones, if there are any."""
    papers = load_reported(data_folder() / "papers")
    save(write.files(built, papers))
    show(*write.blocks(built), *write.appendix(built, papers))
    _report["text"] += map(text_table.text, write.terminal_tables(built))
    if built.source.origin != load.RESULTS:
        _compare(built)


def _compare(built: Table) -> None:
    own = built.source
    if own.settings:
        text = "These runs have settings of the command line, so they are not compared with the published ones.\n"
    elif (data_folder() / "results" / own.profile / own.experiment).is_dir():
        published = load.load_source(own.profile, own.experiment, load.RESULTS, data_folder())
        compared = comparison.compare(write.build(published), built)
        save(compared.files())
        show(compared.table)
        text = compared.text
    else:
        text = f"No published results for profile {own.profile}, so there is nothing to compare with.\n"
    _report["text"].append(text)


def save(files: dict[str, str]) -> None:
    """Write name -> text."""
    if folder := os.environ.get("REPRODUCE_FIGURES"):
        _report["files"] += map(str, text_table.save(files, Path(folder)))


def draw(stem: str, drawn: style.Drawn, image: bool = False) -> None:
    """Write a figure as `stem` (image: `style.save`), show it, and say below it what its data support."""
    if folder := os.environ.get("REPRODUCE_FIGURES"):
        _report["files"].append(str(style.save(drawn.figure, Path(folder), stem, image)))
    display(Image(png(drawn.figure)))
    plt.close(drawn.figure)
    say(drawn.says)


def png(figure) -> bytes:
    """The whole figure; as it is displayed by itself, what no layout counts would be cut off: title and caption."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi, metadata={"Software": None})
    return buffer.getvalue()


def draw_all(found: Iterable[tuple[str, style.Drawn]]) -> None:
    """`draw` every (stem, figure with its sentence)."""
    for stem, drawn in found:
        draw(stem, drawn)


def say(*sentences: str) -> None:
    """Display sentences as a paragraph."""
    display(Markdown(" ".join(sentences)))


def show(*tables: TextTable) -> None:
    """Display tables as Markdown."""
    for table in tables:
        display(Markdown(text_table.markdown(table)))


def show_frame(frame: pd.DataFrame, title: str, digits: int = 1) -> None:
    """Display a data frame as a Markdown table; numbers with `digits` decimals, missing as –."""

    def cell(value):
        if value is None or (isinstance(value, float) and value != value):
            return text_table.MISSING
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    rows = [[cell(v) for v in row] for row in frame.itertuples(index=False)]
    words = frozenset(j for j, c in enumerate(frame.columns) if not pd.api.types.is_numeric_dtype(frame[c]))
    show(TextTable(title, [str(c) for c in frame.columns], rows, words=words))


def report() -> str:
    """Everything written since the last report, as JSON: `files`, and `text` for a terminal."""
    made = json.dumps(_report)
    for part in _report.values():
        part.clear()
    return made
