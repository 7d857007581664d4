"""Measure the premises of AEPO and ARPO on a warm model, before any reinforcement learning.

    python -m reproduce.commands.premises [--table 2] [--profile lm] [--questions 16] [--group 8] [--out FOLDER]

The warm start is made if it is not there. Finished parts are kept in the runs' folder, and the same command does only
what is missing. At the end it writes premises.csv and premises.json (settings, success, what a position costs) to
--out.
"""

import argparse
import csv
import hashlib
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

from reproduce.algorithms.policies import AEPORollout
from reproduce.arguments import Parser
from reproduce.commands.premises import figures, measure
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid.freeze_inputs import pinned
from reproduce.grid.resolve import resolve
from reproduce.locks import locked
from reproduce.rollouts.collector import Collector
from reproduce.runs.files import file_sha256, read_json, sealed, write_bytes, write_json
from reproduce.runs.manifest import ROOT, warm_start_hash
from reproduce.training.prepare import prepare_warm_start
from reproduce.training.setup import Setup, open_setup
from reproduce.training.warm_start import load_warm_start

RATES = (1e-6,)
"""Learning rates of L5 beside the profile's: the papers'."""
PARTS = ("independent", "arpo", "aepo", "updates")
"""L1 to L3 need the first, L4 the trees of the next two, L5 the last."""
CSV, ABOUT = "premises.csv", "premises.json"


def main(words: list[str] | None = None) -> int:
    """Measure what is missing, write the files. Exit codes: 0, 2 bad input, 130 interrupted."""
    parser = Parser(prog="python -m reproduce.commands.premises", description=__doc__)
    parser.add_argument("--table", default="2", help="whose task is asked, default 2")
    parser.add_argument("--profile", default="lm")
    parser.add_argument("--questions", type=int, default=16, help="of the validation panel, default 16")
    parser.add_argument("--group", type=int, default=8, help="trajectories of a question, default 8")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts with commas, of {', '.join(PARTS)}")
    parser.add_argument("--warm-start", type=Path, help="a warm start's folder, in place of the profile's own")
    parser.add_argument("--runs-root", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, help="folder of the two files; default data/results/<profile>/premises")
    try:
        options = parser.parse_args(words)
        for name in ("questions", "group"):
            if getattr(options, name) < 2:
                raise UserError(f"--{name} is {getattr(options, name)}; set it to 2 or more")
        options.only = options.only.split(",")
        for part in options.only:
            if part not in PARTS:
                raise UserError(f"--only: there is no part '{part}'; parts: {', '.join(PARTS)}")
        print(run(options))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; finished parts are kept, the same command does the rest", file=sys.stderr)
        return 130
    return 0


def run(options: argparse.Namespace) -> str:
    """Measure what is missing and write the files. Returns what was written, in words."""
    config = pinned(resolve(options.table, options.profile, ["aepo"], [0]))[0]
    root = options.runs_root.resolve()
    start = options.warm_start or prepare_warm_start(config, root)
    asked = {
        "table": str(options.table),
        "profile": options.profile,
        "model": config.model.name_or_path or "from scratch",
        "warm_start": warm_start_hash(config) if options.warm_start is None else folder_hash(start),
        "questions": options.questions,
        "group": options.group,
    }
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
    folder = root / options.profile / "premises" / name
    with locked(folder / ".lock", f"{folder} is being written by another process; wait for it or stop it"):
        parts = Parts(config, start, options.questions, options.group, folder)
        rows, about = parts.table(options.only)
    out = options.out or ROOT / "data" / "results" / options.profile / "premises"
    out.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _short(value) for key, value in r.items()} for r in rows)
    write_bytes(out / CSV, text.getvalue().encode())
    write_json(out / ABOUT, {"settings": asked, **about})
    return f"wrote {out / CSV} ({len(rows)} rows) and {out / ABOUT}"


def folder_hash(folder: Path) -> str:
    """Hash the weights of a warm start's folder. UserError if it has none."""
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"--warm-start: {folder} holds no model.safetensors")
    return f"weights-{file_sha256(weights)[:12]}"


def _short(value):
    return f"{value:.6g}" if isinstance(value, float) else value


