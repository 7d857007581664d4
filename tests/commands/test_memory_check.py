"""The memory estimate beside what was measured: on fake tensors at full size, and real peaks on a CPU."""

import csv

import pytest
from places import ROOT

from reproduce.commands.memory_check import cli, peak
from reproduce.errors import UserError

COMMITTED = list(csv.DictReader((ROOT / "figures" / "memory_check.csv").open(encoding="utf-8")))


def test_the_committed_measurements_agree_with_the_estimate_within_a_fifth():
    assert len(COMMITTED) == 4 * len(cli.STEPS) + sum(1 if setting.sft else 2 for setting in peak.SETTINGS)
    for row in COMMITTED:
        measured, told = float(row["measured_gb"]), float(row["estimated_gb"])
        assert told == pytest.approx(measured, rel=0.2, abs=0.02), row


def test_the_committed_estimates_of_full_steps_are_those_of_the_code():
    for name, step in cli.STEPS.items():
        for part, value in cli.estimated(step).items():
            (row,) = [r for r in COMMITTED if (r["setting"], r["part"]) == (name, part)]
            assert float(row["estimated_gb"]) == pytest.approx(value / cli.GB, abs=0.006), (name, part)


def test_a_setting_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(UserError, match="nothing"):
        cli.main(["--only", "nothing", "--csv", str(tmp_path / "x.csv")])


@pytest.mark.slow
def test_a_step_on_fake_tensors_is_measured_again():
    """Counts of bytes, the same on every machine."""
    name = "Qwen2.5-7B's critic, 4 rows"
    rows = [dict(zip(cli.HEADER, row, strict=True)) for row in cli.fake_rows(name)]
    assert rows == [row for row in COMMITTED if row["setting"] == name]
