"""Plays the real engine and the stepper side by side and compares every step: text, commands, score, won.

    python -m reproduce.commands.check_alfworld --games 216 --steps 100000 --log runs/check_alfworld.jsonl

A finished game is a line of the log; the same command goes on where it was stopped. Every other episode follows the
expert first, the rest is random, with a few nonsense commands. Exit code 1 at a difference.
"""

import functools
import itertools
import json
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import track

from reproduce.arguments import Parser
from reproduce.errors import UserError
from reproduce.worlds.alfworld.games import SIZES
from reproduce.worlds.alfworld.real import RealEngine, Seen
from reproduce.worlds.alfworld.source import GeneratedGames, PublishedGames, Source
from reproduce.worlds.alfworld.stepper.stepper import Stepper, load_game
from reproduce.worlds.text_environment import SPLITS, Task

EPISODE = 100
NONSENSE = ("", "dance", "take moon 1 from sky 1", "go to nowhere 7", "LOOK", "  look  ", "examine", "help me")


@dataclass
class Record:
    """Result of comparing one game. Seconds are process time; `difference` is empty if there was none."""

    game: str
    kind: str
    split: str
    steps: int = 0
    expert_steps: int = 0
    episodes: int = 0
    wins: int = 0
    real_seconds: float = 0.0
    real_start_seconds: float = 0.0
    fast_seconds: float = 0.0
    fast_start_seconds: float = 0.0
    difference: str = ""


def compare(source: Source, task: Task, steps: int, engine: RealEngine) -> Record:
    """Plays at least `steps` steps of a game on both engines, in episodes of `EPISODE`, up to the first difference."""
    record, rng = Record(task.id, task.kind, task.split), random.Random(task.id)

    def timed(what: str, call: Callable, *arguments):
        begun = time.process_time()
        made = call(*arguments)
        setattr(record, what, getattr(record, what) + time.process_time() - begun)
        return made

    content = source.content(task)
    loaded = timed("fast_start_seconds", lambda: load_game(*source.game(task)))
    while True:
        seen = timed("real_start_seconds", *([engine.restart] if record.episodes else [engine.start, content]))
        episode = timed("fast_seconds", Stepper, loaded)
        ours = timed("fast_seconds", lambda episode=episode: _ours(episode, episode.intro()))
        plan, won = list(loaded.game.plan) if record.episodes % 2 == 0 else [], False
        for turn in range(EPISODE + 1):
            if difference := _difference(seen, ours):
                record.difference = f"{task.id}, episode {record.episodes}, turn {turn}: {difference}"
                return replace(record, episodes=record.episodes + 1)
            if turn == EPISODE or record.steps >= steps:
                break
            command, expert = choose_command(rng, plan, seen)
            seen = timed("real_seconds", engine.step, command)
            ours = timed("fast_seconds", lambda episode=episode, c=command: _ours(episode, episode.step(c)))
            record.steps += 1
            record.expert_steps += expert
            won = won or seen.won
        record.episodes += 1
        record.wins += won
        if record.steps >= steps:
            return record


def _ours(episode: Stepper, text: str) -> Seen:
    return Seen(text, episode.admissible(), int(episode.won), episode.won)


def _difference(real: Seen, ours: Seen) -> str:
    if real.text != ours.text:
        return f"text {real.text!r} and {ours.text!r}"
    if real.admissible != ours.admissible:
        left, right = set(real.admissible), set(ours.admissible)
        return f"commands {sorted(left - right)} only in the real engine, {sorted(right - left)} only in the stepper"
    return "" if (real.score, real.won) == (ours.score, ours.won) else f"won {real.won} and {ours.won}"


def choose_command(rng: random.Random, plan: list[str], seen: Seen) -> tuple[str, bool]:
    """The next command and whether it is the expert's. While a plan is followed, detours only look around; otherwise
    half of the commands are drawn by their first word, so that rare ones come up."""
    if rng.random() < 0.02:
        return rng.choice(NONSENSE), False
    if plan and rng.random() < 0.8:
        return plan.pop(0), True
    choices = seen.admissible
    if plan:
        choices = tuple(c for c in choices if c.split()[0] in ("look", "inventory", "help", "examine"))
    elif rng.random() < 0.5:
        verb = rng.choice(sorted({command.split()[0] for command in choices}))
        choices = tuple(command for command in choices if command.split()[0] == verb)
    return rng.choice(choices), False