class Parts:
    """The parts of the measurement, each sampled or computed once and kept in `folder`."""

    def __init__(self, config: JobConfig, start: Path, questions: int, group: int, folder: Path):
        self.config, self.start, self.folder = config, start, folder
        self.questions, self.group = questions, group
        self.batch = None

    def table(self, only: list[str]) -> tuple[list[dict], dict]:
        """The rows of premises.csv, and what premises.json says beside the settings. only: some of `PARTS`."""
        rates = dict.fromkeys((*RATES, self.config.training.learning_rate)) if "updates" in only else {}
        with open_setup(replace(self.config, method="grpo", algorithm={})) as setup:
            whole = self.part("independent", setup)
            made = {name: self.part(name, setup) for name in ("arpo", "aepo") if name in only}
            moved = {rate: self.part(f"updates-{rate:g}", setup, rate) for rate in rates}
        rows = figures.after_results(whole["turns"]) + figures.in_a_row(whole["turns"])
        rows += figures.budgets(whole["pilots"], AEPORollout().initial)
        for name, part in made.items():
            rows += figures.forks(name.upper(), part["forks"], part["tested"], part["passed"])
        for rate, part in moved.items():
            rows += self.moved(rate, part)
        success = {}
        for name in ("correct", "format_ok", "calls"):
            means = figures.mean_interval([_mean(of_question) for of_question in whole[name]])
            success[name] = dict(zip(("value", "low", "high", "n"), means, strict=True))
        costs = {name: part["cost"] for name, part in {"independent": whole, **made}.items()}
        return rows, {"warm": success, "costs": costs | {f"updates-{r:g}": p["cost"] for r, p in moved.items()}}

    @staticmethod
    def moved(rate: float, part: dict) -> list[dict]:
        """The rows of L5 of a learning rate."""
        import numpy as np

        entropies = [np.asarray(e) for e in part["entropies"]]
        found = []
        for high in (1.2, 1.28):
            for update, ratios in part["ratios"].items():
                found += figures.outside(rate, int(update), [np.asarray(r) for r in ratios], entropies, high)
        return found

    def part(self, name: str, setup: Setup, rate: float | None = None) -> dict:
        """A part: out of the folder, or made and kept."""
        path = self.folder / f"{name}.json"
        if path.is_file():
            return read_json(path, f"delete {path} and run the same command again")
        print(f"{name}: {self.questions} questions × {self.group}", flush=True)
        made = self._sampled(name, setup) if rate is None else self._updated(setup, rate)
        write_json(path, sealed(made))
        return made

    def _collector(self, setup: Setup) -> Collector:
        model, grammar = load_warm_start(self.start, "cpu", self.config.training.dtype, setup.grammar)
        return setup.collector(model, grammar, self.config.seed)

    def _groups(self, setup: Setup, collector: Collector, name: str):
        families = len(setup.task.families)
        panel = setup.task.panel("validation", -(-self.questions // families))[: self.questions]
        policy = measure.POLICIES[name]()
        groups, cost = [], {}
        most = max(1, MOST_ROWS // self.group)
        for start in range(0, len(panel), most):
            part, paid = measure.sampled(collector, panel[start : start + most], self.group, policy, f"{name}-{start}")
            groups += part
            cost = {key: cost.get(key, 0) + value for key, value in paid.items()}
            print(f"  {len(groups)} of {len(panel)} questions, {paid['cpu_seconds']:.0f} CPU s", flush=True)
        return groups, cost, policy

    def _sampled(self, name: str, setup: Setup) -> dict:
        collector = self._collector(setup)
        groups, cost, policy = self._groups(setup, collector, name)
        if name == "independent":
            self.batch = groups
            return measure.independent(groups, collector.grammar.log_vocabulary) | {"cost": cost}
        return measure.trees(groups, policy) | {"cost": cost}

    def _updated(self, setup: Setup, rate: float) -> dict:
        collector = self._collector(setup)
        if self.batch is None:  # a resumed command: the same streams give the same batch
            self.batch = self._groups(setup, collector, "independent")[0]
        tokens = self.config.training.tokens_per_pass
        told = lambda update: print(f"  update {update} of {measure.MINIBATCHES}", flush=True)  # noqa: E731
        return measure.updated(collector.model, collector, self.batch, rate, tokens, told)


MOST_ROWS = 32
"""Trajectories that are sampled together. Keys and values of 500 tokens of SmolLM2 take 23 MB a trajectory."""


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
