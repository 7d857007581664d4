"""One of two processes that share a vLLM: the first runs agents with tools in threads, the second follows its steps."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.distributed as dist

dist.init_process_group("gloo")

import vllm_tiny  # noqa: E402
from engine_checks import PROMPT, Pages, check_path, gap, sampled  # noqa: E402
from tiny import tokenizer  # noqa: E402

from reproduce.algorithms.policies import AEPORollout  # noqa: E402
from reproduce.errors import UserError  # noqa: E402
from reproduce.rollouts.agent import AgentLoop, Grammar, Limits  # noqa: E402
from reproduce.rollouts.engines.host import open_engine  # noqa: E402
from reproduce.rollouts.token_path import TokenPath  # noqa: E402
from reproduce.rollouts.tools import ToolPool  # noqa: E402
from reproduce.worlds.tool_server import Call  # noqa: E402

GRAMMAR = Grammar(tokenizer())


def tree(host, lm):
    """A tree of trajectories, whose calls are answered in threads, some late."""
    engine = host.engine(lm, GRAMMAR, 0.8, 0, "test")
    with ToolPool(Pages(), 4) as tools:
        loop = AgentLoop(engine, Pages(), Call, GRAMMAR, Limits(4, 200), tools)
        policy = AEPORollout(entropy_tokens=4, beta=50.0)
        rollout = loop.rollout(["a", "b"], [PROMPT, PROMPT[:-1]], 6, policy, np.random.default_rng(0))
    assert rollout.tool_calls > 0
    for path in (t.path for group in rollout.groups for t in group):
        check_path(lm, path, 0.8)
    return True


def aborted(host, lm):
    """A tool breaks while others sample on; then everything begins anew."""
    engine = host.engine(lm, GRAMMAR, 1.0, 1, "test")
    paths = [TokenPath.root(PROMPT) for _ in range(4)]
    for number, path in enumerate(paths):
        path.budget = 3 if number == 0 else 60

    def fail(done):
        raise OSError("a tool broke")

    try:
        engine.run(paths, fail)
    except OSError:
        pass
    assert gap(lm, sampled(host.engine(lm, GRAMMAR, 1.0, 2, "test"), 3)) < 1e-4
    return True


def broken(host, lm):
    raise OSError("the leader broke")


if __name__ == "__main__":
    first = dist.get_rank() == 0
    lm = vllm_tiny.calling(vllm_tiny.model(scale=3.0))
    host = open_engine(replace(vllm_tiny.CONFIG, tensor_parallel=2), 2)
    host.refresh(lm)
    part = host._sampler.sampler
    (held,) = part._llm.apply_model(lambda model: sum(p.numel() for p in model.parameters()))
    assert held < 0.75 * sum(p.numel() for p in lm.parameters()), "each process has a part of the weights"
    segments, step = [], part.step

    def stepped():
        found = step()
        segments.extend(found)
        return found

    part.step = stepped
    for work in (tree, aborted, tree):
        assert host.led(partial(work, host, lm)) is (True if first else None)
        with torch.no_grad():
            for parameter in lm.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        host.rest()
        host.weights_changed()
        host.refresh(lm)
    both = [None, None]
    dist.all_gather_object(both, segments)
    assert len(segments) > 30 and both[0] == both[1], "the second process sampled the same tokens and log-probs"
    try:
        host.led(partial(broken, host, lm))
        raise AssertionError("nobody heard of it")
    except OSError:
        assert first
    except UserError as error:
        assert not first and "process 0" in str(error)
    host.close()
    dist.destroy_process_group()
