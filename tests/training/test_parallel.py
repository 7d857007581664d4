"""Two processes train as one does: the same rollouts, losses, gradients and records, and the same after a kill."""

import os
import subprocess
import sys

import parallel_child
import pytest
import torch
from places import PYTHONPATH, TESTS
from process_groups import run, same

from reproduce.errors import UserError
from reproduce.training import parallel
from reproduce.training.checkpoints import last_checkpoint
from reproduce.training.fully_sharded import divide_trained
from reproduce.training.sampler_copy import load_whole

METHODS = ["dapo", "aepo", "ppo+epo", "gigpo", "aepo-released", "epo-released"]


def test_two_processes_train_as_one(tmp_path):
    one, two = (run(tmp_path / str(count), "grpo", count, "steps=1") for count in (1, 2))
    same(one, two)
    rollouts = [next((tmp_path / str(count) / "run" / "parts").glob("*.rollouts.parquet")) for count in (1, 2)]
    assert rollouts[0].read_bytes() == rollouts[1].read_bytes(), "what is sampled does not depend on the processes"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_statistic_is_that_of_the_whole_batch(tmp_path, method):
    """Group filters, entropy scores, a critic and an entropy history, step groups, micro-batches, released terms."""
    same(*(run(tmp_path / str(count), method, count) for count in (1, 2)))


@pytest.mark.slow
def test_rows_of_single_turns_are_shared_out_too(tmp_path):
    """Their number is any: the processes pass unequal numbers of rows, and at times none."""
    same(
        *(
            run(tmp_path / str(count), "ppo+epo", count, "house=1", "minibatches=2", 'dtype="float64"')
            for count in (1, 2)
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize(("method", "count"), [("grpo", 2), ("ppo+epo", 3), ("ppo+epo-released", 2)])
def test_divided_weights_train_as_whole_ones(tmp_path, method, count):
    """FSDP, with unequal numbers of micro-batches: a policy alone, one with a critic, one with critic and reference."""
    words = ['dtype="float64"', "rollout_shards=6", "prompts_per_step=6"]
    one = run(tmp_path / "one", method, 1, *words, "measure_kl=false")
    more = run(tmp_path / "more", method, count, *words, "tokens_per_pass=150", "fsdp=1", "measure_kl=false")
    same(one, more, tolerance=1e-6)  # Adam makes a step of the rounding of a gradient near 0
    torch.testing.assert_close(more[0]["gradients"][0], one[0]["gradients"][0], atol=1e-12, rtol=0)
    for part in ("weights", "critic"):
        assert one[0][part].keys() == more[0][part].keys()
        for name, value in one[0][part].items():
            torch.testing.assert_close(more[0][part][name], value, atol=1e-6, rtol=0)
    held = more[0]["held"]
    assert held.keys() == {
        "policy",
        *(["critic"] if "ppo" in method else []),
        *(["reference"] if "rel" in method else []),
    }
    assert all(share < 1.1 / count for share in held.values()), "a process holds its part of every network"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "ppo"])
def test_divided_weights_killed_and_resumed_equal_uninterrupted(tmp_path, method):
    whole = run(tmp_path / "whole", method, 2, "steps=3", "fsdp=1")
    run(tmp_path / "halves", method, 2, "steps=3", "fsdp=1", "stop=2")
    for part in (tmp_path / "halves" / "run" / "parts").glob("000003.*"):
        part.unlink()
    halves = run(tmp_path / "halves", method, 2, "steps=3", "fsdp=1")
    assert whole[0]["losses"][8:] == halves[0]["losses"] and whole[0]["values"][8:] == halves[0]["values"]
    for part in ("weights", "critic"):
        assert all(torch.equal(value, halves[0][part][name]) for name, value in whole[0][part].items())
    made = parallel_child.built(tmp_path / "alone", parallel_child.config(method, {}))
    load_whole(made.model, last_checkpoint(tmp_path / "halves" / "run" / "checkpoints"))
    for name, value in made.model.state_dict().items():
        assert torch.equal(value, halves[0]["weights"][name]), "what is evaluated after a kill is the last checkpoint"


