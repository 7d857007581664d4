"""Real environments: our stepping against the way that the released code steps, eight episodes at a time.

ScienceWorld: `worlds.scienceworld.environment` against the package's own environment as EPO's released worker uses it
(arXiv 2509.22576): `step`, which lists every valid pair of action and object, and a second listing for the prompt. A
third side plays the simulator's own step alone, which bounds what stepping can gain. All have eight Java processes and
a thread for each. ALFWorld: the stepper against the stock engine, both with eight games in this thread, stepped in turn
by the same commands.
"""

import gc
import os
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import psutil
from rich.console import Console
from rich.progress import track

from reproduce.commands.bench.rows import Measurement, Sizes, in_turn, missing, paired
from reproduce.errors import UserError

AT_ONCE = 8
SIDES = {"scienceworld": ("ours", "released worker"), "alfworld": ("stepper", "stock engine")}
SPEED, MEMORY = f"steps per second, {AT_ONCE} episodes at a time", "MB of memory"
JVM_MB, GAME_MB = 500, 50
"""Most memory that a Java process and a loaded game may take."""


def or_missing(rows: Callable) -> Callable[[Sizes], list[Measurement]]:
    """The function `rows(sizes)`, which gives rows that say why where the extra is not installed."""
    comparison = rows.__name__.removesuffix("_rows")

    def found(sizes: Sizes) -> list[Measurement]:
        try:
            return rows(sizes)
        except UserError as error:
            return [missing(comparison, measure, *SIDES[comparison], str(error)) for measure in (SPEED, MEMORY)]

    return found


@or_missing
def scienceworld_rows(sizes: Sizes) -> list[Measurement]:
    """Steps per second of all eight together, and the resident memory of a Java process after them."""
    from reproduce.worlds.scienceworld.environment import ScienceWorld
    from reproduce.worlds.scienceworld.pool import classpath
    from reproduce.worlds.text_environment import IID

    classpath()  # UserError without the packages
    with ScienceWorld() as environment:
        tasks = environment.tasks(IID)[: AT_ONCE * 20 : 20]
    ways = dict(zip(SIDES["scienceworld"], (_ours, _released), strict=True)) | {"bare calls": _bare}
    speeds, memory = {}, {}
    for name, opened in track(ways.items(), "ScienceWorld: our way and the released", console=Console(stderr=True)):
        with opened(tasks) as calls:
            speeds[name] = _together(calls, sizes)
            memory[name] = [_java_mb()] * sizes.env_repetitions
    bare, released = speeds.pop("bare calls"), speeds["released worker"]
    memory.pop("bare calls")
    bound, bounds = "the same, nothing but the simulator's step", "the most that any stepping can reach"
    note = f"a Java process; ours at most {JVM_MB} MB: {'yes' if max(memory['ours']) <= JVM_MB else 'no'}"
    return [
        paired("scienceworld", SPEED, speeds, headline=True),
        paired("scienceworld", bound, {"bare calls": bare, "released worker": released}, note=bounds),
        paired("scienceworld", MEMORY, memory, note=note),
    ]


Calls = list[tuple[Callable, Callable]]
"""(start, step) of each of the episodes that are played together."""


@contextmanager
def _ours(tasks: list) -> Iterator[Calls]:
    from reproduce.worlds.scienceworld.environment import ScienceWorld
    from reproduce.worlds.scienceworld.pool import SimulatorPool

    with SimulatorPool(AT_ONCE) as pool:
        pool.warm_up(AT_ONCE)
        environments = [ScienceWorld(pool) for _ in tasks]
        yield [(partial(e.reset, task), e.step) for e, task in zip(environments, tasks, strict=True)]


@contextmanager
def _bare(tasks: list) -> Iterator[Calls]:
    """The one call that no way of stepping can do without."""
    from reproduce.worlds.scienceworld.environment import SIMPLIFICATION
    from reproduce.worlds.scienceworld.pool import Simulator, SimulatorPool

    def start(simulator: Simulator, task) -> None:
        kind, _, variation = task.id.rpartition("/")
        simulator.load(kind, int(variation), SIMPLIFICATION)
        simulator.call("step", "look around")

    with SimulatorPool(AT_ONCE) as pool:
        simulators = [pool.take() for _ in tasks]
        yield [(partial(start, s, task), partial(s.call, "step")) for s, task in zip(simulators, tasks, strict=True)]


@contextmanager
def _released(tasks: list) -> Iterator[Calls]:
    from reproduce.worlds.scienceworld.environment import SIMPLIFICATION

    with _java_on_path():
        from scienceworld import ScienceWorldEnv

        environments = [ScienceWorldEnv("", None, envStepLimit=100) for _ in tasks]

    def start(environment, task) -> None:
        kind, _, variation = task.id.rpartition("/")
        environment.load(kind, int(variation), SIMPLIFICATION)
        environment.reset()

    def step(environment, action: str) -> None:
        environment.step(action)
        environment.get_valid_action_object_combinations()

    try:
        yield [(partial(start, e, task), partial(step, e)) for e, task in zip(environments, tasks, strict=True)]
    finally:
        for environment in environments:
            environment.close()


