"""The warm start on an SFT set: several processes make what one makes, and a killed one goes on."""

from pathlib import Path

import hub
import pytest
import sft_child
import torch
from process_groups import together
from safetensors.torch import load_file

from reproduce.errors import UserError
from reproduce.runs.reader import read_run
from reproduce.training import sft_warm_start
from reproduce.training.master_weights import MasterAdamW
from reproduce.training.prepare import prepare_warm_start, warm_start_folder
from reproduce.training.sampler_copy import divided


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(model folder, data folder)"""
    root = tmp_path_factory.mktemp("cold")
    return hub.checkpoint(root / "model"), hub.data_folder(root / "data")


def made(root: Path, files, count: int, *settings: str, codes=None) -> Path:
    """The warm start's folder after a warm start by `count` processes, which end with `codes` (default: all 0)."""
    words = [str(root), *map(str, files), *settings]
    assert together(sft_child.main, count, words, seconds=120) == (codes or [0] * count)
    return warm_start_folder(sft_child.job(*files), root)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: dict, two: dict) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        gap = (value - two[name]).abs()  # Adam makes much of the rounding of a gradient near 0
        assert gap.mean() < 1e-6 and gap.max() < 1e-3, name


@pytest.mark.slow
@pytest.mark.parametrize("settings", [(), ("fsdp=1",)], ids=["whole", "divided"])
def test_two_processes_make_the_warm_start_that_one_makes(tmp_path, files, settings):
    one, two = made(tmp_path / "one", files, 1), made(tmp_path / "two", files, 2, *settings)
    same(weights(one), weights(two))
    start = load_file(files[0] / "model.safetensors")
    assert max(float((value - start[name]).abs().max()) for name, value in weights(one).items()) > 0.01
    job = sft_child.job(*files)
    rows = [read_run(job.warm_start_job().directory(tmp_path / name)).eval.to_pylist() for name in ("one", "two")]
    assert len(rows[0]) == 8 and [r["question_id"] for r in rows[0]] == [r["question_id"] for r in rows[1]]
    assert not list(one.parent.glob("*.sft")) and not list(two.parent.glob("*.sft"))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_a_killed_warm_start_goes_on_from_its_last_checkpoint(tmp_path, files, count):
    whole = made(tmp_path / "whole", files, count)
    cut = made(tmp_path / "cut", files, count, "cut=5", codes=[9] * count)
    assert not cut.exists()
    scratch = cut.with_name(cut.name + ".sft")
    (left,) = scratch.glob("checkpoint-*")
    assert left.name == "checkpoint-3" and (left / "complete").is_file()
    again = made(tmp_path / "cut", files, count)
    assert not scratch.exists() and (tmp_path / "cut" / "first_step").read_text() == "4"
    one, two = weights(whole), weights(again)
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.slow
def test_another_number_of_processes_does_not_go_on(tmp_path, files, capfd):
    made(tmp_path, files, 2, "cut=4", codes=[9, 9])
    made(tmp_path, files, 1, codes=[1])
    assert "was written by 2 processes, and there are 1" in capfd.readouterr().err


def test_bfloat16_weights_are_trained_on_float32_copies(tmp_path, files, monkeypatch):
    seen = []
    train = sft_warm_start._Trainer.train

    def spy(self, *arguments, **options):
        found = train(self, *arguments, **options)
        seen.append(self.optimizer.optimizer if hasattr(self.optimizer, "optimizer") else self.optimizer)
        return found

    monkeypatch.setattr(sft_warm_start._Trainer, "train", spy)
    folder = prepare_warm_start(sft_child.job(*files, dtype="bfloat16"), tmp_path)
    assert isinstance(seen[0], MasterAdamW) and not divided()
    assert all(value.dtype == torch.bfloat16 for value in weights(folder).values())


def test_a_batch_that_the_processes_cannot_share_is_refused(files, tmp_path, monkeypatch):
    monkeypatch.setattr(sft_warm_start, "processes", lambda: 3)
    with pytest.raises(UserError, match="warm_start.batch_size: .* 3 processes"):
        sft_warm_start.train_on_sft_set(None, None, sft_child.job(*files).warm_start, [], tmp_path, None)
