"""A model that is evaluated as it is: the warm start that all runs of a table begin with, or a checkpoint."""

import json
import time
from pathlib import Path

from accelerate import PartialState

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.evaluation.kept_batches import KeptBatches
from reproduce.runs.directory import RunDirectory
from reproduce.runs.manifest import config_hash, warm_start_hash
from reproduce.training.evaluated import keep_episodes, panel_rows, with_verdicts
from reproduce.training.installed import check_installed
from reproduce.training.parallel import Follower, gathered, own_device, process_index, processes
from reproduce.training.setup import Setup, open_setup
from reproduce.training.sft_warm_start import train_on_sft_set
from reproduce.training.warm_start import load_warm_start, save_warm_start, train_warm_start


def warm_start_folder(config: JobConfig, root: Path) -> Path:
    """Where the warm start of a config is or is to be."""
    return Path(root) / config.profile / "warm_starts" / warm_start_hash(config)


def made_warm_start(config: JobConfig, root: Path) -> Path:
    """Its folder, for one of several processes, which do not make it.

    Args:
        root: of all runs.

    Raises:
        UserError: it is not there.
    """
    folder = warm_start_folder(config, root)
    if not folder.is_dir():
        raise UserError(
            f"{folder} is missing: a run of several processes needs its warm start made before; "
            "`python -m reproduce table` does so, or: python -m reproduce warm-start CONFIG"
        )
    return folder


def prepare_warm_start(config: JobConfig, root: Path) -> Path:
    """Folder of the warm start that `config` asks for, trained if no run has needed it before, and evaluated.

    Cached under `<root>/<profile>/warm_starts/<hash>/`; the hash covers model, task, world files and SFT. Of several
    processes every one must call it; only an SFT set is trained on by more than one.

    Args:
        config: of a run, or of the warm start itself.
        root: of all runs.

    Raises:
        UserError: several processes are asked to make one on demonstrations, or its success is out of range.
    """
    check_installed([config])
    config = config.warm_start_job()
    folder = warm_start_folder(config, root)
    path = config.directory(Path(root))
    run = Follower(path) if process_index() else RunDirectory.open(path, config)
    if processes() > 1:
        if config.warm_start.data is None:
            raise UserError("the warm start: only one on an SFT set (warm_start.data) takes several processes")
        PartialState(cpu=config.training.device == "cpu")  # the processes find each other
    if gathered(folder.is_dir() and run.status == "finished")[0]:
        return folder
    started = time.perf_counter()
    with open_setup(config) as setup:
        if not gathered(folder.is_dir())[0]:
            folder.parent.mkdir(parents=True, exist_ok=True)
            _make(config, setup, folder, run.progress)
        device = own_device(config.training.device)
        model, grammar = load_warm_start(folder, device, config.training.dtype, setup.grammar)
        trained = time.perf_counter()
        _evaluated(config, setup, run, model, grammar, "warm_start")
    run.finish({"seconds_train": trained - started, "seconds_eval": time.perf_counter() - trained})
    return folder


def evaluate_checkpoint(config: JobConfig, run: RunDirectory | Follower) -> None:
    """Evaluate the model that a config of the method "warm_start" names, without a copy of it, and finish the run.

    Of several processes every one must call it. UserError if the model cannot be loaded.
    """
    check_installed([config])
    if processes() > 1:
        PartialState(cpu=config.training.device == "cpu")  # the processes find each other
    with open_setup(config) as setup:
        model, tokenizer = setup.initial_model(own_device(config.training.device))
        started = time.perf_counter()
        rows = _evaluated(config, setup, run, model, setup.grammar(tokenizer), "as it is")
    totals = {name: float(sum(row[name] for row in rows)) for name in ("sampled_tokens", "tool_calls")}
    run.finish(totals | {"trajectories": float(len(rows)), "seconds_eval": time.perf_counter() - started})


def _evaluated(job: JobConfig, setup: Setup, run, model, grammar, checkpoint: str) -> list[dict]:
    """The rows of a model's evaluation, which are written to its run. Finished batches outlive a kill."""
    collector = setup.collector(model, grammar, job.seed, job.evaluation.temperature)
    keep_episodes(setup, run, collector, f"evaluated-{process_index()}")
    kept = KeptBatches(run.parts / "evaluated", {"config": config_hash(job)}) if setup.task.repeatable else None
    setup.host.refresh(model)
    rows = panel_rows(job, collector, checkpoint, run.progress, kept)
    if process_index() == 0:
        rows = with_verdicts(job, setup, rows, run)
        if costs := getattr(setup.task.environment, "costs", None) if not setup.episodes else None:
            print(f"tools: {json.dumps(costs())}", flush=True)
    run.write_eval(rows)
    return rows


def _make(config: JobConfig, setup: Setup, folder: Path, report) -> None:
    """The warm start itself, in `folder`."""
    w = config.warm_start
    model, tokenizer = setup.initial_model(own_device(config.training.device))
    collector = setup.collector(model, setup.grammar(tokenizer), w.seed, default_engine=True)
    if w.demonstrations == 0:
        save_warm_start(model, tokenizer, folder, [])
    elif w.data is not None:
        train_on_sft_set(model, tokenizer, w, setup.demonstrations(collector), folder, report)
    else:
        train_warm_start(model, collector, w, setup.demonstrations(collector), folder, report)
