"""What one process does: prepare a table's warm start, or train and evaluate one method with one seed."""

import time
from dataclasses import asdict
from pathlib import Path

import torch
from datasets import Dataset

from reproduce.algorithms import load
from reproduce.errors import UserError
from reproduce.evaluation.checks import Checks
from reproduce.evaluation.evaluate import evaluate
from reproduce.experiments.config import JobConfig
from reproduce.rollouts.grammar import Grammar
from reproduce.runs.directory import RunDirectory
from reproduce.runs.manifest import warm_start_hash
from reproduce.seeding import child_seed
from reproduce.training.setups import open_setup
from reproduce.training.tiny_model import build_model
from reproduce.training.trainer import AgenticTrainer, grpo_config, last_checkpoint
from reproduce.training.warm_start import load_warm_start, train_warm_start


def prepare_warm_start(config: JobConfig, root: Path) -> Path:
    """Folder of the warm start that `config` asks for, trained if no run has needed it before, and evaluated.

    Cached under `<root>/<profile>/warm_starts/<hash>/`; the hash covers model, task, world files and SFT.
    """
    folder = Path(root) / config.profile / "warm_starts" / warm_start_hash(config)
    job = config.warm_start_job()
    run = RunDirectory.open(job.directory(Path(root)), job)
    if folder.is_dir() and run.status == "finished":
        return folder
    started = time.perf_counter()
    with open_setup(config) as setup:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            tokenizer = setup.tokenizer()
            shape = {k: v for k, v in asdict(config.model).items() if k != "name_or_path"}
            model = build_model(
                len(tokenizer), config.warm_start.seed, **shape, pad_id=tokenizer.pad_token_id,
                bos_id=tokenizer.bos_token_id, eos_id=tokenizer.eos_token_id,
            ).to(config.training.device)  # fmt: skip
            collector = setup.collector(model, Grammar(tokenizer, setup.tools), config.warm_start.seed)
            rows = setup.demonstrations(collector)
            train_warm_start(model, collector, config.warm_start, rows, folder, run.progress)
        model, grammar = load_warm_start(folder, config.training.device, config.training.dtype, setup.tools)
        trained = time.perf_counter()
        collector = setup.collector(model, grammar, config.warm_start.seed, config.evaluation.temperature)
        e = config.evaluation
        run.write_eval(evaluate(collector, e.split, e.questions, e.samples, "warm_start", run.progress))
    run.finish({"seconds_train": trained - started, "seconds_eval": time.perf_counter() - trained})
    return folder


def run_job(config: JobConfig, run: RunDirectory, warm_start: Path) -> None:
    """Trains `config.method` from the warm start, resuming where the run directory stands, then evaluates it.

    The last checkpoint is what is evaluated, never the best. Raises UserError on settings that do not fit together.
    """
    algorithm = load(config.method, **config.algorithm)
    if "entropy_tokens" not in config.algorithm:
        algorithm = algorithm.with_overrides(rollout=algorithm.rollout.with_entropy_tokens(config.entropy_tokens))
    if config.training.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("training.device is cuda, but torch finds no CUDA device; use PROFILE=mini on this machine")
    with open_setup(config) as setup:
        model, grammar = load_warm_start(warm_start, config.training.device, config.training.dtype, setup.tools)
        evaluated = setup.collector(model, grammar, config.seed, config.evaluation.temperature)
        trainer = _trainer(config, run, setup, model, grammar, evaluated, algorithm)
        checkpoint = last_checkpoint(run.checkpoints)
        done = 0 if checkpoint is None else int(checkpoint.name.rsplit("-", 1)[1]) // trainer.updates_per_step
        run.drop_steps_after(done)
        if done < config.training.steps:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        else:
            trainer._load_from_checkpoint(str(checkpoint))
        started = time.perf_counter()
        e = config.evaluation
        run.write_eval(evaluate(evaluated, e.split, e.questions, e.samples, "last", run.progress))
    run.finish({"seconds_eval": time.perf_counter() - started})


def _trainer(config, run, setup, model, grammar, evaluated, algorithm) -> AgenticTrainer:
    """evaluated: the collector of evaluations."""
    t, c = config.training, config.evaluation.checks
    questions = setup.task.train_questions(t.steps * t.prompts_per_step, child_seed(config.seed, "data"))
    rows = [{"prompt": setup.task.prompt(question), "index": i} for i, question in enumerate(questions)]
    return AgenticTrainer(
        algorithm=algorithm, collector=setup.collector(model, grammar, config.seed), questions=questions, run=run,
        entropy_tokens=config.entropy_tokens, checks=None if c is None else Checks(evaluated, c.every, c.questions),
        model=model, processing_class=grammar.tokenizer, train_dataset=Dataset.from_list(rows),
        args=grpo_config(run.checkpoints, t, config.task.max_completion_tokens, config.seed),
    )  # fmt: skip