@pytest.mark.slow
def test_the_shards_and_not_the_processes_decide_what_is_sampled(tmp_path):
    two = run(tmp_path / "two", "grpo", 1, "steps=1")
    one = run(tmp_path / "one", "grpo", 1, "steps=1", "rollout_shards=null")
    assert two[0]["losses"] != pytest.approx(one[0]["losses"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ppo+epo", "arpo-released"])
def test_two_processes_killed_and_resumed_equal_uninterrupted(tmp_path, method):
    """Policy, critic, optimisers, entropy history, remembered entropies of each shard, data and shuffling go on."""
    whole = run(tmp_path / "whole", method, 2, "steps=4")
    run(tmp_path / "halves", method, 2, "steps=4", "stop=2")
    checkpoint = last_checkpoint(tmp_path / "halves" / "run" / "checkpoints")
    assert checkpoint.name == "checkpoint-8" and (checkpoint / "rng_state_1.pth").is_file()
    for part in (tmp_path / "halves" / "run" / "parts").glob("000003.*"):
        part.unlink()  # as `RunDirectory.drop_steps_after` does before a run goes on
    halves = run(tmp_path / "halves", method, 2, "steps=4")
    assert whole[0]["losses"][8:] == halves[0]["losses"]
    for part in ("weights", "critic"):
        assert whole[0][part].keys() == halves[0][part].keys()
        assert all(torch.equal(value, halves[0][part][name]) for name, value in whole[0][part].items())
    assert [str(step) for step in whole[1]] == [str(step) for step in halves[1]]


@pytest.mark.slow
def test_rollouts_ahead_do_not_meet_the_exchange_of_gradients(tmp_path):
    same(*(run(tmp_path / str(count), "dapo", count, "steps=3", "stale_steps=1") for count in (1, 2)))


@pytest.mark.slow
def test_rollouts_ahead_of_divided_weights_killed_and_resumed_equal_uninterrupted(tmp_path):
    whole = run(tmp_path / "whole", "grpo", 2, "steps=4", "stale_steps=1", "fsdp=1")
    run(tmp_path / "halves", "grpo", 2, "steps=4", "stale_steps=1", "fsdp=1", "stop=2")
    for part in (tmp_path / "halves" / "run" / "parts").glob("000003.*"):
        part.unlink()
    halves = run(tmp_path / "halves", "grpo", 2, "steps=4", "stale_steps=1", "fsdp=1")
    assert whole[0]["losses"][8:] == halves[0]["losses"]
    assert [str(step) for step in whole[1]] == [str(step) for step in halves[1]]


@pytest.mark.slow
def test_a_checkpoint_of_two_processes_is_refused_by_one(tmp_path):
    run(tmp_path, "grpo", 2, "steps=1")
    made = parallel_child.built(tmp_path, parallel_child.config("grpo", {"steps": 1}))
    with pytest.raises(UserError, match=r"checkpoint-4 .* 2 processes, .* 1"):
        made.load_checkpoint(last_checkpoint(made.run.checkpoints))


@pytest.mark.slow
def test_the_launcher_of_torch_gives_the_same(tmp_path):
    """Through `torch.distributed.run`, which accelerate and Slurm end in, and not by forks of this process."""
    one = run(tmp_path / "one", "grpo", 1, "steps=1")
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    (tmp_path / "two").mkdir()
    words += [str(TESTS / "support" / "parallel_child.py"), str(tmp_path / "two"), "grpo", "steps=1"]
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    same(one, (torch.load(tmp_path / "two" / "record.pt"), parallel_child.steps(tmp_path / "two")))


def test_without_cards_weights_are_divided_by_fsdp_alone(tmp_path, monkeypatch):
    made = parallel_child.built(tmp_path, parallel_child.config("grpo", {"rollout_shards": None}))
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UserError, match="on CPUs .* take fsdp_cpu"):
        divide_trained(made.accelerator, made.model)


def test_work_that_cannot_be_divided_is_refused_by_name(monkeypatch):
    training = parallel_child.config("grpo", {}).training
    parallel.check_division(training)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match=r"4 processes .*training.rollout_shards: 2"):
        parallel.check_division(training)
    monkeypatch.setenv("WORLD_SIZE", "2")
    odd = parallel_child.config("grpo", {"prompts_per_step": 2, "group_size": 3}).training
    with pytest.raises(UserError, match=r"2 processes .* 3 trajectories"):
        parallel.check_division(odd)
