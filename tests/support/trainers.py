"""A trainer on a tiny model and MiniWeb, for tests that take real steps."""

from dataclasses import replace

from datasets import Dataset
from tiny import LocalPrinter, model, tokenizer

from reproduce.algorithms import load
from reproduce.config.tables import TableConfig
from reproduce.rollouts.agent import Grammar, Limits
from reproduce.rollouts.collector import Collector
from reproduce.runs.directory import RunDirectory
from reproduce.training.sampler_copy import prepared
from reproduce.training.trainer import AgenticTrainer
from reproduce.training.trajectory_budget import TrajectoryBudget
from reproduce.training.trl_config import grpo_config
from reproduce.worlds.miniweb.task import open_task
from reproduce.worlds.rewards import Reward


def config(method="grpo", **training):
    job = TableConfig.load(2).jobs("smoke", [method], [0])[0]
    changes = dict(steps=2, prompts_per_step=2, group_size=4, epochs=2, minibatches=2, learning_rate=3e-3)
    return replace(job, training=replace(job.training, **{**changes, **training}))


def _by_length(fifth: int) -> Reward:
    return Reward(fifth / 4, 0.0, True, f"answer {fifth}", fifth == 4)


def trainer(tmp_path, job, lm=None, varied=True, **overrides):
    lm = model(scale=2.0) if lm is None else lm
    task = open_task("mini-deepsearch", "miniweb", LocalPrinter(), -1.0, 0.1)
    if varied:  # a random model fails everywhere; a reward that varies gives it something to learn
        task.score = lambda question, text: _by_length(len(text) % 5)
    t = job.training
    _, sampled, replica = prepared(lm, None, job.seed, stale=bool(t.stale_steps))
    collector = Collector(task, sampled, Grammar(tokenizer()), Limits(4, 64), 1.0, job.seed)
    questions = task.train_questions(t.steps * t.prompts_per_step, 1)
    rows = [{"prompt": task.prompt(q), "index": i} for i, q in enumerate(questions)]
    algorithm = load(job.method, **overrides)
    algorithm = algorithm.with_overrides(rollout=algorithm.rollout.with_entropy_tokens(3))
    run = RunDirectory.open(tmp_path / "run", job)
    return AgenticTrainer(
        algorithm=algorithm,
        collector=collector,
        questions=questions,
        run=run,
        entropy_tokens=3,
        model=lm,
        processing_class=tokenizer(),
        train_dataset=Dataset.from_list(rows),
        args=grpo_config(run.checkpoints, t, 64, job.seed),
        replica=replica,
        stale_steps=t.stale_steps or 0,
        budget=TrajectoryBudget(t) if t.trajectory_budget else None,
    )
