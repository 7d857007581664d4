"""The command: its options, the comparisons in order, and what is shown and written.

Torch, Transformers and TRL are imported where they are needed: after the thread settings, and not for `--help`.
"""

import contextlib
import importlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from reproduce.arguments import Parser, folder, names, new_file
from reproduce.commands.bench.rows import QUICK, Measurement, Sizes, show, write_csv
from reproduce.environment import ONE_THREAD
from reproduce.errors import UserError
from reproduce.runs.directory import make_root

TRAINED, ENGINES = ("rollout", "step"), ("engine", "tools")
COMPARISONS = {
    "rollout": "rollouts.rollout_rows",
    "step": "steps.step_rows",
    "sandbox": "calls.sandbox_rows",
    "engine": "vllm_engine.engine_rows",
    "tools": "vllm_engine.tool_rows",
    "scienceworld": "envs.scienceworld_rows",
    "alfworld": "envs.alfworld_rows",
}
"""Name -> the function that gives its rows, in the order of the table."""


def _load(name: str):
    module, _, function = name.partition(".")
    return getattr(importlib.import_module(f"reproduce.commands.bench.{module}"), function)


def measure(comparisons: list[str], sizes: Sizes, runs_root: Path) -> tuple[list[Measurement], str]:
    """The rows of the comparisons, in order, and where the weights came from ("" if none were needed)."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        basis, origin = dict.fromkeys(COMPARISONS, ()), ""
        if set(comparisons) & set(TRAINED):
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            setting = stack.enter_context(_load("setting.open_setting")(sizes, runs_root, scratch))
            basis |= dict.fromkeys(TRAINED, (setting, scratch))
            origin = setting.origin
        if set(comparisons) & set(ENGINES):
            sides = stack.enter_context(contextlib.closing(_load("vllm_engine.Sides")(sizes)))
            basis |= dict.fromkeys(ENGINES, (sides,))
        asked = [name for name in COMPARISONS if name in comparisons]
        return [row for name in asked for row in _load(COMPARISONS[name])(sizes, *basis[name])], origin


def measure_lm(folder: str, quick: bool) -> tuple[list[Measurement], str, int]:
    """The rows of `lm.lm_rows`, where the weights came from, and the threads: two, where there are two cores."""
    threads = min(2, len(os.sched_getaffinity(0)))
    with _quiet(threads):
        setting = _load("lm_setting.lm_setting")(folder)
        return list(_load("lm.lm_rows")(quick, setting)), setting.origin, threads


@contextlib.contextmanager
def _quiet(own_threads: int = 1) -> Iterator[None]:
    """So many threads, and the libraries' own lines and warnings off the terminal; errors come out as exceptions."""
    import warnings

    import torch
    from transformers.utils import logging

    threads, before, bars = torch.get_num_threads(), logging.get_verbosity(), logging.is_progress_bar_enabled()
    torch.set_num_threads(own_threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        # a real file, for vLLM asks stdout for its number
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def main(argv: list[str]) -> int:
    """Runs the benchmark with the command line's words; 0 when everything was measured, whatever the ratios are.

    Raises UserError on unknown words, on an unknown comparison and where the Python tool has no sandbox.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in ONE_THREAD.items()})
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    parser = Parser(
        prog="python -m reproduce bench",
        description="Compare speed with a named alternative in one run: our rollouts with TRL's own multi-turn path, "
        "an RL step of aepo with one of grpo, a sandboxed Python call with a bare subprocess, and, with the packages "
        "of requirements-envs.txt, ScienceWorld and ALFWorld with the released code's way. One thread, some minutes.",
    )
    add, every = parser.add_argument, ", ".join(COMPARISONS)
    add("--only", type=names, default=list(COMPARISONS), metavar="NAMES", help=f"of {every} (default: all)")
    warm_start = "where profile mini may have a warm start; without one, a brief one is trained (default: %(default)s)"
    add("--runs-root", type=folder, default=Path("runs"), help=warm_start)
    out = "CSV file to write (default: bench.csv of the runs root; figures/bench.csv is the published one)"
    add("--out", type=new_file, help=out)
    model = "folder of a pretrained model: compares RL steps on it, by two threads, instead of the other comparisons"
    add("--model", metavar="FOLDER", help=model)
    add("--quick", action="store_true", help="small sizes, to see that everything runs; the ratios mean little then")
    options = parser.parse_args(argv)
    if unknown := set(options.only) - set(COMPARISONS):
        raise UserError(f"bench --only: there is no comparison {', '.join(sorted(unknown))}; choose of {every}")
    threads = 1
    if options.model is not None and options.only != list(COMPARISONS):
        raise UserError("bench --only: does not go with --model, which replaces all comparisons")
    if options.model is not None:
        rows, origin, threads = measure_lm(options.model, options.quick)
    else:
        rows, origin = measure(options.only, QUICK if options.quick else Sizes(), options.runs_root)
    console = Console()
    show(console, rows, origin, threads)
    if options.out is None:
        make_root(options.runs_root)
    out = options.out or options.runs_root / ("bench.csv" if options.model is None else "bench_lm.csv")
    write_csv(out, rows, origin, options.quick, threads)
    console.print(f"written: {os.path.relpath(out)}", highlight=False)
    return 0
