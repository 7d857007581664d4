"""Optional packages: a job that needs one is refused, in one line, before anything runs."""

import dataclasses
import importlib.util

import pytest

from reproduce.config.engine import EngineConfig
from reproduce.config.sections import LoraConfig
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.grid import command_lines, runner
from reproduce.training import installed
from reproduce.training.prepare import prepare_warm_start


def missing(monkeypatch, *names):
    """Makes packages look as if they were not installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in names else found(name, *a))
    for module in (installed, command_lines):
        monkeypatch.setattr(module, "find_spec", importlib.util.find_spec)


def job(**training):
    made = TableConfig.load(2).jobs("smoke", ["grpo"], [0])[0]
    return dataclasses.replace(made, training=dataclasses.replace(made.training, **training))


def test_lora_without_peft_is_refused_before_the_warm_start(monkeypatch, tmp_path):
    missing(monkeypatch, "peft")
    monkeypatch.setattr(runner, "resolve", lambda *a: [job(lora=LoraConfig())])
    runs = tmp_path / "runs"
    for begin in (lambda j: runner.train("2", "smoke", runs_root=runs), lambda j: prepare_warm_start(j, runs)):
        with pytest.raises(UserError, match="training.lora .*peft"):
            begin(job(lora=LoraConfig()))
    assert not any(tmp_path.iterdir())
    installed.check_installed([job()])


def test_vllm_is_asked_for_before_the_warm_start(monkeypatch):
    monkeypatch.setattr("reproduce.rollouts.engines.vllm_install.vllm_version", lambda: None)
    with pytest.raises(UserError, match="engine.name: .*pip install"):
        installed.check_installed([job(), dataclasses.replace(job(), method="aepo", engine=EngineConfig())])


@pytest.mark.parametrize(
    ("profile", "package", "line"),
    [("smoke-scienceworld", "scienceworld", "scienceworld"), ("smoke-alfworld", "alfworld", "alfworld")],
)
def test_the_packages_of_a_world_are_asked_for(monkeypatch, profile, package, line):
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    (made,) = TableConfig.load(3).jobs(profile, ["grpo"], [0])
    with pytest.raises(UserError, match=f"{line}.* not installed.*requirements-envs.txt"):
        installed.check_installed([made])


def test_deepspeed_is_asked_for_by_the_configs_that_need_it(monkeypatch):
    missing(monkeypatch, "deepspeed")
    for name in ("zero3", "zero3_nodes"):
        with pytest.raises(UserError, match=f"{name}.yaml .*deepspeed"):
            command_lines.accelerate_config(name)
    assert command_lines.accelerate_config("fsdp").name == "fsdp.yaml"
