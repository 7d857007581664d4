"""ScienceWorld simulators, each in its own Java process, kept alive and reused.

We use one process per simulator, because its random generator and its simplifications are global to the process, and
two worlds that load at the same time in one process break each other.
"""

import json
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from reproduce.closing import Closing
from reproduce.errors import UserError
from reproduce.worlds.scienceworld.java import INSTALL, OPTIONS, Jvm

VERSION = "1.2.3"
"""Tasks, variations, scores and gold paths are those of this version of the simulator."""

SPLIT_CALLS = {"train": "getVariationsTrain", "iid": "getVariationsDev", "ood": "getVariationsTest"}
"""EPO's splits: IID tasks are the official development variations, OOD tasks the official test variations."""

_INTERFACE = "scienceworld.runtime.pythonapi.PythonInterface"


def classpath() -> list[Path]:
    """Find the jars of ScienceWorld and of py4j in their wheels.

    Raises:
        UserError: they are missing or of another version.
    """
    try:
        found = version("scienceworld")
        from py4j.java_gateway import find_jar_path
        from scienceworld.constants import JAR_PATH
    except (PackageNotFoundError, ModuleNotFoundError) as error:
        raise UserError(f"the package '{error.name}' is not installed; {INSTALL}") from None
    if found != VERSION:
        raise UserError(
            f"scienceworld {found} is installed and {VERSION} is needed (tasks and scores differ); {INSTALL}"
        )
    jars = [Path(find_jar_path()), Path(JAR_PATH)]
    for jar in jars:
        if not jar.is_file():
            raise UserError(f"{jar.name or 'the py4j jar'} is missing from its package; install it again: {INSTALL}")
    return jars


class Simulator:
    """The simulator's own calls; none lists more than you ask for. Errors: those of `Jvm.call`."""

    def __init__(self, options: tuple[str, ...] = OPTIONS):
        self.jvm = Jvm(classpath(), options)
        self._server = None

    def call(self, method: str, *arguments):
        """Call a method of the simulator's Python interface in Java."""
        return self.jvm.call(self._ready(), method, *arguments)

    def load(self, kind: str, variation: int, simplification: str, gold: bool = False) -> None:
        """Build the world of a task's variation. No reset has to follow: in Java a reset is the same load once more.

        Args:
            kind: the task type.
            variation: its number.
            simplification: such as "easy".
            gold: let the expert solve it first.

        Raises:
            UserError: there is no such variation.
        """
        refusal = self.call("load", kind, variation, simplification, gold)
        if refusal:
            raise UserError(f"ScienceWorld: {refusal.removeprefix('ERROR: ')}")

    def step(self, action: str) -> tuple[str, int, bool, int]:
        """Play an action. Returns (observation, score -100..100, completed, moves so far)."""
        text = self.call("step", action)
        # rounded as the package does: Java's score is a fraction, a wrong `focus` gives -1
        return text, round(100 * self.call("getScore")), self.call("getCompleted"), self.call("getNumMoves")

    def goal(self) -> str:
        """Return the task in words."""
        return self.call("getTaskDescription")

    def templates(self) -> tuple[str, ...]:
        """List action templates such as "open OBJ", sorted; the same during a whole episode."""
        return self.jvm.strings(self._ready(), "getPossibleActions")

    def objects(self) -> tuple[str, ...]:
        """List names that can stand for OBJ now: names of the objects in sight, in the simulator's order."""
        return self.jvm.strings(self._ready(), "getPossibleObjects")

    def valid_actions(self) -> tuple[str, ...]:
        """List every valid action with its objects, sorted: hundreds, and slow (some ten times a step)."""
        return self.jvm.strings(self._ready(), "getValidActionObjectCombinations")

    def gold_path(self) -> tuple[str, ...]:
        """Return the actions of the built-in expert for the loaded task; it must have been loaded with `gold`."""
        return self.jvm.strings(self._ready(), "getGoldActionSequence")

    def kinds(self) -> tuple[str, ...]:
        """List the names of all task types, alphabetical."""
        return self.jvm.strings(self._ready(), "getTaskNames")

    def variations(self, kind: str) -> dict[str, tuple[int, ...]]:
        """List the variations of a task type by split, from the package's own split functions."""
        self.call("taskStr_$eq", kind)  # they read the loaded task's name only: no world needs to be built
        found = {}
        for split, method in SPLIT_CALLS.items():
            numbers = self.call(method)
            found[split] = tuple(json.loads(self.jvm.call(numbers, "toString")))  # such as "[0, 1, 2]"
            self.jvm.release(numbers)
        return found

    def stop(self) -> None:
        """End the Java process; safe to call twice."""
        self.jvm.stop()

    def _ready(self):
        if self._server is None:
            self._server = self.jvm.new(_INTERFACE)
        return self._server


class SimulatorPool(Closing):
    """At most `size` simulators, started when first needed and reused. Safe between threads; a context manager.

    size: one per episode that is played at the same time; about 0.35 GB of memory each.
    """

    def __init__(self, size: int = 8, options: tuple[str, ...] = OPTIONS):
        if size < 1:
            raise UserError(f"ScienceWorld: the pool's size is {size}; set it to 1 or more")
        self.size, self.options = size, options
        self._idle: list[Simulator] = []
        self._taken: set[Simulator] = set()
        self._lock = threading.Lock()
        self._splits: dict[str, dict[str, tuple[int, ...]]] = {}
        self._closed = False

    def warm_up(self, count: int) -> None:
        """Launch simulators until there are `count` (at most `size`), side by side; calls wait for the rest."""
        with self._lock:
            while len(self._idle) + len(self._taken) < min(count, self.size):
                self._idle.append(Simulator(self.options))

    def take(self) -> Simulator:
        """Return a simulator for one episode.

        Raises:
            UserError: all are in use; waiting could wait forever.
        """
        with self._lock:
            if self._closed:
                raise ValueError("ScienceWorld: the pool is closed; open another")
            while self._idle:
                simulator = self._idle.pop()
                if simulator.jvm.alive():
                    break
                simulator.stop()
            else:
                if len(self._taken) >= self.size:
                    raise UserError(
                        f"ScienceWorld: all {self.size} simulators of the pool are in use; end an episode, close an "
                        "environment, or set a larger size"
                    )
                simulator = Simulator(self.options)
            self._taken.add(simulator)
            return simulator

    def give(self, simulator: Simulator) -> None:
        """Take a simulator back; a dead one is dropped."""
        with self._lock:
            self._taken.discard(simulator)
            if simulator.jvm.alive():
                self._idle.append(simulator)
            else:
                simulator.stop()

    def variations(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """List the variations of every task type by split; read from the package once."""
        if not self._splits:
            simulator = self.take()
            try:
                self._splits = {kind: simulator.variations(kind) for kind in simulator.kinds()}
            finally:
                self.give(simulator)
        return self._splits

    def close(self) -> None:
        """End all Java processes, also of episodes that still run; safe to call twice."""
        with self._lock:
            self._closed = True
            for simulator in [*self._idle, *self._taken]:
                simulator.stop()
            self._idle.clear()
            self._taken.clear()