def _tasks(source: Source, count: int) -> list[Task]:
    """The first `count` tasks, splits and task types in turn."""
    lists = [source.tasks(split) for split in SPLITS]
    turns = itertools.zip_longest(*(tasks[2 * rank :] + tasks[: 2 * rank] for rank, tasks in enumerate(lists)))
    return [task for turn in turns for task in turn if task][:count]


_engine = functools.cache(RealEngine)


def _work(source: Source, task: Task, steps: int, quick: bool) -> Record:
    return compare(source, task, steps, _engine(quick))


def run(jobs: list[tuple[Source, Task]], steps: int, log: Path, quick: bool, workers: int) -> list[Record]:
    """Compares `steps` steps in all, the same number in each game, and appends a line per game to `log`."""
    done = [Record(**json.loads(line)) for line in log.read_text().splitlines()] if log.is_file() else []
    log.parent.mkdir(parents=True, exist_ok=True)
    names = {task.id for _, task in jobs}
    records = [record for record in done if record.game in names]
    left = [(source, task) for source, task in jobs if task.id not in {record.game for record in records}]
    with ProcessPoolExecutor(workers) as pool:
        waiting = [pool.submit(_work, source, task, -(-steps // len(jobs)), quick) for source, task in left]
        console = Console(stderr=True)
        for future in track(as_completed(waiting), "games", total=len(left), console=console):
            records.append(future.result())
            with log.open("a") as file:
                file.write(json.dumps(asdict(records[-1])) + "\n")
            if records[-1].difference:
                pool.shutdown(cancel_futures=True)
                break
    return records


def summary(records: list[Record]) -> str:
    """The counts and speeds of a check, in a few lines."""
    frame = pd.DataFrame(records)
    total = frame.sum(numeric_only=True)
    seconds = total.filter(like="seconds").clip(lower=1e-9)
    lines = [
        f"{len(records)} games of {frame['kind'].nunique()} types, {total['episodes']:.0f} episodes "
        f"({total['wins']:.0f} won), {total['steps']:.0f} steps, {total['expert_steps']:.0f} of them the expert's",
        f"real engine {total['steps'] / seconds['real_seconds']:.1f} steps/s and "
        f"{seconds['real_start_seconds'] / total['episodes']:.2f} s to start an episode; stepper "
        f"{total['steps'] / seconds['fast_seconds']:.0f} steps/s and "
        f"{1000 * seconds['fast_start_seconds'] / len(records):.1f} ms to load a game (process time)",
    ]
    different = [r.difference for r in records if r.difference]
    return "\n".join([*lines, f"DIFFERENT: {different[0]}" if different else "no difference"])


def main(arguments: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = Parser(prog="python -m reproduce.commands.check_alfworld", description=__doc__)
    add = parser.add_argument
    add("--games", type=int, default=216, help="how many games, splits and task types in turn")
    add("--steps", type=int, default=100_000, help="how many steps in all")
    add("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES), help="sizes of generated games")
    add("--seed", type=int, default=7, help="seed of the generated games")
    add("--data", type=Path, help="check ALFWorld's published games below this folder instead")
    add("--log", type=Path, default=Path("runs/check_alfworld.jsonl"), help="where the results go")
    add("--jobs", type=int, default=1, help="processes")
    add("--stock", action="store_true", help="the real engine without our shortcuts")
    options = parser.parse_args(arguments)
    if min(options.games, options.steps, options.jobs) < 1:
        raise UserError("--games, --steps and --jobs must be at least 1")
    if options.data:
        sources: list[Source] = [PublishedGames(options.data)]
    else:
        per_kind = dict.fromkeys(SPLITS, -(-options.games // (6 * len(SPLITS) * len(options.sizes))))
        sources = [GeneratedGames(options.seed, size, per_kind) for size in options.sizes]
    share = -(-options.games // len(sources))
    groups = [[(source, task) for task in _tasks(source, share)] for source in sources]
    jobs = [job for turn in itertools.zip_longest(*groups) for job in turn if job][: options.games]
    records = run(jobs, options.steps, options.log, not options.stock, options.jobs)
    print(summary(records))
    return 1 if any(record.difference for record in records) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
