"""Probabilities of an engine beside those of a full forward pass."""

import time

import torch
from tiny import encode, full_forward

from reproduce.rollouts.token_path import TokenPath
from reproduce.worlds.tool_server import ToolResult


def check_path(lm, path, temperature=1.0):
    """Sampled tokens of a path carry the log-prob and entropy of a full forward pass."""
    logps, entropies = full_forward(lm, path.prompt, path.completion, temperature)
    sampled = torch.tensor(path.sampled)
    assert sampled.any()
    torch.testing.assert_close(torch.tensor(path.logps)[sampled], logps[sampled], atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.tensor(path.entropies)[sampled], entropies[sampled], atol=1e-4, rtol=0)


PROMPT = encode("question : year of page")


def sampled(engine, count=4, budget=20, prompt=PROMPT):
    paths = [TokenPath.root(prompt) for _ in range(count)]
    for path in paths:
        path.budget = budget
    engine.run(paths, lambda done: [])
    return paths


def gap(lm, paths, temperature=1.0):
    """Largest difference of the paths' log-probs to a full forward pass of `lm`."""
    logps = [full_forward(lm, p.prompt, p.completion, temperature)[0].tolist() for p in paths]
    return max(abs(a - b) for row, p in zip(logps, paths, strict=True) for a, b in zip(row, p.logps, strict=True))


class Pages:
    """Answers every call by words enough to fill blocks of the cache, some calls late."""

    def start(self, question):
        return type("S", (), {"question": question, "fork": lambda self: self})()

    def run(self, calls):
        time.sleep(0.01 * (len(calls[0].content) % 3))
        return [ToolResult("page of year " * 12, call.tool, True) for call in calls]
