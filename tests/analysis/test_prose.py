"""RESULTS.md: no sentence of it holds a number that somebody typed, and what it prints are cells of files."""

import pandas as pd
import pytest
from places import ROOT

from analysis import prose
from reproduce.errors import UserError

FIGURES = ROOT / "figures"


def test_no_sentence_holds_a_typed_number():
    template = prose.TEMPLATE.read_text("utf-8")
    assert prose.typed_numbers(template) == []
    assert prose.typed_numbers("AEPO is 1.7 points below, see `table2.csv`, table 2 and pass@5.") == ["1.7"]
    assert prose.typed_numbers('GRPO has {{ cell("table2", "grpo", "pass_1") }} %.') == []


def test_the_committed_page_is_what_the_committed_files_say():
    assert (ROOT / "analysis" / "RESULTS.md").read_text("utf-8") == prose.results(FIGURES)


def test_cells_are_read_and_signs_printed():
    cells = prose.Cells(FIGURES)
    row = pd.read_csv(FIGURES / "table2.csv").set_index("method").loc["aepo"]
    assert cells.cell("table2", "aepo", "pass_1") == f"{row['pass_1']:.1f}"
    assert cells.effect("table2", "aepo", "difference_1").startswith("−")
    frame = pd.read_csv(FIGURES / "table2.csv")
    told = frame[frame["adjusted_1"] < 0.05]
    assert len(told) and cells.listed(2, "above").count("(") + cells.listed(2, "below").count("(") >= len(told)


@pytest.mark.parametrize(("file", "row", "column"), [("table2", "aepo", "nothing"), ("table2", "nobody", "pass_1")])
def test_a_cell_that_is_not_there_is_refused(file, row, column):
    with pytest.raises(UserError, match=f"{row}, {column}"):
        prose.Cells(FIGURES).cell(file, row, column)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"table1\.md|table1\.csv"):
        prose.results(tmp_path)
