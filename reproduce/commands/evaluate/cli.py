"""Measure a checkpoint on question sets, over several samples, with intervals; nothing is trained.

    python -m reproduce evaluate --model FOLDER --sets bamboogle,2wiki --samples 5 --search corpus.jsonl
    python -m reproduce evaluate --preset aepo-qwen3-14b-deepsearch --engine vllm --judge URL,MODEL [--plan]

Runs the papers' agent loop on each set, in a run directory of its own (<runs>/evaluate/<model>.<settings>/<set>/0), and
ends with a table. The same command again goes on where a killed one stopped. --replay does it all again without a
network, from what was recorded, and compares the bytes. Exit codes: 0, 1 a run failed or a replay differs, 2 bad input.
"""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from reproduce.arguments import Parser, add_settings, count, first_line, folder, names
from reproduce.commands.evaluate.presets import names_of, preset, presets
from reproduce.commands.evaluate.settings import (
    EVALUATE,
    Asked,
    check_model,
    check_sets,
    frozen,
    jobs,
    model_label,
    replayed,
)
from reproduce.config.question_sets import EVALUATION_SETS
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.paths import shown
from reproduce.tools.hub.fetch import is_folder

OFFLINE = "HF_HUB_OFFLINE"
SAMPLES = 5
"""The papers report pass@5."""


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        prog="python -m reproduce evaluate", description=first_line(__doc__), epilog="presets: " + ", ".join(presets())
    )
    add = made.add_argument
    add("--model", help="a repository of the Hugging Face Hub (owner/name), or a folder that save_pretrained wrote")
    add("--preset", help="a released checkpoint of ARPO or AEPO, in place of --model (listed below)")
    add("--sets", type=names, help=f"question sets, with commas: {', '.join(EVALUATION_SETS)} (default: the preset's)")
    add("--samples", type=count, default=SAMPLES, help="of each question (default: %(default)s)")
    add("--questions", type=count, help="the first ones of each set, at most (default: all, up to 500)")
    add("--k", type=count, help="of pass@k (default: the number of samples)")
    add("--engine", choices=("transformers", "vllm"), help="what samples (default: vllm on a card, if installed)")
    add("--search", default="brightdata", help="brightdata, serper or brave; or a corpus (.jsonl, .parquet) for BM25")
    add("--judge", metavar="URL,MODEL", help="an LLM judge behind an OpenAI-compatible endpoint, beside the rules")
    add("--data", help="folder with the question files, data/README.md (default: the hub, at locked revisions)")
    add("--together", type=count, help="trajectories sampled at a time; a kill loses at most these")
    add("--replay", action="store_true", help="ask nobody: repeat a recorded evaluation and compare the bytes")
    add("--plan", action="store_true", help="say what it costs, and start nothing")
    add("--assume", type=names, action="extend", default=[], metavar="NAME=VALUE", help="of --plan: gpu=A100,gpus=1")
    add("--runs-root", type=folder, default=Path("runs"), help="default: %(default)s")
    add("--launcher", choices=("local", "accelerate", "slurm"), help="where runs start (default: one process here)")
    add("--launch-config", help="of the launcher; accelerate: ddp, or a file, for several cards")
    add_settings(made, "KEY=VALUE", "other settings: task.max_tool_calls=10 evaluation.temperature=1 search.pages=text")
    return made


def main(words: list[str]) -> int:
    """Evaluates and prints the table, or a plan. UserError for bad words, before anything starts."""
    options = parser().parse_args(words)
    asked = _asked(options)
    if options.k is not None and options.k > options.samples:
        raise UserError(f"--k {options.k} takes as many samples of each question: raise SAMPLES, or lower K")
    made = jobs(asked)
    if options.plan:
        return _plan(made, options.assume)
    if options.assume:
        raise UserError("--assume belongs to --plan (PLAN=1)")
    if asked.replay:
        os.environ[OFFLINE] = "1"
    made = _frozen(made, options.runs_root)
    if _run(made, options):
        return 1
    _show(asked, _read(made, options.runs_root), options.runs_root, options.k or options.samples)
    return _replayed(made, options.runs_root) if asked.replay else 0


