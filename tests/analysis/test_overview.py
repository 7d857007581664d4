"""The table and the figure that open the README."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from places import ROOT

from analysis import format, load, overview
from analysis.ledger import table
from analysis.statistics import Estimate

FIGURES = ROOT / "figures"


@pytest.fixture(scope="module")
def tables():
    return {name: load.load_source("mini", name) for name in overview.TABLES}


def printed(file: str, row: str, column: str = "difference_1") -> str:
    """A difference as the CSV file of a table has it."""
    found = pd.read_csv(FIGURES / file).set_index("method").loc[row]
    return format.estimate(Estimate(*(found[f"{column}{end}"] for end in ("", "_low", "_high"))), sign=True)


def test_its_differences_are_those_of_the_tables_and_its_verdicts_those_of_the_ledger(tables):
    made = overview.overview(tables, table.load_ledger(Path(ROOT / "data")))
    rows = {row[0]: dict(zip(made.header, row, strict=True)) for row in made.rows}
    for name, shown in (("aepo", "AEPO"), ("cispo", "CISPO"), ("gppo", "GPPO"), ("gigpo", "GiGPO")):
        assert rows[shown]["Table 1"] == printed("table1.csv", name)
        assert rows[shown]["Table 2"] == printed("table2.csv", name)
    assert rows["GiGPO"]["Table 3"] == printed("table3.csv", "gigpo") and rows["AEPO"]["Table 3"] == "–"
    assert rows["EPO on GRPO"]["Table 3"] == printed("table3.csv", "grpo+epo")
    claims = pd.read_csv(FIGURES / "claims.csv").drop_duplicates("id").set_index("id")
    for row, claim in (("AEPO", "A1"), ("· dynamic budget alone", "A2"), ("EPO on PPO", "E2")):
        assert rows[row]["The paper's claim here"] == f"{claim}: {claims.loc[claim, 'verdict']}"
    assert rows["AEPO"]["Dose"] == "–" and float(rows["· dynamic budget alone"]["Dose"].rstrip(" %")) < 2
    assert list(rows).index("· dynamic budget alone") == list(rows).index("AEPO") + 1


def test_the_figure_says_which_rows_lie_above_or_below_with_their_interval(tables):
    says = overview.figure(tables).says
    above, below = says.split("; below: ")
    frame = pd.read_csv(FIGURES / "table2.csv").set_index("method")
    assert ("CISPO (2)" in above) == (frame.loc["cispo", "difference_1_low"] > 0)
    assert ("AEPO (2)" in below) == (frame.loc["aepo", "difference_1_high"] < 0)
    source = tables["table2"]
    without = replace(source, kept=frozenset({"grpo", "aepo", "warm_start"}))
    assert "CISPO (2)" not in overview.figure({**tables, "table2": without}).says
