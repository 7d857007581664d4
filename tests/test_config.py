"""Configs are strict: what nothing reads is refused, and named; and a table resolves to the jobs that it says."""

import pytest
import yaml
from run_rows import CONFIG, job

from reproduce.errors import UserError
from reproduce.experiments import grid
from reproduce.experiments.config import JobConfig, TableConfig


def refused(data: dict) -> str:
    with pytest.raises(UserError) as error:
        JobConfig.from_dict(data, "my.yaml")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_config_survives_a_round_trip_through_yaml(tmp_path):
    config = job(algorithm={"clip_high": 0.28}, task={"format_penalty": -0.5}, seed=7)
    config.to_yaml(tmp_path / "config.yaml")
    assert JobConfig.from_yaml(tmp_path / "config.yaml") == config


def test_an_unknown_key_is_named_with_its_file_and_the_nearest_key():
    data = {**CONFIG, "training": {**CONFIG["training"], "grup_size": 4}}
    message = refused(data)
    assert "my.yaml" in message and "training.grup_size" in message and "'group_size'" in message
    assert "'seed'" in refused({**CONFIG, "seeed": 1})


def test_a_missing_key_and_a_wrong_type_are_named():
    model = {key: value for key, value in CONFIG["model"].items() if key != "num_layers"}
    assert "'model.num_layers' is missing" in refused({**CONFIG, "model": model})
    for value in ("12", 1.5, True, None):
        training = {**CONFIG["training"], "steps": value}
        assert "'training.steps' must be a whole number" in refused({**CONFIG, "training": training})
    assert "'task' must be a mapping" in refused({**CONFIG, "task": [1]})
    nan = {**CONFIG["training"], "learning_rate": float("nan")}
    assert "training.learning_rate" in refused({**CONFIG, "training": nan})


def test_numbers_in_either_notation_are_the_same_config():
    plain, scientific = yaml.safe_load("{a: 0.001, b: 1}"), yaml.safe_load("{a: 1e-3, b: 1.0}")
    assert scientific["a"] == "1e-3"  # YAML 1.1 takes it for a string
    one = job(training={"learning_rate": plain["a"], "temperature": plain["b"]})
    assert one == job(training={"learning_rate": scientific["a"], "temperature": scientific["b"]})


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("training", "group_size", 1), ("training", "minibatches", 3), ("training", "steps", 0),
        ("training", "device", "tpu"), ("training", "dtype", "int8"), ("model", "num_heads", 3),
        ("model", "num_kv_heads", 3), ("warm_start", "noise", 1.5), ("warm_start", "success_low", 0.5),
        ("evaluation", "split", "dev"), ("evaluation", "samples", -1), ("task", "max_tool_calls", 0),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused_when_read(section, key, value):
    message = refused({**CONFIG, section: {**CONFIG[section], key: value}})
    assert f"'{section}." in message


def test_names_that_would_leave_the_runs_folder_are_refused():
    assert "'method'" in refused({**CONFIG, "method": "../grpo"})
    assert "'seed'" in refused({**CONFIG, "seed": -1})


def test_a_file_that_is_missing_or_not_a_mapping_is_named(tmp_path):
    with pytest.raises(UserError, match="absent.yaml does not exist"):
        JobConfig.from_yaml(tmp_path / "absent.yaml")
    for text in ("- a\n", "a: [1", ""):
        (tmp_path / "broken.yaml").write_text(text)
        with pytest.raises(UserError, match="broken.yaml"):
            JobConfig.from_yaml(tmp_path / "broken.yaml")


def test_every_profile_of_table_2_but_paper_resolves():
    table = TableConfig.load(2)
    for profile in ("smoke", "mini", "gpu"):
        jobs = table.jobs(profile)
        assert {job.method for job in jobs} == {"grpo", "dapo", "arpo", "aepo"}
        assert all(job.warm_start_job() == jobs[0].warm_start_job() for job in jobs)
    assert [job.seed for job in table.jobs("smoke")] == [0, 0, 0, 0]
    assert len(table.jobs("mini")) == 12
    with pytest.raises(UserError, match="Qwen/Qwen3-14B.*not part of this version"):
        table.jobs("paper")


def test_a_profile_changes_single_keys_and_overrides_reach_their_method_only(tmp_path):
    data = {key: CONFIG[key] for key in ("task", "model", "warm_start", "training", "evaluation")}
    table = {
        "experiment": "table9", "methods": ["grpo", "aepo"], "seeds": [3], "algorithm": {"aepo": {"clip_high": 0.3}},
        "defaults": {**data, "entropy_tokens": 5}, "profiles": {"mini": {}, "smoke": {"training": {"steps": 1}}},
    }  # fmt: skip
    (tmp_path / "table9.yaml").write_text(yaml.safe_dump(table))
    loaded = TableConfig.load(9, tmp_path)
    grpo, aepo = loaded.jobs("smoke")
    assert (grpo.training.steps, grpo.training.group_size) == (1, 2)
    assert (grpo.algorithm, aepo.algorithm) == ({}, {"clip_high": 0.3})
    assert [(j.method, j.seed) for j in loaded.jobs("mini", ["aepo"], [1, 2])] == [("aepo", 1), ("aepo", 2)]

    table["profiles"]["smoke"] = {"trainng": {"steps": 1}}
    (tmp_path / "table9.yaml").write_text(yaml.safe_dump(table))
    with pytest.raises(UserError, match=r"table9.yaml.*profiles.smoke.trainng.*'training'"):
        TableConfig.load(9, tmp_path)
    table["profiles"]["smoke"], table["defaults"]["modle"] = {}, {}
    (tmp_path / "table9.yaml").write_text(yaml.safe_dump(table))
    with pytest.raises(UserError, match=r"defaults.modle.*'model'"):
        TableConfig.load(9, tmp_path)


def test_unknown_tables_profiles_and_methods_list_the_valid_ones():
    with pytest.raises(UserError, match="no table '7'; tables: .*2"):
        TableConfig.load(7)
    with pytest.raises(UserError, match="no profile 'huge'.*smoke, mini, gpu, paper"):
        grid.resolve("2", "huge")
    with pytest.raises(UserError, match="no method 'grop'.*grpo"):
        grid.resolve("2", "smoke", ["grop"])
    with pytest.raises(UserError, match="seed 1 is named twice"):
        grid.resolve("2", "smoke", None, [1, 1])


def test_overrides_are_checked_and_a_missing_gpu_is_refused_before_anything_runs(monkeypatch):
    import torch

    load = TableConfig.load("2")
    monkeypatch.setitem(load.algorithm, "aepo", {"clip_hihg": 0.3})
    monkeypatch.setattr(TableConfig, "load", classmethod(lambda cls, table: load))
    with pytest.raises(UserError, match="clip_hihg"):
        grid.resolve("2", "smoke")
    load.algorithm.clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device"):
        grid.resolve("2", "gpu")
