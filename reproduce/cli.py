"""The command line, `python -m reproduce …`. Every Make target is one line that calls it.

Exit codes: `reproduce.exits`.
"""

import argparse
import importlib
import sys
import textwrap
from functools import partial
from pathlib import Path

from reproduce import arguments
from reproduce.arguments import DEFAULT_PROFILE
from reproduce.exits import exit_code
from reproduce.parent import die_with_parent
from reproduce.paths import shown
from reproduce.training.main import make_warm_start, run


def main(words: list[str] | None = None) -> int:
    """Run one command and return its exit code. A UserError is printed as one line."""
    die_with_parent()
    arguments.readable_output()
    return exit_code(lambda: _command(sys.argv[1:] if words is None else words))


def _command(words: list[str]) -> int:
    if words and words[0] in PROGRAMS:
        return PROGRAMS[words[0]](words[1:])
    options = parser().parse_args(words)
    return options.run(options)


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    top = arguments.Parser(prog="python -m reproduce", description=arguments.first_line(__doc__))
    commands = top.add_subparsers(title="commands", required=True, metavar="command")

    def command(name: str, run, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(run=run)
        return sub

    sub = command("table", table, "train, evaluate and build one table; does only what is missing")
    sub.add_argument("table", help="number of the table: 1, 2, 3, 4, 5 or 6")
    sub.add_argument("--profile", default=DEFAULT_PROFILE)
    sub.add_argument("--task", help="another world of the same table, such as scienceworld for table 3")
    sub.add_argument("--seeds", type=arguments.seeds, help="e.g. 0,1,2 or 0-7 (default: the table's)")
    sub.add_argument(
        "--methods",
        type=arguments.names,
        help="methods, variants or groups: all, core, grpo,aepo (default: the table's)",
    )
    sub.add_argument("--jobs", type=arguments.count, help="runs at a time (default: one per core; one on a GPU)")
    sub.add_argument("--runs-root", type=arguments.folder, default=Path("runs"))
    arguments.add_settings(
        sub,
        "KEY=VALUE",
        "other settings than the table's: training.steps=48 task.max_tool_calls=6 algorithm.aepo.clip_high=0.28; their "
        "runs have a folder of their own",
    )
    sub.add_argument("--no-build", action="store_true", help="train only, build neither table nor figures")
    sub.add_argument(
        "--launcher",
        choices=("local", "accelerate", "slurm"),
        help="where runs start (default: as the profile's machine asks)",
    )
    sub.add_argument(
        "--launch-config", help="accelerate: one_gpu, ddp, fsdp, zero3 or a file; slurm: a file (default: ours)"
    )
    sub.add_argument("--report-to", help="live curves: tensorboard, trackio, wandb, or several with commas")

    sub = command("job", job, "train, evaluate and finish the run of one directory")
    sub.add_argument("directory", type=Path)

    sub = command("warm-start", warm_start, "make and evaluate the warm start that a config asks for")
    sub.add_argument("config", type=Path)
    sub.add_argument("--runs-root", type=arguments.folder, default=Path("runs"))

    sub = command("publish", publish, "consolidate finished runs into data/results")
    sub.add_argument("--profile", default=DEFAULT_PROFILE)
    sub.add_argument("--experiment", default=None, help="e.g. table2 (default: every table that has runs)")
    sub.add_argument("--runs-root", type=arguments.folder, default=Path("runs"))
    sub.add_argument("--results-root", type=arguments.folder, default=None, help="default: data/results")
    sub.add_argument("--allow-partial", action="store_true", help="leave unfinished runs out instead of refusing")

    for name in ("tables", "figures"):
        sub = command(name, build, f"rebuild the {name} from the committed results, without training")
        sub.add_argument("--profile", default=DEFAULT_PROFILE)
        sub.set_defaults(what=name)

    sub = command("report", report, "render notebooks, tables and ledger as one static site that opens from disk")
    sub.add_argument("--runs-root", type=arguments.folder, default=Path("runs"))
    sub.add_argument("--out", type=Path, default=None, help="default: <runs root>/report")

    sub = command("status", status, "list the runs, where they are and their last metrics")
    sub.add_argument("--profile", default=None, help="default: all")
    sub.add_argument("--runs-root", type=arguments.folder, default=Path("runs"))

    # only listed here: `main` gives their words to parsers of their own (argparse.REMAINDER takes no option first)
    for name, (_, what) in _MODULES.items():
        command(name, lambda options, name=name: PROGRAMS[name]([]), what)
    return top


def table(options) -> int:
    """Run the missing runs of a table, then build and print it."""
    from reproduce.grid import runner

    profile = f"{options.profile}-{options.task}" if options.task else options.profile
    done = runner.train(
        options.table,
        profile,
        methods=options.methods,
        seeds=options.seeds,
        max_jobs=options.jobs,
        runs_root=options.runs_root,
        launcher=options.launcher,
        launch_config=options.launch_config,
        report_to=options.report_to,
        settings=options.set,
    )
    if done.failures or options.no_build:
        return int(bool(done.failures))
    from analysis.build import build as build_outputs

    built = build_outputs(
        table=options.table, profile=profile, source="runs", runs_root=options.runs_root, settings=done.settings
    )
    print(built.text)
    print(_listed("Your tables and figures (the published ones, in figures/, stay as they are):", built.files))
    return 0


def _listed(title: str, paths: list[Path]) -> str:
    """List files by folder, in lines of at most 100 characters where names allow."""
    lines = [title]
    for folder in dict.fromkeys(path.parent for path in paths):
        names = ", ".join(path.name for path in paths if path.parent == folder)
        lines += [f"  {shown(folder)}/", *textwrap.wrap(names, 96, initial_indent="    ", subsequent_indent="    ")]
    return "\n".join(lines)


def job(options) -> int:
    """Do one run in this process. Its output goes to the terminal; the grid sends it to log.txt."""
    return run(options.directory)


def warm_start(options) -> int:
    """Make and evaluate the warm start of a config."""
    return make_warm_start(options.config, options.runs_root)


def publish(options) -> int:
    """Consolidate finished runs into data/results."""
    from reproduce.runs.publish import experiments, left_out, publish

    for experiment in [] if options.experiment else left_out(options.profile, options.runs_root):
        print(f"not published: {experiment}, runs under settings of the command line")
    for experiment in [options.experiment] if options.experiment else experiments(options.profile, options.runs_root):
        for path in publish(
            options.profile,
            experiment,
            runs_root=options.runs_root,
            results_root=options.results_root,
            allow_partial=options.allow_partial,
        ):
            print(shown(path))
    return 0


def build(options) -> int:
    """Rebuild tables or figures from the committed results."""
    from analysis.build import build_all

    paths, text = build_all(profile=options.profile, only=options.what)
    if text:
        print(text)
    for path in paths:
        print(shown(path))
    return 0


def report(options) -> int:
    """Render the report and say how to open it."""
    from analysis.report import build as build_report

    out = options.out or options.runs_root / "report"
    files = build_report(out, runs_root=options.runs_root)
    pages = sum(path.suffix == ".html" for path in files)
    print(f"{pages} pages; open {shown(out / 'index.html')} in a browser")
    return 0


def status(options) -> int:
    """Print the runs and their state."""
    from reproduce.grid.status import print_status

    return print_status(options.runs_root, options.profile)


_MODULES = {
    "tune": ("reproduce.commands.tune", "try shared settings of a table on its validation panel, never the test panel"),
    "real-input": (
        "reproduce.commands.real_input",
        "grade gold and empty answers on real question files; run the agent on 20",
    ),
    "rewritten-golds": (
        "reproduce.commands.rewritten",
        "grade rewritten golds and their near misses; write the table in data/graders",
    ),
    "bench": (
        "reproduce.commands.bench",
        "compare our rollout and training speed with TRL's own, as ratios in one run",
    ),
    "pin-hub": ("reproduce.tools.hub.lock", "write down the Hub revisions of models and data that have none yet"),
    "overlap": ("reproduce.worlds.benchmarks.overlap", "questions that the RL sets and the evaluation sets share"),
    "plan": (
        "reproduce.commands.plan.report",
        "what a table costs before it starts: hours, tokens, tool calls, search cost, disk",
    ),
    "power": (
        "reproduce.commands.power",
        "how many seeds an effect takes, and what a table's seeds can find, from its committed runs",
    ),
    "warp": (
        "reproduce.commands.warp",
        "merge runs in weight space and move their common start towards the merge (WARP)",
    ),
    "preflight": (
        "reproduce.commands.preflight.cli",
        "check everything that a table's runs need before anything is loaded, one line a check",
    ),
    "evaluate": (
        "reproduce.commands.evaluate.cli",
        "what a checkpoint scores on question sets, over several samples, with intervals; nothing is trained",
    ),
    "rehearse": (
        "reproduce.commands.rehearse.cli",
        "a table's profile paper on this machine's processor: everything of it but its size",
    ),
    "check-gpu": (
        "reproduce.commands.check_gpu.cli",
        "on the first machine with a card: what none without one can show",
    ),
    "trees": (
        "reproduce.commands.trees.cli",
        "draw a recorded group as one HTML file: a tree of turns, or strips of an episode's turns",
    ),
    "grade-agreement": (
        "reproduce.commands.grade_agreement",
        "where math-verify or exact match, the reward's token F1 and an LLM judge disagree",
    ),
}


def _program(module: str, words: list[str]) -> int:
    return importlib.import_module(module).main(words)


PROGRAMS = {name: partial(_program, module) for name, (module, _) in _MODULES.items()}
"""Commands with options of their own: they get all words after their name."""
