"""vLLM's settings that a config leaves open, settled for a run of a table before anything is loaded."""

from dataclasses import replace

import pytest

from reproduce.config.engine import EngineConfig
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.rollouts.engines.memory_share import GB
from reproduce.training.engine_settings import settled
from reproduce.training.flops import HUB
from reproduce.training.setup import open_setup

SHAPE = HUB["Qwen/Qwen3-14B"]


def job(**engine):
    of_table = TableConfig.load(2).jobs("smoke", ["grpo"], [0])[0]
    training = replace(of_table.training, dtype="bfloat16")
    return replace(of_table, training=training, engine=EngineConfig(max_context=8192, **engine))


def test_cards_and_share_follow_from_the_model_and_given_ones_stay():
    found = settled(job(), SHAPE, 7216, 80 * GB, 29.5 * GB, 8, 8)
    assert found.tensor_parallel == 1 and 0.6 < found.memory_share < 0.65
    assert settled(job(), SHAPE, 7216, 40 * GB, 10 * GB, 8, 8).tensor_parallel == 2
    given = settled(job(memory_share=0.5, tensor_parallel=2), SHAPE, 7216, 80 * GB, 0.0, 8, 8)
    assert (given.memory_share, given.tensor_parallel) == (0.5, 2)
    fixed = settled(job(kv_cache_gb=4.0), SHAPE, 7216, 80 * GB, 0.0, 8, 8)
    assert fixed.memory_share is None, "the cache is given, and nothing is to be shared out"
    on_cpu = settled(job(), SHAPE, 7216, 0.0, 0.0, 2, 2)
    assert (on_cpu.memory_share, on_cpu.tensor_parallel) == (None, 1)


@pytest.mark.parametrize(
    ("engine", "problem"),
    [
        ({"tensor_parallel": 3}, "engine.tensor_parallel: 3 does not divide the 4 attention heads"),
        ({"tensor_parallel": 2}, "engine.tensor_parallel: 2 does not divide the 1 processes of a node"),
    ],
)
def test_a_run_says_so_before_it_loads_a_model(engine, problem):
    with pytest.raises(UserError, match=f"^{problem}"):
        with open_setup(job(**engine)):
            raise AssertionError("it opened")


def test_a_share_below_the_weights_is_told():
    with pytest.raises(UserError, match="engine.memory_share: 0.3 of a card of 80.0 GB is less than"):
        settled(job(memory_share=0.3), SHAPE, 7216, 80 * GB, 0.0, 8, 8)
