"""What the tests of episodes share: MiniHouse at toy size, and an engine that plays what it is told."""

from dataclasses import replace
from functools import cache

import torch
from datasets import Dataset

from reproduce.algorithms import load
from reproduce.config.tables import TableConfig
from reproduce.rollouts.token_path import Engine
from reproduce.runs.directory import RunDirectory
from reproduce.training import setup
from reproduce.training.tiny_model import build_model
from reproduce.training.trainer import AgenticTrainer
from reproduce.training.trl_config import grpo_config, question_indices
from reproduce.worlds.minihouse.task import committed_games, stepper_task
from reproduce.worlds.rewards import Reward


def config(method="grpo", turns=4, episodes=None, **training):
    job = TableConfig.load(3).jobs("smoke", [method], [0])[0]
    changes = dict(steps=2, prompts_per_step=2, group_size=4, epochs=2, minibatches=2, learning_rate=3e-3)
    task = replace(job.task, max_tool_calls=turns, episodes=replace(job.task.episodes, **(episodes or {})))
    return replace(job, task=task, training=replace(job.training, **{**changes, **training}))


@cache
def loaded():
    """One setup and one tokenizer for all tests."""
    made = setup_of(config())
    return made, made.tokenizer()


def setup_of(job, host=None):
    """A setup of `job` over the games that are loaded already."""
    return setup.setup_of(job, stepper_task(job, committed_games()), host)


def model(seed=0, scale=2.0):
    """A 2-layer Qwen3 over MiniHouse's words; `scale` above 1 sharpens its distribution."""
    t = loaded()[1]
    made = build_model(
        len(t),
        seed,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        intermediate_size=64,
        pad_id=t.pad_token_id,
        bos_id=t.bos_token_id,
        eos_id=t.eos_token_id,
    )
    with torch.no_grad():
        made.lm_head.weight.mul_(scale)
    return made


def collector(lm=None, job=None, **kwargs):
    made = setup_of(job or config())
    return made.collector(lm or model(), made.grammar(loaded()[1]), seed=0, **kwargs)


class Told(Engine):
    """An engine that answers with `say(number of the path, path)`, every token at log-probability -1."""

    def __init__(self, grammar, say):
        self.grammar, self.say = grammar, say

    def run(self, paths, advance, tools=None):
        for number, path in enumerate(paths):
            for token in self.grammar.encode(self.say(number, path)):
                path.add_sampled(token, -1.0, 0.5)
            path.finish = "stop"
        assert advance(paths) == []


def trainer(folder, job, lm=None, varied=True, checks=None, rate_factor=None, host=None, **overrides):
    """A trainer on MiniHouse; varied: a reward that differs between episodes, for a model that never wins."""
    lm = model() if lm is None else lm
    own = setup_of(job, host)
    made = own.collector(lm, own.grammar(loaded()[1]), job.seed)
    if varied:
        made._score = lambda e: Reward(e.length % 5 / 4, 0.0, True, "", e.length % 5 == 4)
    t = job.training
    questions = own.task.train_questions(t.steps * t.prompts_per_step, 1)
    rows = [{"prompt": own.task.prompt(questions[max(0, i)]), "index": i} for i in question_indices(t)]
    run = RunDirectory.open(folder / "run", job)
    return AgenticTrainer(
        algorithm=load(job.method, **overrides),
        collector=made,
        questions=questions,
        run=run,
        entropy_tokens=3,
        model=lm,
        processing_class=loaded()[1],
        train_dataset=Dataset.from_list(rows),
        checks=checks,
        args=grpo_config(run.checkpoints, t, job.task.max_completion_tokens, job.seed),
        rate_factor=rate_factor,
        group_size=t.group_size,
    )
