"""The command that merges runs in weight space: what it reads, what it writes, what it refuses."""

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from reproduce.algorithms.parts.merging import warp_layer
from reproduce.cli import main
from reproduce.training.checkpoints import complete


def saved(folder, seed):
    """A folder with a tiny model and its tokenizer; returns its weights."""
    tiny.model(seed).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def folders(tmp_path):
    """(start, a run's directory with an older checkpoint, a folder with weights) and the weights of each."""
    run = tmp_path / "run"
    checkpoints = [run / "checkpoints" / f"checkpoint-{step}" for step in (8, 16)]
    weights = [saved(tmp_path / "start", 0), saved(tmp_path / "other", 2)]
    for seed, checkpoint in zip((7, 1), checkpoints, strict=True):
        last = saved(checkpoint, seed)
        complete(checkpoint, {})
    return (tmp_path / "start", run, tmp_path / "other"), (weights[0], last, weights[1])


def test_runs_are_merged_and_the_result_is_a_model(tmp_path, capsys):
    (start, run, other), (first, *runs) = folders(tmp_path)
    (start / "hashes.json").write_text("{}")
    out = tmp_path / "merged"
    assert main(["warp", "--start", str(start), "--merge", f"{run},{other}", "--out", str(out), "--eta", "0.5"]) == 0
    assert "0.5 of the way from the start to 2 merged runs" in capsys.readouterr().out
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert tokenizer.get_vocab() == tiny.tokenizer().get_vocab() and not (out / "hashes.json").exists()
    found = model.state_dict()
    for name, value in first.items():
        torch.testing.assert_close(found[name], warp_layer(value, [run[name] for run in runs], 0.5))
    assert len(first) > 10 and not torch.equal(found[min(first)], first[min(first)])


def test_whole_steps_to_equal_runs_are_these_runs(tmp_path):
    (start, run, _), (_, last, _) = folders(tmp_path)
    out = tmp_path / "merged"
    assert main(["warp", "--start", str(start), "--merge", f"{run},{run}", "--out", str(out), "--eta", "1"]) == 0
    for name, value in load_file(out / "model.safetensors").items():
        torch.testing.assert_close(value, last[name])


def test_what_cannot_be_merged_is_named_in_one_line_and_nothing_is_written(tmp_path, capsys):
    (start, run, other), _ = folders(tmp_path)
    odd, adapters, empty, broken = (tmp_path / name for name in ("odd", "adapters", "empty", "broken"))
    for folder in (odd, adapters, empty, broken):
        folder.mkdir()
    whole = load_file(other / "model.safetensors")
    save_file(whole | {"extra": torch.zeros(1)}, odd / "model.safetensors")
    save_file({"lora_A": torch.zeros(1)}, adapters / "adapter_model.safetensors")
    (broken / "model.safetensors").write_bytes(b"no tensors")
    wide = tmp_path / "wide"
    wide.mkdir()
    save_file({name: torch.zeros(2, 3) for name in whole}, wide / "model.safetensors")
    out = tmp_path / "merged"
    cases = [
        (f"{run},{odd}", [], "hold different models: extra"),
        (f"{run},{wide}", [], "has different shapes"),
        (f"{run},{adapters}", [], "holds adapters"),
        (f"{run},{empty}", [], "holds no weights"),
        (f"{run},{tmp_path / 'gone'}", [], "gone holds no weights"),
        (f"{run},{broken}", [], "model.safetensors cannot be read"),
        (f"{run}", [], "at least two runs"),
        (f"{run},{other}", ["--eta", "0"], "--eta must be above 0"),
        (f"{run},{other}", ["--eta", "nan"], "--eta must be above 0"),
    ]
    capsys.readouterr()
    for merged, more, message in cases:
        assert main(["warp", "--start", str(start), "--merge", merged, "--out", str(out), *more]) != 0
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1, said
    assert not list(tmp_path.glob("merged*"))
    out.mkdir()
    assert main(["warp", "--start", str(start), "--merge", f"{run},{other}", "--out", str(out)]) != 0
    assert "exists; name a new folder" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--start", "x"]])
def test_what_is_missing_is_named(words, capsys):
    assert main(["warp", *words]) != 0
    assert "required" in capsys.readouterr().err
