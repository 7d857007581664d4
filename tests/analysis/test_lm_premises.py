"""The notebook's tables of the premises: verdicts by the written rule, and what is said of a broken file."""

import json

import pytest

from analysis import lm_premises, text_table
from analysis.lm_premises import DECIDING, FAILS, HOLDS, NOT_MEASURED, OPEN
from reproduce.errors import UserError

HEADER = "premise,quantity,at,value,low,high,n,unit"
ENDS = {"L1": (0.1, 0.3), "L2": (-0.2, 0.4), "L3": (0.0, 0.5), "L4": (0.02, 0.3)}
"""Ends of the interval of each deciding quantity; L5 is not measured."""


@pytest.fixture
def folder(tmp_path):
    rows = [HEADER]
    for premise, (low, high) in ENDS.items():
        _, quantity, at, _ = DECIDING[premise]
        rows.append(f"{premise},{quantity},{at},{(low + high) / 2:g},{low},{high},8,share")
    rows += [f"L1,position after a result,{at},0.5,0.4,0.6,8,nats" for at in range(3)]
    rows += [
        "L1,position in the first turn,0,0.2,,,8,nats",
        'L5,"rate 1e-06, range to 1.2: share outside",1,0,0,0,8,share',
    ]
    (tmp_path / "premises.csv").write_text("\n".join(rows) + "\n")
    mean = {"value": 0.25, "low": 0.1, "high": 0.4, "n": 8}
    settings = dict(table="2", profile="lm", model="M, dequantised", warm_start="abc", questions=8, group=4)
    about = {"settings": settings, "warm": dict.fromkeys(("correct", "format_ok", "calls"), mean), "costs": {}}
    (tmp_path / "premises.json").write_text(json.dumps(about))
    return tmp_path


def test_verdicts_follow_the_written_rule(folder):
    table = lm_premises.verdicts_table(lm_premises.load(folder))
    assert [row[-1] for row in table.rows] == [HOLDS, OPEN, FAILS, HOLDS, NOT_MEASURED]
    assert table.rows[0][4] == "0.200 [0.100, 0.300] share"
    assert "M, dequantised" in table.notes[0] and "25 % are right" in table.notes[1]
    text = lm_premises.files(lm_premises.load(folder))["lm_premises.md"]
    assert text.startswith("## Premises on a real language model") and "position after" not in text
    assert text_table.markdown(table) in text


def test_the_figure_draws_what_is_there(folder):
    left, right = lm_premises.figure(lm_premises.load(folder)).figure.axes
    assert [len(line.get_xdata()) for line in left.lines] == [3, 1] and len(right.lines) == 1


def test_a_broken_file_is_named(folder):
    path = folder / "premises.csv"
    text = path.read_text()
    path.write_text(text + text.splitlines()[1] + "\n")
    with pytest.raises(UserError, match="premises.csv: L1, .*must be there once"):
        lm_premises.load(folder)
    path.write_text(text.replace(HEADER, HEADER.replace("low", "lower")))
    with pytest.raises(UserError, match="premises.csv: must have the columns"):
        lm_premises.load(folder)
    path.unlink()
    with pytest.raises(UserError, match="premises.csv: cannot be read"):
        lm_premises.load(folder)
