"""The warm start that all runs of a table begin with: made once, cached, evaluated."""

import time
from pathlib import Path

from accelerate import PartialState

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.runs.directory import RunDirectory
from reproduce.runs.manifest import warm_start_hash
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
    """Its folder, for one of several processes, which do not make it. UserError if it is not there."""
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
    """
    check_installed([config])
    job = config = config.warm_start_job()
    folder = warm_start_folder(config, root)
    path = job.directory(Path(root))
    run = Follower(path) if process_index() else RunDirectory.open(path, job)
    if processes() > 1:
        if config.warm_start.data is None:
            raise UserError("the warm start: only one on an SFT set (warm_start.data) takes several processes")
        PartialState(cpu=config.training.device == "cpu")  # the processes find each other
    if gathered(folder.is_dir() and run.status == "finished")[0]:
        return folder
    started = time.perf_counter()
    with open_setup(job) as setup:
        if not gathered(folder.is_dir())[0]:
            folder.parent.mkdir(parents=True, exist_ok=True)
            _make(config, setup, folder, run.progress)
        device = own_device(config.training.device)
        model, grammar = load_warm_start(folder, device, config.training.dtype, setup.grammar)
        trained = time.perf_counter()
        collector = setup.collector(model, grammar, config.warm_start.seed, config.evaluation.temperature)
        keep_episodes(setup, run, collector, f"evaluated-{process_index()}")
        setup.host.refresh(model)
        rows = panel_rows(config, collector, "warm_start", run.progress)
        run.write_eval(with_verdicts(job, setup, rows, run) if process_index() == 0 else rows)
    run.finish({"seconds_train": trained - started, "seconds_eval": time.perf_counter() - trained})
    return folder


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
