"""The command: its options, the comparisons in order, and what is shown and written.

Torch, Transformers and TRL are imported where they are needed: after the thread settings, and not for `--help`.
"""

import argparse
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from reproduce.arguments import Parser, folder, new_file
from reproduce.commands.bench.rows import COMPARISONS, ENVIRONMENTS, QUICK, Measurement, Sizes, show, write_csv
from reproduce.environment import ONE_THREAD
from reproduce.errors import UserError
from reproduce.runs.directory import make_root


def measure(comparisons: list[str], sizes: Sizes, runs_root: Path, report: Callable) -> tuple[list[Measurement], str]:
    """The rows of the comparisons, in order, and where the weights came from ("" if none were needed).

    report(stage, done, total) is called as the work goes on.
    """
    import torch

    from reproduce.commands.bench.calls import sandbox_rows
    from reproduce.commands.bench.envs import env_rows

    rows: list[Measurement] = []
    origin = ""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if set(comparisons) & {"rollout", "step"}:
            found, origin = _training_rows(comparisons, sizes, runs_root, report)
            rows += found
        if "sandbox" in comparisons:
            rows += sandbox_rows(sizes, report)
        if set(comparisons) & {"engine", "tools"}:
            rows += _engine_rows(comparisons, sizes, report)
        for name in ENVIRONMENTS:
            if name in comparisons:
                rows += env_rows(name, sizes, report)
    finally:
        torch.set_num_threads(threads)
    return rows, origin


def _training_rows(comparisons, sizes: Sizes, root: Path, report: Callable) -> tuple[list[Measurement], str]:
    from reproduce.config.tables import TableConfig

    with tempfile.TemporaryDirectory() as name, _quiet():
        from reproduce.commands.bench.rollouts import rollout_rows  # here, so that TRL's warnings stay quiet
        from reproduce.commands.bench.setting import brief, make_setting
        from reproduce.commands.bench.steps import step_rows
        from reproduce.training.setups import open_setup

        with open_setup(brief(TableConfig.load(2).jobs("mini", ["grpo"], [0])[0], sizes)) as setup:
            made = make_setting(setup, root, Path(name), report)
            rows = rollout_rows(made, sizes, Path(name), report) if "rollout" in comparisons else []
            return rows + (step_rows(made, sizes, Path(name), report) if "step" in comparisons else []), made.origin


def _engine_rows(comparisons: list[str], sizes: Sizes, report: Callable) -> list[Measurement]:
    with _quiet():
        from reproduce.commands.bench.vllm_engine import Sides, engine_rows, tool_rows

        with contextlib.closing(Sides(sizes)) as sides:
            rows = engine_rows(sides, sizes, report) if "engine" in comparisons else []
            return rows + (tool_rows(sides, sizes, report) if "tools" in comparisons else [])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the trainers' own lines and warnings off the terminal; errors still come out as exceptions."""
    import warnings

    from transformers.utils import logging

    before = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        # a real file, for vLLM asks stdout for its number
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = Parser(
        prog="python -m reproduce bench",
        description="Compare speed with a named alternative in one run: our rollouts with TRL's own multi-turn path, "
        "an RL step of aepo with one of grpo, a sandboxed Python call with a bare subprocess, and, with the packages "
        "of requirements-envs.txt, ScienceWorld and ALFWorld with the released code's way. One thread, some minutes.",
    )
    add, all_of_them = made.add_argument, ",".join(COMPARISONS)
    add("--only", default=all_of_them, metavar="NAMES", help="comparisons to run, of %(default)s (default: all)")
    warm_start = "where profile mini may have a warm start; without one, a brief one is trained (default: %(default)s)"
    add("--runs-root", type=folder, default=Path("runs"), help=warm_start)
    out = "CSV file to write (default: bench.csv of the runs root; figures/bench.csv is the published one)"
    add("--out", type=new_file, help=out)
    add("--quick", action="store_true", help="small sizes, to see that everything runs; the ratios mean little then")
    return made


def main(argv: list[str]) -> int:
    """Runs the benchmark with the command line's words; 0 when everything was measured, whatever the ratios are.

    Raises UserError on unknown words, on an unknown comparison and where the Python tool has no sandbox.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in ONE_THREAD.items()})
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    options = parser().parse_args(argv)
    asked = [name.strip() for name in options.only.split(",") if name.strip()]
    unknown = [name for name in asked if name not in COMPARISONS]
    if unknown or not asked:
        raise UserError(f"bench --only: {options.only!r} names no comparison; choose of {', '.join(COMPARISONS)}")
    counter = TextColumn("{task.completed}/{task.total}")
    columns = TextColumn("{task.description}"), BarColumn(), counter, TimeElapsedColumn()
    display = Progress(*columns, console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False)
    bars: dict[str, int] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            bars[stage] = display.add_task(stage, total=total)
        display.update(bars[stage], completed=done, total=total)

    with display:
        rows, origin = measure(asked, QUICK if options.quick else Sizes(), options.runs_root, report)
    console = Console()
    show(console, rows, origin)
    if options.out is None:
        make_root(options.runs_root)
    out = options.out or options.runs_root / "bench.csv"
    write_csv(out, rows, origin, options.quick)
    console.print(f"written: {os.path.relpath(out)}", highlight=False)
    return 0
