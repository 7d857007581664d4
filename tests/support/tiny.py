"""What several tests share: a tiny random model over the committed world's words, and a loop around it."""

import re
from functools import cache

import torch

from reproduce.rollouts.agent import AgentLoop, Grammar, Limits
from reproduce.rollouts.engines.transformers import TransformersEngine
from reproduce.seeding import torch_stream
from reproduce.training.tiny_model import build_model, build_tokenizer
from reproduce.worlds.miniweb.generator import load_world
from reproduce.worlds.miniweb.task import WORLDS
from reproduce.worlds.miniweb.tools import MiniWebTools
from reproduce.worlds.tool_server import Call


class LocalPrinter:
    """A CodeRunner for tests of everything but the sandbox: prints sums and maxima of two integers."""

    class Result:
        def __init__(self, ok, output, error=None):
            self.ok, self.output, self.error = ok, output, error

    def run_many(self, codes):
        results = []
        for code in codes:
            numbers = re.fullmatch(r"print \( (?:(\d+) \+ (\d+)|max \( (\d+) , (\d+) \)) \)", code)
            if numbers and numbers[1]:
                results.append(self.Result(True, str(int(numbers[1]) + int(numbers[2]))))
            elif numbers:
                results.append(self.Result(True, str(max(int(numbers[3]), int(numbers[4])))))
            else:
                results.append(self.Result(False, "", "SyntaxError: invalid syntax"))
        return results


@cache
def world():
    return load_world(WORLDS / "miniweb.jsonl")


def environment():
    return MiniWebTools(world(), LocalPrinter())


@cache
def tokenizer():
    return build_tokenizer(world())


def model(seed=0, scale=1.0, hidden_size=32, num_heads=4, num_kv_heads=2):
    """A 2-layer Qwen3; `scale` above 1 sharpens its distribution."""
    t = tokenizer()
    made = build_model(
        len(t),
        seed,
        hidden_size=hidden_size,
        num_layers=2,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        intermediate_size=64,
        pad_id=t.pad_token_id,
        bos_id=t.bos_token_id,
        eos_id=t.eos_token_id,
    )
    with torch.no_grad():
        made.lm_head.weight.mul_(scale)
    return made


def talker(seed=0):
    """A random model that likes to search."""
    made, t = model(seed=seed, scale=2.0), tokenizer()
    head = torch.nn.Linear(made.lm_head.in_features, made.lm_head.out_features)
    with torch.no_grad():
        head.weight.copy_(made.lm_head.weight)
        head.bias.zero_()
        for word, bias in {"</search>": 4.3, "<search>": 4.5, "<eos>": 2.0, "page": 4.0, "1": 4.0}.items():
            head.bias[t.convert_tokens_to_ids(word)] = bias
    made.lm_head = head
    return made


def engine(lm, seed=0, stop=None, temperature=1.0, **kwargs):
    grammar = Grammar(tokenizer())
    stop = list(grammar.close) if stop is None else stop
    return TransformersEngine(lm, stop, grammar.eos_id, temperature, torch_stream(seed, "test"), **kwargs)


def loop(lm, seed=0, limits=Limits(6, 96), **kwargs):
    return AgentLoop(engine(lm, seed, **kwargs), environment(), Call, Grammar(tokenizer()), limits)


def encode(text):
    t = tokenizer()
    return [t.bos_token_id, *t.encode(text, add_special_tokens=False)]


@torch.no_grad()
def full_forward(lm, prompt, completion, temperature=1.0):
    """Log-probs and entropies of a completion from one forward pass over the whole sequence."""
    ids = torch.tensor([list(prompt) + list(completion)])
    logits = lm.eval()(input_ids=ids).logits[0, len(prompt) - 1 : -1].float() / temperature
    logps = torch.log_softmax(logits, -1)
    picked = logps.gather(1, torch.tensor(completion)[:, None])[:, 0]
    return picked, -(logps.exp() * logps).sum(-1)


def state(trainer, name: str):
    """What the method of `trainer` carries under that name, or None."""
    return next((one for one in trainer.states if one.name == name), None)


def critic_weights(trainer) -> dict[str, torch.Tensor]:
    """By name; empty for a method without a critic."""
    critic = state(trainer, "critic")
    return {} if critic is None else dict(critic.network.state_dict())
