"""Configs are strict: what nothing reads is refused, and named; and a table resolves to the jobs that it says."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from run_rows import CONFIG, job

from reproduce import algorithms
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.grid import runner
from reproduce.runs import manifest


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
    assert "the key 'training' is missing" in refused({key: CONFIG[key] for key in CONFIG if key != "training"})
    for value in (b"\xff", 1, ["mini"]):
        assert "'profile'" in refused({**CONFIG, "profile": value})
    assert "'training.learning_rate'" in refused(
        {**CONFIG, "training": {**CONFIG["training"], "learning_rate": 10**400}}
    )
    assert "unknown key" in refused({**CONFIG, 1: 2})
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
        ("training", "group_size", 0),
        ("training", "minibatches", 3),
        ("training", "steps", 0),
        ("training", "device", "tpu"),
        ("training", "dtype", "int8"),
        ("model", "num_heads", 3),
        ("model", "num_kv_heads", 3),
        ("warm_start", "noise", 1.5),
        ("warm_start", "success_low", 0.5),
        ("evaluation", "split", "dev"),
        ("evaluation", "samples", -1),
        ("task", "max_tool_calls", 0),
    ],
)
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


TABLE_JOBS = {
    "1": (4, 3, 4),
    "2": (4, 3, 4),
    "3": (4, 3, 4),
    "4": (7, 3, 7),
    "5": (24, 1, 12),
    "6": (7, 3, 7),
}  # rows x seeds of mini, rows of smoke


@pytest.mark.parametrize("name", TABLE_JOBS)
def test_every_table_resolves_in_every_profile(name):
    table = TableConfig.load(name)
    for profile in ("smoke", "mini", "gpu-scratch", *(() if name == "3" else ("gpu", "gpu-80gb"))):
        jobs = table.jobs(profile, ["all"])
        assert len({job.directory(Path("runs")) for job in jobs}) == len(jobs)
        assert len({manifest.config_hash(job.warm_start_job()) for job in jobs}) == 1
        assert {job.training.steps for job in jobs} == {jobs[0].training.steps}
        assert all(JobConfig.from_dict(job.to_dict()) == job for job in jobs)
    rows, seeds, smoke = TABLE_JOBS[name]
    assert len(table.jobs("mini")) == rows * seeds and len(table.jobs("smoke")) == smoke
    for full in table.jobs("paper"):
        assert (
            JobConfig.from_dict(full.to_dict()) == full and full.model.name_or_path and full.model.hidden_size is None
        )


@pytest.mark.parametrize("name", [n for n in TABLE_JOBS if (manifest.ROOT / f"data/results/mini/table{n}").is_dir()])
def test_a_published_run_has_the_hash_of_its_tables_job(name, monkeypatch):
    """So the grid finds it finished, whatever settings the code has learned since."""
    found = json.loads((manifest.ROOT / f"data/results/mini/table{name}/manifests.json").read_text())
    published = {(run["variant"] or run["method"], run["seed"]): run["config_hash"] for run in found}
    names, seeds = ([*dict.fromkeys(keys)] for keys in zip(*published, strict=True))
    names.remove(manifest.WARM_START)
    jobs = TableConfig.load(name).jobs("mini", names, seeds)
    worlds = manifest.world_hashes(jobs[0].to_dict()["task"])
    monkeypatch.setattr(manifest, "world_hashes", lambda task: worlds)  # the rows of a table share their task
    made = {(job.name, job.seed): job for job in (*jobs, *(job.warm_start_job() for job in jobs))}
    assert {key: manifest.config_hash(made[key]) for key in published} == published and len(published) > 20


def test_every_table_resolves_with_all_its_rows():
    for name in TABLE_JOBS:
        assert runner.resolve(name, "smoke", ["all"])


def test_the_published_tables_have_all_of_the_papers_methods_but_those_that_their_file_names():
    left_out = {"epo-base", "epo-decay", "epo-no-dw", "grpo-released", "ppo+epo-released"}
    assert left_out < set(algorithms.names())
    for name in ("1", "2"):
        rows = set(TableConfig.load(name).rows("mini", ["all"]))
        assert len(rows) == 21 and rows < set(algorithms.names()) and not rows & left_out
        assert list(TableConfig.load(name).rows("mini")) == ["grpo", "dapo", "arpo", "aepo"]


def test_the_tables_share_their_settings_but_for_what_their_files_say():
    one, two, four, five = (TableConfig.load(name).jobs("mini", ["core"], [0])[0] for name in ("1", "2", "4", "5"))
    assert one.task.families == ["mini-math", "mini-knowledge"] and two.task.families == ["mini-deepsearch"]
    assert dataclasses.replace(two.task, families=one.task.families) == one.task
    assert (two.warm_start.seeds_each, two.evaluation.samples, two.evaluation.validation.every) == (5, 20, 8)
    two = dataclasses.replace(
        two,
        training=dataclasses.replace(two.training, token_log=None, shared_prefixes=one.training.shared_prefixes),
        warm_start=dataclasses.replace(two.warm_start, seeds_each=None),
        evaluation=dataclasses.replace(two.evaluation, samples=5, validation=None),
    )  # its third regime; the others have the settings of its second one
    assert one.training == two.training and one.warm_start == four.warm_start == five.warm_start == two.warm_start
    assert four.evaluation == dataclasses.replace(five.evaluation, validation=None) == two.evaluation
    assert five.evaluation.validation.every == five.training.steps, "once, after the last step"
    for half in (four, five):  # half of table 2's; change table4.yaml and table5.yaml together with mini_defaults.yaml
        assert half.training.steps == two.training.steps // 2
    assert dataclasses.replace(four.training, steps=two.training.steps) == two.training


def test_the_ablation_switches_every_component_alone():
    switches = ("dynamic_budget", "branch_penalty", "gradient_keeping_clip", "entropy_advantage")
    on = {}
    for row in TableConfig.load("4").jobs("mini", ["all"], [0]):
        settings = algorithms.load(row.method, **row.algorithm).settings
        on[row.name] = [name for name in switches if settings[name]] if row.method == "aepo" else None
    assert on.pop("aepo-released") is None
    assert on == {"none": [], "aepo": list(switches), **{name.replace("_", "-"): [name] for name in switches}}


def test_the_grid_is_the_same_for_every_method_and_each_cell_says_what_it_is():
    cells = {}
    for row in TableConfig.load("5").jobs("mini", ["all"], [0]):
        rate, minibatches = row.training.learning_rate, row.training.minibatches
        assert row.training_changes == {"learning_rate": rate, "minibatches": minibatches}
        cells.setdefault(row.method, set()).add((rate, minibatches))
    base = TableConfig.load("2").jobs("mini", ["grpo"], [0])[0].training
    expected = {(base.learning_rate * r, base.minibatches * b) for r in (0.5, 1, 2) for b in (1, 2)}
    assert list(cells) == ["grpo", "dapo", "gppo", "cispo", "arpo", "aepo"]
    assert all(found == expected for found in cells.values())
    name = "grpo-lr0.5x-minibatches2x"
    (row,) = TableConfig.load("5").jobs("mini", [name], [3])
    assert row.directory(Path("runs")) == Path(f"runs/mini/table5/{name}/3") and row.method == "grpo"
    assert len(TableConfig.load("5").jobs("mini", ["grpo", "aepo"], [0, 1])) == 24
    with pytest.raises(UserError, match="'ppo' is not in the grid.*grpo"):
        runner.resolve("5", "mini", ["ppo"])


def write_table(folder, shared_changes=None, **changes) -> TableConfig:
    """table9.yaml (with shared_changes: on a base.yaml) of the small config, with `changes`; loaded."""
    data = {key: CONFIG[key] for key in ("task", "model", "warm_start", "training", "evaluation")}
    table = {"experiment": "table9", "methods": ["all"], "seeds": [0], **changes}
    shared = {"defaults": data, "profiles": {"mini": {}, "smoke": {"training": {"steps": 1}}}}
    if shared_changes is not None:
        (folder / "base.yaml").write_text(yaml.safe_dump({**shared, **shared_changes}))
        table = {"base": "base.yaml", **table}
    else:
        table = {**shared, **table}
    (folder / "table9.yaml").write_text(yaml.safe_dump(table))
    return TableConfig.load(9, folder)


def test_a_table_wins_over_its_base_key_by_key_and_profiles_over_defaults(tmp_path):
    base = {"groups": {"all": ["grpo", "aepo"]}}
    table = write_table(tmp_path, base, defaults={"training": {"steps": 8, "group_size": 4}})
    mini, smoke = (table.jobs(profile)[0].training for profile in ("mini", "smoke"))
    assert (mini.steps, mini.group_size, mini.epochs) == (8, 4, 1) and (smoke.steps, smoke.group_size) == (1, 4)
    table = write_table(tmp_path, base, profiles={"smoke": {"training": {"steps": 2}}})
    assert table.jobs("smoke")[0].training.steps == 2 and table.jobs("mini")[0].training.steps == 3


def test_a_section_that_a_table_lacks_is_named(tmp_path):
    for name in ("training", "model"):
        cells = {"methods": ["grpo"], "learning_rate": [1], "minibatches": [1]}
        for rows in ({}, {"grid": cells}):
            data = {
                key: CONFIG[key] for key in ("task", "model", "warm_start", "training", "evaluation") if key != name
            }
            with pytest.raises(UserError, match=rf"table9.yaml.*the key '{name}.*is missing"):
                write_table(tmp_path, defaults=data, methods=["grpo"], **rows).jobs("mini")


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        ({"grups": {}}, {}, r"base.yaml: unknown key 'grups'; did you mean 'groups'"),
        ({"profiles": {"mini": {"trainng": {}}}}, {}, r"table9.yaml with base.yaml: .*profiles.mini.trainng"),
        ({}, {"profiles": {"mnii": {}}}, r"table9.yaml: 'profiles.mnii' is not in base.yaml; did you mean 'mini'"),
        ({}, {"defaults": {"trainign": {}}}, r"unknown key 'defaults.trainign'; did you mean 'training'"),
        ({}, {"base": "../base.yaml"}, "must be the name of a file beside it"),
        ({}, {"base": "absent.yaml"}, "absent.yaml does not exist"),
        ({}, {"groups": {"all": "grpo"}}, "'groups.all' must be a list"),
        ({}, {"profiles": ["mini"]}, "table9.yaml: 'profiles' must be a mapping"),
        ({"profiles": {"mini": 3}}, {}, "base.yaml: 'profiles.mini' must be a mapping"),
    ],
)
def test_a_base_is_read_strictly(tmp_path, base, changes, message):
    with pytest.raises(UserError, match=message):
        write_table(tmp_path, base, **changes)


def test_groups_hold_methods_and_groups_but_never_themselves(tmp_path):
    table = write_table(tmp_path, groups={"all": ["few", "gppo"], "few": ["grpo", "aepo"]})
    assert list(table.rows("mini")) == ["grpo", "aepo", "gppo"] and list(table.rows("mini", ["few"])) == [
        "grpo",
        "aepo",
    ]
    with pytest.raises(UserError, match="grpo is named twice"):
        table.rows("mini", ["few", "grpo"])
    table = write_table(tmp_path, groups={"all": ["more"], "more": ["all"]})
    with pytest.raises(UserError, match="the group 'all' contains itself"):
        table.rows("mini")


def test_a_variant_is_a_method_with_changes_and_records_them(tmp_path):
    variants = {"slow": {"method": "grpo", "algorithm": {"clip_high": 0.3}, "training": {"learning_rate": 1e-4}}}
    table = write_table(tmp_path, variants=variants, methods=["grpo", "slow"], algorithm={"grpo": {"clip_low": 0.1}})
    plain, slow = table.jobs("mini")
    assert (slow.method, slow.variant, slow.name, plain.name) == ("grpo", "slow", "slow", "grpo")
    assert slow.algorithm == {"clip_low": 0.1, "clip_high": 0.3} and plain.algorithm == {"clip_low": 0.1}
    assert slow.training == dataclasses.replace(plain.training, learning_rate=1e-4)
    assert slow.training_changes == {"learning_rate": 1e-4} and plain.training_changes == {}
    assert slow.warm_start_job() == dataclasses.replace(plain.warm_start_job(), training=slow.training)
    assert manifest.config_hash(slow.warm_start_job()) == manifest.config_hash(plain.warm_start_job())


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"method": "grpo"}, "variants.v.method' alone changes nothing"),
        ({"method": "grpo", "lr": 1}, "unknown key 'variants.v.lr'"),
        ({"algorithm": {"clip_high": 0.3}}, "'variants.v.method' is missing"),
        ({"method": "grpo", "training": {"stpes": 1}}, "unknown key 'training.stpes'"),
        ({"method": "grpo", "training": {"temperature": 0.5}}, "share a warm start"),
        ({"method": "grpo", "algorithm": {"clip_high": 0.2}}, "'v' has the settings of 'grpo': it changes nothing"),
        ({"method": "aepo", "algorithm": {"clip_high": 0.3}}, "'w' equals the variant 'v'"),
        ({"method": "grop", "algorithm": {"clip_high": 0.3}}, "no method 'grop'"),
    ],
)
def test_a_variant_that_says_nothing_or_the_same_twice_is_refused(tmp_path, monkeypatch, variant, message):
    same = {"w": {"method": "aepo", "algorithm": {"clip_high": 0.3}}}
    with pytest.raises(UserError, match=message):
        table = write_table(tmp_path, variants={"v": variant, **same}, methods=["v", "w"])
        monkeypatch.setattr(TableConfig, "load", classmethod(lambda cls, name: table))
        runner.resolve("9", "mini")


def test_variants_have_names_of_their_own(tmp_path, monkeypatch):
    variants = {"aepo": {"method": "grpo", "algorithm": {"clip_high": 0.3}}}
    table = write_table(tmp_path, variants=variants, methods=["aepo"])
    monkeypatch.setattr(TableConfig, "load", classmethod(lambda cls, name: table))
    with pytest.raises(UserError, match="'aepo' has the name of a method"):
        runner.resolve("9", "mini")
    with pytest.raises(UserError, match="'variant'.*warm_start"):
        job(variant="warm_start")
    with pytest.raises(UserError, match="training_changes.learning_rate' is 0.5"):
        job(variant="v", training_changes={"learning_rate": 0.5})
    with pytest.raises(UserError, match="training_changes'"):
        job(training_changes={"learning_rate": 1e-3})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minibatches": [1, 1]}, "grid.minibatches' must list one value or more, each once"),
        ({"learning_rate": [0]}, r"grid.learning_rate\[0\]' must be positive, not 0"),
        ({"minibatches": [0.25]}, "grid.minibatches 0.25 of 2 is not whole"),
        ({"epochs": [1]}, "unknown key 'grid.epochs'"),
    ],
)
def test_a_grid_is_checked(tmp_path, changes, message):
    cells = {"methods": ["grpo"], "learning_rate": [1, 2], "minibatches": [1], **changes}
    with pytest.raises(UserError, match=message):
        write_table(tmp_path, grid=cells, methods=["grpo"]).jobs("mini")


def test_a_task_has_one_family_or_more(tmp_path):
    for families in ([], ["mini-math", "mini-math"], [1]):
        assert "'task.families" in refused({**CONFIG, "task": {**CONFIG["task"], "families": families}})


def test_a_profile_changes_single_keys_and_overrides_reach_their_method_only(tmp_path):
    data = {key: CONFIG[key] for key in ("task", "model", "warm_start", "training", "evaluation")}
    table = {
        "experiment": "table9",
        "methods": ["grpo", "aepo"],
        "seeds": [3],
        "algorithm": {"aepo": {"clip_high": 0.3}},
        "defaults": {**data, "entropy_tokens": 5},
        "profiles": {"mini": {}, "smoke": {"training": {"steps": 1}}},
    }
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
    with pytest.raises(UserError, match="no table '7'; tables: 1, 2, 3, 4, 5"):
        TableConfig.load(7)
    with pytest.raises(UserError, match="no profile 'huge'.*smoke, mini"):
        runner.resolve("2", "huge")
    with pytest.raises(UserError, match="no method 'grop'.*grpo"):
        runner.resolve("2", "smoke", ["grop"])
    with pytest.raises(UserError, match="seed 1 is named twice"):
        runner.resolve("2", "smoke", None, [1, 1])


def test_overrides_are_checked_and_a_missing_gpu_is_refused_before_anything_runs(monkeypatch):
    import torch

    load = TableConfig.load("2")
    monkeypatch.setitem(load.algorithm, "aepo", {"clip_hihg": 0.3})
    monkeypatch.setattr(TableConfig, "load", classmethod(lambda cls, table: load))
    with pytest.raises(UserError, match="clip_hihg"):
        runner.resolve("2", "smoke")
    load.algorithm.clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device"):
        runner.resolve("2", "gpu")
