"""Processes that share a vLLM: one runs the agents, the others take its steps. And processes that share weights."""

import pytest
import vllm_tiny
from engine_checks import PROMPT, gap, sampled
from forward_sampler import ForwardSampler
from process_groups import launched, together
from torch import distributed

from reproduce.errors import UserError
from reproduce.rollouts.engines.vllm_engine import VllmEngine
from reproduce.rollouts.engines.vllm_group import Together
from reproduce.rollouts.engines.vllm_install import vllm_version
from reproduce.rollouts.token_path import TokenPath


def in_two_groups(words):
    """Each of four processes: two groups of two, whose leaders sample other things, fail, and go on."""
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    lm, seen = vllm_tiny.model(scale=3.0), []
    own = ForwardSampler(lm, 8)
    step = own.step

    def watched():
        found = step()
        seen.extend(found)
        return found

    own.step = watched
    shared = Together(own, 2)
    assert shared.leads == (rank % 2 == 0)
    with pytest.raises(RuntimeError, match="led"):
        shared.add(None)
    shared.load(lm)

    def work():
        engine = VllmEngine(shared, [], 0, 1.0, seed=rank)
        assert gap(lm, sampled(engine, 2 + rank, 5)) < 1e-4
        with pytest.raises(OSError):
            engine.run([path_of(2), path_of(9)], lambda done: (_ for _ in ()).throw(OSError("a tool broke")))
        return gap(lm, sampled(engine, 3, 4)) < 1e-4

    assert shared.led(work) is (True if shared.leads else None)
    assert len(seen) == 2 + rank // 2 * 2 + 1 + 3 and not own.open
    every = [None] * 4
    distributed.all_gather_object(every, seen)
    assert every[0] == every[1] != every[2] == every[3]
    with pytest.raises(OSError if shared.leads else UserError, match="broke" if shared.leads else "process [02]"):
        shared.led(lambda: (_ for _ in ()).throw(OSError("it broke")))
    distributed.destroy_process_group()


def path_of(budget):
    path = TokenPath.root(PROMPT)
    path.budget = budget
    return path


def test_followers_sample_what_their_leader_samples_through_aborts_and_failures():
    assert together(in_two_groups, 4, []) == [0, 0, 0, 0]


@pytest.mark.slow
@pytest.mark.skipif(vllm_version() is None, reason=vllm_tiny.MISSING)
def test_two_processes_share_a_vllm():
    """Agents with threads, aborts, new weights, sleep; log-probs as of a full pass, the same bits in both processes."""
    assert launched("vllm_shared.py", 2) == [0, 0]


@pytest.mark.slow
@pytest.mark.skipif(vllm_version() is None, reason=vllm_tiny.MISSING)
def test_weights_that_processes_train_in_parts_reach_the_vllm_of_each():
    """FSDP 2: after every update vLLM's log-probs are those of the weights put together, to float32's rounding."""
    assert launched("vllm_divided.py", 2) == [0, 0]