def _asked(options) -> Asked:
    """Read the words. UserError where they name no model, or two."""
    if (options.model is None) == (options.preset is None):
        problem = "names no model" if options.model is None else "names two models"
        raise UserError(f"the command {problem}: give MODEL (a hub repository or a folder) or PRESET, one of the two")
    known = None if options.preset is None else preset(options.preset)
    sets = options.sets or (known.sets if known else None)
    if sets is None:
        raise UserError(f"no question set is named: SETS=gaia,webwalker; sets: {', '.join(EVALUATION_SETS)}")
    check_sets(sets)
    model = options.model if known is None else known.repo
    check_model(model)
    on_paper = options.plan and (not is_folder(model) or any(word.startswith("gpu=") for word in options.assume))
    device = "cuda" if on_paper else _device()  # a plan for a card needs none
    return Asked(
        model=model,
        name=options.preset or model_label(model),
        sets=sets,
        samples=options.samples,
        questions=options.questions,
        engine=options.engine or ("vllm" if device == "cuda" and find_spec("vllm") else "transformers"),
        device=device,
        search=options.search,
        judge=options.judge,
        data=None if options.data is None else str(_data(options.data)),
        together=options.together,
        replay=options.replay,
        root=options.runs_root,
        set=options.set,
    )


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _data(text: str) -> Path:
    if not Path(text).is_dir():
        raise UserError(f"DATA={text}: there is no such folder; it holds the question files (data/README.md)")
    return Path(text).absolute()


def _plan(made: Sequence[JobConfig], words: Sequence[str]) -> int:
    from analysis.text_table import text
    from reproduce.commands.evaluate.cost import plan

    for word in words:
        if "=" not in word:
            raise UserError(f"--assume {word}: write NAME=VALUE")
    changes = {name: value for name, _, value in (word.partition("=") for word in words)}
    print(text(plan(made, changes)))
    return 0


def _frozen(made: list[JobConfig], root: Path) -> list[JobConfig]:
    """The jobs with their hashes. Runs that are finished ask nobody: their table needs no key."""
    from reproduce.runs.reader import status_of
    from reproduce.training.installed import check_installed

    check_installed(made[:1])
    done = all(status_of(job.directory(root)) == "finished" for job in made)
    return frozen([replayed(job) for job in made] if done else made)


def _run(made: list[JobConfig], options) -> list:
    """Brings every set's run to its end; the failures, which are printed."""
    from reproduce.grid import runner
    from reproduce.grid.launchers import open_launcher
    from reproduce.grid.machine import check_fits, started, visible_cards
    from reproduce.grid.services import check_services
    from reproduce.runs.reader import status_of

    root = options.runs_root
    device = made[0].training.device
    cards = visible_cards() if device != "cpu" and options.launcher != "slurm" else []
    start = started(made, options.launcher, options.launch_config, cards)
    launcher = open_launcher(start.launcher, start.config, root, device, start.processes)
    check_fits(made[:1], launcher, cards)
    runner.name_sandbox(made[0])
    if any(status_of(job.directory(root)) != "finished" for job in made) and options.launcher != "slurm":
        check_services(made[0])
    failures = runner.run(made, root, 1, warm_start=False, launcher=launcher)
    for failure in failures:
        print(failure)
    if failures:
        print(f"{len(failures)} of {len(made)} sets failed; what was computed is kept. Run the same command again.")
    return failures


def _read(made: Sequence[JobConfig], root: Path) -> list[tuple[JobConfig, list[dict], dict]]:
    """(job, rows of eval.parquet, questions by id) of each set."""
    from reproduce.runs.reader import read_run
    from reproduce.worlds.benchmarks.files import checked_file
    from reproduce.worlds.benchmarks.levels import FILES, with_levels
    from reproduce.worlds.benchmarks.questions import load

    found = []
    for job in made:
        data = job.task.data
        questions = load(job.name, "", check_rows=data.check_rows, path=checked_file(job, job.name))
        levels = FILES.get(job.name)
        if levels in data.sha256:
            questions = with_levels(questions, checked_file(job, levels))
        rows = read_run(job.directory(root)).eval.to_pylist()
        found.append((job, rows, {question.id: question for question in questions}))
    return found


def _show(asked: Asked, found: list[tuple[JobConfig, list[dict], dict]], root: Path, k: int) -> None:
    from reproduce.commands.evaluate import table
    from reproduce.commands.evaluate.reported import cells
    from reproduce.commands.evaluate.scores import scores

    all_scores = [score for job, rows, questions in found for score in scores(job.name, rows, questions, k)]
    first = found[0][0]
    made = table.made(f"{asked.name} on {', '.join(asked.sets)}", first, all_scores, cells(*names_of(asked.model)))
    print()
    print(table.shown(made))
    for path in table.write(made, all_scores, first.directory(root).parents[1]):
        print(shown(path))


def _replayed(made: Sequence[JobConfig], root: Path) -> int:
    from reproduce.commands.evaluate.replay import compared

    found = [compared(job, root, EVALUATE) for job in made]
    for said, _ in found:
        print(said)
    return int(any(differs for _, differs in found))
