"""Damage on the disk is noticed: flipped bits in finished runs and warm starts, and checkpoints that were cut."""

import json
import random
import shutil

import pytest
import torch
from run_folders import finished
from stopping import train_until
from tiny import model, tokenizer
from trainers import config, trainer

from reproduce.errors import UserError
from reproduce.rollouts.grammar import Grammar
from reproduce.runs import files
from reproduce.runs.reader import read_run
from reproduce.training.checkpoints import damage, last_checkpoint
from reproduce.training.warm_start import load_warm_start, save_warm_start


def flip(path, rng) -> None:
    """One random bit of the file."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def test_a_flipped_bit_anywhere_in_a_finished_run_is_refused(tmp_path):
    path = finished(tmp_path).path
    read_run(path)
    rng = random.Random(0)
    names = [*files.read_json(path / "manifest.json")["files"], "manifest.json"]
    assert {"steps.parquet", "timings.parquet", "rollouts.parquet", "eval.parquet", "config.yaml"} < set(names)
    for number in range(48):
        file = path / names[number % len(names)]
        whole = file.read_bytes()
        flip(file, rng)
        try:
            read_run(path)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert json.loads(file.read_bytes()) == json.loads(whole), f"{file.name}: a changed value was read"
        file.write_bytes(whole)
    read_run(path)


def test_a_flipped_bit_of_a_warm_start_is_refused(tmp_path):
    save_warm_start(model(), tokenizer(), tmp_path / "w", [])
    load_warm_start(tmp_path / "w", "cpu", "float32", Grammar)
    rng = random.Random(1)
    for number in range(40):
        file = tmp_path / "w" / ("model.safetensors", "tokenizer.json", "config.json")[number % 3]
        whole = file.read_bytes()
        flip(file, rng)
        with pytest.raises(UserError, match=f"{file.name} is damaged"):
            load_warm_start(tmp_path / "w", "cpu", "float32", Grammar)
        file.write_bytes(whole)


NAMES = ["model.safetensors", "optimizer.pt", "carried.pt", "trainer_state.json", "scheduler.pt"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["cut", "empty", "flipped", "gone"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(made_once, tmp_path, capsys, name, kind):
    folder = tmp_path / "checkpoints"
    shutil.copytree(made_once, folder)
    newest = last_checkpoint(folder)
    assert [path.name for path in sorted(folder.iterdir())] == ["checkpoint-4", "checkpoint-8"]
    file = newest / name
    data = file.read_bytes()
    if kind == "gone":
        file.unlink()
    else:
        changed = {"cut": data[: len(data) // 2], "empty": b"", "flipped": bytes([data[0] ^ 1]) + data[1:]}[kind]
        file.write_bytes(changed)
    assert last_checkpoint(folder).name == "checkpoint-4"
    said = capsys.readouterr().out
    assert name in said and "checkpoint-8 is damaged" in said


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """The checkpoints of a run of two steps."""
    made = trainer(tmp_path_factory.mktemp("run"), config("grpo", steps=2))
    made.train()
    return made.run.checkpoints


def test_going_on_from_the_checkpoint_before_gives_the_same_bytes(tmp_path):
    whole = trainer(tmp_path / "whole", config("grpo", steps=3))
    whole.train()
    expected = [path.read_bytes() for path in sorted(whole.run.parts.glob("*.rollouts.parquet"))]
    cut = trainer(tmp_path / "cut", config("grpo", steps=3))
    assert train_until(cut, 2)
    (last_checkpoint(cut.run.checkpoints) / "model.safetensors").write_bytes(b"")
    resumed = trainer(tmp_path / "cut", config("grpo", steps=3))
    resumed.run.drop_steps_after(1)
    train_until(resumed, 9)
    assert [path.read_bytes() for path in sorted(resumed.run.parts.glob("*.rollouts.parquet"))] == expected


def test_a_checkpoint_of_older_code_counts(tmp_path):
    folder = tmp_path / "checkpoint-8"
    folder.mkdir()
    torch.save({}, folder / "carried.pt")
    (folder / "complete").touch()
    assert damage(folder) is None and last_checkpoint(tmp_path) == folder
