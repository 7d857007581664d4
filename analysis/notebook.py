"""Shared code of the notebooks: where they read from, set by environment variables, and how they show tables.

REPRODUCE_PROFILE    profile, default mini
REPRODUCE_SOURCE     "results" (published, default) or the folder that holds your runs, such as runs
REPRODUCE_DATA       the data folder, default data/
REPRODUCE_SETTINGS   settings of the command line under which the runs were made, as their folder names them
"""

import os
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

from analysis import load, text_table
from analysis.reported import load_reported
from analysis.text_table import TextTable


def source(table: str) -> load.Source:
    """The results of a table from where the environment says."""
    experiment = f"table{table}.{os.environ.get('REPRODUCE_SETTINGS', '')}".removesuffix(".")
    where = os.environ.get("REPRODUCE_SOURCE", load.RESULTS)
    root = where if where == load.RESULTS else load.ROOT / where
    return load.load_source(os.environ.get("REPRODUCE_PROFILE", "mini"), experiment, root, data_folder())


def data_folder() -> Path:
    """The data folder, absolute."""
    return load.ROOT / os.environ.get("REPRODUCE_DATA", "data")


def papers() -> pd.DataFrame:
    """The papers' reported numbers, `data/papers/`."""
    return load_reported(data_folder() / "papers")


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
