"""`make check-gpu`: the same functions at tiny size, each in its own process; a failure is a row and not the end."""

import csv
import json

import pytest
import torch

from reproduce.cli import main
from reproduce.commands.check_gpu import cli, steps
from reproduce.commands.check_gpu.bench import DRY, batch, mask_of, model, optimizer_of, scored, update
from reproduce.commands.check_gpu.figures import CannotRun, Figure
from reproduce.commands.check_gpu.one import CHECKS
from reproduce.commands.check_gpu.one import main as one

MINUTES = 25


def test_the_checks_stay_below_their_time_together():
    assert sum(limit for _, limit in CHECKS.values()) <= MINUTES * 60


def test_bfloat16_follows_float32_and_a_wrong_loss_does_not(monkeypatch):
    found = {figure.name: figure for figure in steps.bf16_step(dry=True)}
    assert all(figure.ok for figure in found.values()) and len(found) == 3
    halved = steps.update
    calls = iter(range(100))

    def wrong(*arguments):
        loss, norm = halved(*arguments)
        return (loss * 0.5, norm) if next(calls) >= steps.UPDATES else (loss, norm)

    monkeypatch.setattr(steps, "update", wrong)
    assert not all(figure.ok for figure in steps.bf16_step(dry=True)), "the second half of the updates is bfloat16's"


def test_an_update_in_passes_is_the_whole_one():
    rows, found = None, []
    for limit in (None, 2 * DRY.width):
        lm = model(DRY, torch.float64)
        rows = batch(DRY, lm.config.vocab_size) if rows is None else rows
        with torch.no_grad():
            old_BT = scored(lm, rows) + 0.1 * mask_of(rows)
        optimizer = optimizer_of(lm)
        found.append([update(lm, optimizer, rows, old_BT, limit) for _ in range(2)])
    for whole, parts in zip(*found, strict=True):
        assert parts == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize(
    ("figure", "ok"),
    [
        (Figure("a", 1.0, limit=2.0), True),
        (Figure("a", 3.0, limit=2.0), False),
        (Figure("a", 3.0, limit=2.0, least=True), True),
        (Figure("a", 1.0, limit=2.0, least=True), False),
        (Figure("a", float("nan")), False),
        (Figure("a", float("nan"), limit=1.0, least=True), False),
        (Figure("a", 1e9), True),
    ],
)
def test_a_figure_passes_within_its_limit_alone(figure, ok):
    assert figure.ok == ok


def test_a_check_that_breaks_is_a_row_and_one_that_cannot_run_says_what_it_needs(tmp_path, monkeypatch):
    def needs(dry):
        raise CannotRun("a card")

    def breaks(dry):
        raise ValueError("no\nsuch thing")

    for check, key, text in ((needs, "needs", "a card"), (breaks, "error", "ValueError: no such thing")):
        monkeypatch.setitem(CHECKS, "lora", (check, 1))
        assert one(["lora", str(tmp_path / "found.json"), "--dry"]) == 0
        assert json.loads((tmp_path / "found.json").read_text()) == {key: text}
    assert cli.rows_of("lora", {"error": "x"}, 1.0)[0]["state"] == "FAIL"
    assert cli.rows_of("lora", {"needs": "x"}, 1.0)[0]["state"] == "not run"


def test_a_check_that_takes_too_long_is_ended(tmp_path):
    (row,) = cli.run("bf16-step", True, 0.5)
    assert row["state"] == "FAIL" and row["said"] == "it took longer than 0 s" and row["seconds"] < 30


@pytest.mark.slow
def test_the_command_goes_on_after_a_failure_and_writes_what_it_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(CHECKS, "all-weights", (CHECKS["all-weights"][0], 0.2))
    out = tmp_path / "gpu_check.csv"
    assert main(["check-gpu", "--dry", "--only", "all-weights,bf16-step,flex-attention", "--out", str(out)]) == 1
    said = capsys.readouterr().out
    assert "FAIL    all-weights" in said and "ok      bf16-step" in said and "not run flex-attention" in said
    rows = list(csv.DictReader(out.open()))
    assert {row["check"]: row["state"] for row in rows} == {
        "all-weights": "FAIL",
        "bf16-step": "ok",
        "flex-attention": "not run",
    }
    assert all(row["torch"] == torch.__version__ and row["card"] == "none (dry)" for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a card")
def test_without_a_card_and_with_bad_words_it_is_one_line(capsys):
    for words, message in (([], "no CUDA device"), (["--only", "laura"], "did you mean 'lora'"), (["--x"], "--x")):
        assert main(["check-gpu", *words]) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
