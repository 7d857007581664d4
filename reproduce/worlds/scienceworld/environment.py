"""ScienceWorld (arXiv 2203.07540), the real simulator, set up as in EPO's released code (arXiv 2509.22576).

Tasks are (task type, variation) pairs. EPO trains on the official training variations of 29 of the 30 task types. It
calls the official development variations IID and the official test variations OOD; all are variations of the same
types. Every world has the "easy" simplifications: teleporting, open doors, self-watering pots, and no electrical
actions except in the electrical tasks.

There are three success rules, always all reported:

- `released`: what the released code counts, done and score > 0. The simulator also ends an episode when more than 100
  moves are used up, and one `wait` takes 11, so waiting ten times after any partial progress is a success.
- `strict`: all of the task, score 100 and completed.
- `score`: the final score, 0 to 1. A wrong `focus` ends an episode at -100, which counts as 0 here.

The simulator is not deterministic: the same actions may give other observations. It takes no seed.
"""

from collections.abc import Sequence

from reproduce.closing import Closing
from reproduce.errors import UserError
from reproduce.worlds.scienceworld.java import JavaDied, JavaError
from reproduce.worlds.scienceworld.pool import Simulator, SimulatorPool
from reproduce.worlds.text_environment import ATTEMPTS, SPLITS, EpisodeLost, Step, Task

TURNS = 30
"""Turns of an episode: env.max_steps of EPO's released ScienceWorld runs. The caller counts them."""

MOVE_LIMIT = 100
"""The simulator's own limit as EPO's released worker sets it (envStepLimit). Only waiting reaches it in 30 turns."""

SIMPLIFICATION = "easy"
NOT_IN_EPO = ("use-thermometer",)
"""The one task type that EPO's index files leave out."""
EPO_KINDS = 29
"""Task types that are left."""

RULES = ("released", "strict", "score")
LISTINGS = ("objects", "pairs", "none")


def success(score: int, completed: bool, done: bool) -> dict[str, float]:
    """Compute each success rule, 0.0 to 1.0, for an episode that ends now with this final score.

    An episode that the caller cuts short is not done, so it is no success under `released`, whatever its score.

    Args:
        score: -100 to 100.
        completed: whether the task is completed.
        done: whether the simulator's package ended the episode.
    """
    return {
        "released": float(done and score > 0),
        "strict": float(completed and score == 100),
        "score": max(score, 0) / 100,
    }


def is_done(score: int, completed: bool, moves: int, move_limit: int | None) -> bool:
    """Whether the simulator's package ends the episode: task completed, wrong focus, or too many moves."""
    return completed or score < 0 or (move_limit is not None and moves > move_limit)


