"""Shared settings of the notebooks: where to read from and where to write to, set by environment variables.

REPRODUCE_PROFILE    profile, default mini
REPRODUCE_SOURCE     "results" (published, default) or the folder that holds your runs, such as runs
REPRODUCE_FIGURES    where figures and tables go, default figures/
REPRODUCE_DATA       the data folder, default data/
REPRODUCE_SETTINGS   settings of the command line under which the runs were made, as their folder names them
"""

import os
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

from analysis import load, text_table
from analysis.reported import load_reported

FIGURES = load.ROOT / "figures"


def source(table: str = "2") -> load.Source:
    """The results of a table from where the environment says."""
    experiment = f"table{table}.{os.environ.get('REPRODUCE_SETTINGS', '')}".removesuffix(".")
    return load.load_source(os.environ.get("REPRODUCE_PROFILE", "mini"), experiment, _source_setting(), data_folder())


def _source_setting() -> str:
    setting = os.environ.get("REPRODUCE_SOURCE", load.RESULTS)
    return setting if setting == load.RESULTS else str(load.ROOT / setting)


def data_folder() -> Path:
    """The data folder, absolute."""
    return load.ROOT / os.environ.get("REPRODUCE_DATA", "data")


def figures() -> Path:
    """Where this notebook writes, absolute."""
    return load.ROOT / os.environ.get("REPRODUCE_FIGURES", "figures")


def papers() -> pd.DataFrame:
    """The papers' reported numbers, `data/papers/`."""
    return load_reported(data_folder() / "papers")


def show(*tables: text_table.TextTable) -> None:
    """Display tables as Markdown."""
    for table in tables:
        display(Markdown(text_table.markdown(table)))


def show_frame(frame: pd.DataFrame, title: str, notes: list[str] | None = None, digits: int = 1) -> None:
    """Display a data frame as a Markdown table; numbers with `digits` decimals, missing as –."""

    def cell(value):
        if value is None or (isinstance(value, float) and value != value):
            return text_table.MISSING
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    rows = [[cell(v) for v in row] for row in frame.itertuples(index=False)]
    words = frozenset(j for j, c in enumerate(frame.columns) if not pd.api.types.is_numeric_dtype(frame[c]))
    show(text_table.TextTable(title, [str(c) for c in frame.columns], rows, notes=notes or [], words=words))
