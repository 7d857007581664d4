"""Train and evaluate one method with one seed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset

from reproduce.algorithms import load
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.evaluation.checks import Checks
from reproduce.rollouts.collector import Collector
from reproduce.runs.directory import RunDirectory
from reproduce.seeding import child_seed
from reproduce.tools.sandbox import probe
from reproduce.training.checkpoints import last_checkpoint
from reproduce.training.evaluated import Validation, keep_episodes, panel_rows, with_verdicts
from reproduce.training.layout import layout_of
from reproduce.training.parallel import own_device, process_index, processes
from reproduce.training.sampler_copy import divided, prepared
from reproduce.training.schedule import cosine_factor
from reproduce.training.setup import open_setup
from reproduce.training.shards import Shards
from reproduce.training.token_log import TokenLog
from reproduce.training.trackers import reported
from reproduce.training.trainer import AgenticTrainer
from reproduce.training.trajectory_budget import TrajectoryBudget
from reproduce.training.trl_config import grpo_config, question_indices
from reproduce.training.warm_start import load_warm_start
from reproduce.worlds.registry import world_of


def run_job(config: JobConfig, run: RunDirectory, warm_start: Path) -> None:
    """Trains `config.method` from the warm start, resuming where the run directory stands, then evaluates it.

    The last checkpoint is what is evaluated, never the best.

    Args:
        config: of the run.
        run: its directory, which says where to go on.
        warm_start: folder of the warm start.

    Raises:
        UserError: settings do not fit together or to this machine.
    """
    algorithm = load(config.method, **config.algorithm)
    if "entropy_tokens" not in config.algorithm:
        algorithm = algorithm.with_overrides(rollout=algorithm.rollout.with_entropy_tokens(config.entropy_tokens))
    if config.training.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("training.device is cuda, but torch finds no CUDA device; use PROFILE=mini on this machine")
    if world_of(config.task).runs_code and process_index() == 0:
        run.note(sandbox=probe().name)
    with full_card_named(config), open_setup(config) as setup, reported(run, config) as seen:
        device = own_device(config.training.device)
        model, grammar = load_warm_start(warm_start, device, config.training.dtype, setup.grammar)
        copied = not setup.host.own_weights or algorithm.rollout.scored_by_model
        policy = prepared(model, config.training.lora, config.seed, copied, bool(config.training.stale_steps))
        evaluated = setup.collector(policy[1], grammar, config.seed, config.evaluation.temperature)
        keep_episodes(setup, run, evaluated, f"evaluated-{process_index()}")
        tokens = _tokens_of_a_pass(config, device)
        if tokens is not None and process_index() == 0:
            run.note(tokens_per_pass=tokens)
        trainer = _trainer(config, seen, setup, policy, grammar, evaluated, algorithm, tokens)
        checkpoint = last_checkpoint(run.checkpoints)
        done = 0 if checkpoint is None else int(checkpoint.name.rsplit("-", 1)[1]) // trainer.updates_per_step
        run.drop_steps_after(done)
        if done < config.training.steps and not (checkpoint and trainer.ended_at(checkpoint)):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        else:
            trainer.load_checkpoint(checkpoint)
        started = time.perf_counter()
        trainer.refresh_sampler()
        rows = panel_rows(config, evaluated, "last", run.progress)
        run.write_eval(with_verdicts(config, setup, rows, run) if process_index() == 0 else rows)
    run.finish({"seconds_eval": time.perf_counter() - started})


@contextmanager
def full_card_named(config: JobConfig) -> Iterator[None]:
    """While open, a card whose memory is full is a UserError that says which setting to change."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        from reproduce.training.memory import estimate, lever

        card = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
        found = estimate(config, card, processes(), divided())
        said = str(error).splitlines()[0][:120]
        raise UserError(f"the GPU's memory is full ({said}); by estimate {lever(found)}") from None


def _tokens_of_a_pass(config: JobConfig, device: str) -> int | None:
    """`training.tokens_per_pass`; where it is None, on a card, the most that fit by estimate."""
    if config.training.tokens_per_pass is not None or device == "cpu":
        return config.training.tokens_per_pass
    from reproduce.training.memory import tokens_of_a_pass

    card = float(torch.cuda.get_device_properties(device).total_memory)
    return tokens_of_a_pass(config, card, processes(), divided())


def _trainer(config, run, setup, policy, grammar, evaluated, algorithm, tokens) -> AgenticTrainer:
    """run: the run directory, or what reports to trackers too. policy: what `prepared` gave. evaluated: the collector
    of evaluations. tokens: of a pass."""
    t, c = config.training, config.evaluation.checks
    trained, sampled, replica = policy
    collector = _collector(config, setup, run, sampled, grammar)
    questions = setup.task.train_questions(t.steps * t.prompts_per_step, child_seed(config.seed, "data"))
    rows = [{"prompt": setup.task.prompt(questions[max(0, i)]), "index": i} for i in question_indices(t)]
    return AgenticTrainer(
        algorithm=algorithm,
        collector=collector,
        questions=questions,
        run=run,
        entropy_tokens=config.entropy_tokens,
        checks=None if c is None else Checks(evaluated, c.every, c.questions),
        validation=None if config.evaluation.validation is None else Validation(config, evaluated),
        budget=TrajectoryBudget(t) if t.trajectory_budget else None,
        token_log=None if t.token_log is None else TokenLog(config, algorithm, grammar.tokenizer.decode),
        model=trained,
        replica=replica,
        processing_class=grammar.tokenizer,
        train_dataset=Dataset.from_list(rows),
        args=grpo_config(run.checkpoints, t, config.task.max_completion_tokens, config.seed),
        rate_factor=_rate_factor(t),
        group_size=t.group_size,
        measure_kl=t.measure_kl,
        offload_optimizer=t.offload_optimizer,
        layout=layout_of(t),
        tokens_per_pass=tokens,
        stale_steps=t.stale_steps or 0,
    )


def _rate_factor(training):
    """RL step -> factor on the learning rate, or None where it is constant."""
    s = training.schedule
    if s is None:
        return None
    return partial(cosine_factor, steps=training.steps, warmup_share=s.warmup_share, floor=s.floor)


def _collector(config, setup, run, model, grammar) -> Collector | Shards:
    count = config.training.rollout_shards or 1
    seeds = [config.seed] if count == 1 else [child_seed(config.seed, "shard", s) for s in range(count)]
    collectors = [setup.collector(model, grammar, seed) for seed in seeds]
    for shard, collector in enumerate(collectors):
        keep_episodes(setup, run, collector, f"shard-{shard}")
    return collectors[0] if count == 1 else Shards(collectors)