class ScienceWorld(Closing):
    """Plays one episode at a time (`reproduce.worlds.text_environment.TextEnvironment`).

    `info` of a step: goal (the task in words), score (-100 to 100), moves, completed, and templates and objects if they
    are listed. If a simulator dies, `step` raises EpisodeLost; `reset` then starts the task in another one, and the
    third loss of the same task in a row is a UserError.

    Args:
        pool: simulators shared with other environments; None: its own. A simulator is held from `reset` until the
            episode is done or `close`, so an environment whose episode was cut short holds one until then.
        rule: the main success rule. A step's reward is what it adds to that rule's value (0 or 1 at the end, except for
            `score`).
        listing: "objects" puts the action templates and the objects in sight into `info`, as EPO's prompt shows them;
            "pairs" lists every valid action in `admissible` (hundreds, slow); "none" does neither.
        move_limit: None lets only the caller's turns end an episode, which closes the loophole of `released`.
        kinds: the task types; None: EPO's 29.

    Raises:
        UserError: a setting has an unknown value.
    """

    name = "scienceworld"

    def __init__(
        self,
        pool: SimulatorPool | None = None,
        *,
        rule: str = "released",
        listing: str = "objects",
        move_limit: int | None = MOVE_LIMIT,
        kinds: Sequence[str] | None = None,
    ):
        for setting, value, known in (("rule", rule, RULES), ("listing", listing, LISTINGS)):
            if value not in known:
                raise UserError(f"ScienceWorld: {setting} is {value!r}; choose {', '.join(known)}")
        self.success_rules = (rule, *(other for other in RULES if other != rule))
        self.pool = SimulatorPool(size=1) if pool is None else pool
        self._owns_pool = pool is None
        self.listing, self.move_limit = listing, move_limit
        self._kinds = kinds
        self.simulator: Simulator | None = None
        self._task: Task | None = None
        self._running = self._lost = False
        self._losses = 0

    def kinds(self) -> tuple[str, ...]:
        """List the task types in use, in the package's (alphabetical) order.

        Raises:
            UserError: the package does not have one of them.
        """
        known = tuple(self._asked(self.pool.variations))
        if self._kinds is None:
            return tuple(kind for kind in known if kind not in NOT_IN_EPO)
        for kind in self._kinds:
            if kind not in known:
                raise UserError(f"ScienceWorld: there is no task type {kind!r}; choose among {', '.join(known)}")
        return tuple(kind for kind in known if kind in self._kinds)

    def tasks(self, split: str) -> list[Task]:
        """List all (task type, variation) pairs of a split, by type and variation; for EPO's 29 types 3322, 1661, 1684.

        Raises:
            UserError: the split is unknown.
        """
        if split not in SPLITS:
            raise UserError(f"ScienceWorld: there is no split {split!r}; choose {', '.join(SPLITS)}")
        variations = self._asked(self.pool.variations)
        return [Task(f"{kind}/{number}", split, kind) for kind in self.kinds() for number in variations[kind][split]]

    def reset(self, task: Task) -> Step:
        """Start an episode. A simulator that dies meanwhile is replaced; the episode has not begun yet."""
        self._losses = self._losses if self._lost and task == self._task else 0
        self._task, self._lost = task, False
        try:
            self._facts, start = self._asked(lambda: self._begin(task))
        except UserError:
            self._release()
            raise
        self._running = True
        self._value = success(*start[1:3], done=False)[self.success_rules[0]]
        return self._step(*start)

    def step(self, action: str) -> Step:
        """Play one action. The simulator answers an unknown one with a sentence and no move.

        Raises:
            EpisodeLost: the simulator died.
            UserError: it died three times in a row in this task.
            ValueError: no episode is running.
        """
        if not self._running:
            raise ValueError("ScienceWorld: no episode is running; call reset first")
        try:
            return self._step(*self.simulator.step(action))
        except (JavaDied, JavaError) as problem:
            self._drop()
            self._lost = True
            self._losses += 1
            if self._losses >= ATTEMPTS:
                raise UserError(
                    f"ScienceWorld: the simulator failed {self._losses} times in a row in task {self._task.id}, "
                    f"the last time because {problem}; look for a full memory or another program that ends Java"
                ) from None
            raise EpisodeLost(str(problem)) from None

    def gold_path(self, task: Task) -> tuple[str, ...]:
        """Return the actions of the built-in expert. They reach score 100 but never teleport, so they are not the
        shortest.
        """

        def ask() -> tuple[str, ...]:
            self._load(task, gold=True)
            return self.simulator.gold_path()

        try:
            return self._asked(ask)
        finally:
            self._release()

    def close(self) -> None:
        """End the episode and give the simulator back; close the pool if it is its own. Safe to call twice."""
        self._release()
        if self._owns_pool:
            self.pool.close()

    def _step(self, text: str, score: int, completed: bool, moves: int) -> Step:
        done = is_done(score, completed, moves, self.move_limit)
        values = success(score, completed, done)
        rules = {rule: values[rule] for rule in self.success_rules}
        gained, self._value = rules[self.success_rules[0]] - self._value, rules[self.success_rules[0]]
        info = {**self._facts, "score": score, "moves": moves, "completed": completed}
        if self.listing == "objects":
            info["objects"] = self.simulator.objects()
        admissible = self.simulator.valid_actions() if self.listing == "pairs" else ()
        if done:
            self._release()
        return Step(text, admissible, gained, done, rules, info)

    def _begin(self, task: Task) -> tuple[dict, tuple[str, int, bool, int]]:
        """Facts that hold all through the episode, and the simulator's first answer."""
        self._load(task)
        # takes no move, as in the package; it also replaces the score that is left of the episode before
        start = self.simulator.step("look around")
        facts = {"goal": self.simulator.goal()}
        if self.listing == "objects":
            facts["templates"] = self.simulator.templates()
        return facts, start

    def _load(self, task: Task, gold: bool = False) -> None:
        kind, _, number = task.id.rpartition("/")
        if not kind or not number.isdigit():
            raise UserError(f"ScienceWorld: {task.id!r} is no task; ids look like 'boil/3', see tasks(split)")
        self._running = False
        if self.simulator is None:
            self.simulator = self.pool.take()
        self.simulator.load(kind, int(number), SIMPLIFICATION, gold)

    def _asked(self, ask):
        """The answer to a question that any simulator can answer, also after one has died."""
        problem = None
        for _ in range(ATTEMPTS):
            try:
                return ask()
            except (JavaDied, JavaError) as failure:
                problem = failure
                self._drop()
        raise UserError(f"ScienceWorld: the simulator failed {ATTEMPTS} times in a row: {problem}")

    def _drop(self) -> None:
        """End a simulator that failed: its state is unknown."""
        if self.simulator is not None:
            self.simulator.stop()
        self._release()

    def _release(self) -> None:
        self._running = False
        if self.simulator is not None:
            self.pool.give(self.simulator)
            self.simulator = None