def _together(calls: Calls, sizes: Sizes) -> list[float]:
    """Steps per second of all together, per repetition; starting is not timed."""
    from reproduce.worlds.scienceworld.scripted import ROOMS

    actions = [f"teleport to {ROOMS[i % len(ROOMS)]}" if i % 2 else "look around" for i in range(sizes.turns)]
    speeds = []

    def play(step: Callable) -> None:
        for action in actions:
            step(action)

    with ThreadPoolExecutor(len(calls)) as threads:
        for _ in range(sizes.env_repetitions):
            list(threads.map(lambda call: call[0](), calls))
            begun = time.perf_counter()
            list(threads.map(play, [step for _, step in calls]))
            speeds.append(len(calls) * len(actions) / (time.perf_counter() - begun))
    return speeds


def _java_mb() -> float:
    """Mean resident memory of this process's Java processes, in MB (10^6 bytes)."""
    sizes = [p.memory_info().rss for p in psutil.Process().children(recursive=True) if "java" in p.name()]
    return float(np.mean(sizes)) / 1e6


@contextmanager
def _java_on_path() -> Iterator[None]:
    """The package starts `java` by name; ours may be inside a wheel."""
    from reproduce.worlds.scienceworld.java import java

    before = os.environ["PATH"]
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(java()), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


@or_missing
def alfworld_rows(sizes: Sizes) -> list[Measurement]:
    """Steps per second of eight full-size games stepped in turn, and the memory that loading a game takes."""
    from reproduce.worlds.alfworld.real import RealAlfworld
    from reproduce.worlds.alfworld.source import GeneratedGames
    from reproduce.worlds.alfworld.stepper.environment import FastAlfworld, LoadedGames
    from reproduce.worlds.alfworld.wheel import check_versions
    from reproduce.worlds.text_environment import IID

    check_versions()  # UserError without the packages
    source = GeneratedGames(seed=7, size="full", per_kind={IID: 2})
    tasks = source.tasks(IID)[:AT_ONCE]
    for task in tasks:
        source.source_game(task)  # made once, and no part of either side
    RealAlfworld(source).reset(tasks[0])  # its imports are no part of a game
    games, fresh = LoadedGames(source), LoadedGames(source)
    ours, stock = SIDES["alfworld"]
    played = {ours: [FastAlfworld(source, games) for _ in tasks], stock: [RealAlfworld(source) for _ in tasks]}
    commands = [
        _commands(environment, task, sizes.turns) for environment, task in zip(played[ours], tasks, strict=True)
    ]
    memory = {
        ours: [_held_mb(lambda: [fresh[task] for task in tasks]) / len(tasks)],
        stock: [_held_mb(lambda: [e.reset(t) for e, t in zip(played[stock], tasks, strict=True)]) / len(tasks)],
    }
    sides = {name: lambda _, found=found: _steps_per_second(found, tasks, commands) for name, found in played.items()}
    speeds = in_turn("ALFWorld: the stepper against the stock engine", sides, sizes.env_repetitions)
    for environment in (*played[ours], *played[stock]):
        environment.close()
    small = "yes" if memory[ours][0] <= GAME_MB else "no"
    note = f"Python objects of a game; the stepper at most {GAME_MB} MB: {small}"
    return [paired("alfworld", SPEED, speeds, headline=True), paired("alfworld", MEMORY, memory, note=note)]


def _commands(environment, task, count: int) -> list[str]:
    """Commands that a random player gives, each admissible where it is given."""
    rng, step, played = random.Random(task.id), environment.reset(task), []
    while len(played) < count and not step.done:
        played.append(rng.choice(step.admissible))
        step = environment.step(played[-1])
    return played


def _steps_per_second(environments: list, tasks: list, commands: list[list[str]]) -> float:
    """Steps per second; starting is not timed."""
    for environment, task in zip(environments, tasks, strict=True):
        environment.reset(task)
    begun, steps = time.perf_counter(), 0
    for turn in range(max(map(len, commands))):
        for environment, played in zip(environments, commands, strict=True):
            if turn < len(played):
                environment.step(played[turn])
                steps += 1
    return steps / (time.perf_counter() - begun)


def _held_mb(make: Callable) -> float:
    """MB (10^6 bytes) of Python objects that are there because of `make()`; what lies in C libraries is not seen."""
    gc.collect()
    tracemalloc.start()
    made = make()
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del made
    return held / 1e6
