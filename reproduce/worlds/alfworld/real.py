"""The real ALFWorld engine (`alfworld` and `textworld`, the extra) behind our interface.

An engine is one `PddlEnv` with ALFWorld's names (`AlfredDemangler`), as `AlfredTWEnv` builds it, without its batching
and its global random state.
"""

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from reproduce.worlds.alfworld.source import Source
from reproduce.worlds.alfworld.steps import SUCCESS_RULES, AlfworldSteps
from reproduce.worlds.alfworld.wheel import check_versions
from reproduce.worlds.text_environment import Step, Task


@dataclass(frozen=True)
class Seen:
    """The engine's answer: feedback, admissible commands in its order, score and whether the game is won."""

    text: str
    admissible: tuple[str, ...]
    score: int
    won: bool


class RealEngine:
    """Plays the content of one game file at a time.

    quick: parse every grammar string once, and copy the bindings of a text without the objects in them, which no text
    changes. The engine then gives the same answers about ten times faster. The check uses it, and a sample of it does
    not.
    """

    def __init__(self, quick: bool = False):
        check_versions()
        with _own_arguments():
            import textworld
            from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
            from textworld.envs import PddlEnv

            self._shortcuts = _Shortcuts() if quick else nullcontext()
        self._env = AlfredDemangler(PddlEnv(textworld.EnvInfos(admissible_commands=True)), shuffle=False)

    def start(self, content: dict) -> Seen:
        """Load the content of a `.tw-pddl` file and start an episode."""
        with _own_arguments(), self._shortcuts:
            self._env.load(content)
        return self.restart()

    def restart(self) -> Seen:
        """Start another episode of the loaded game."""
        with _own_arguments(), self._shortcuts:
            state = self._env.reset()
        return Seen(state.feedback, tuple(state["admissible_commands"]), 0, bool(state["won"]))

    def step(self, command: str) -> Seen:
        """Play a command."""
        with self._shortcuts:
            state, score, _ = self._env.step(command)
        return Seen(state.feedback, tuple(state["admissible_commands"]), int(score), bool(state["won"]))

    def close(self) -> None:
        """Free the engine."""
        self._env.close()


class RealAlfworld(AlfworldSteps):
    """The real engine as a `TextEnvironment`."""

    name = "alfworld (real engine)"
    success_rules = SUCCESS_RULES

    def __init__(self, source: Source, quick: bool = False):
        super().__init__(source)
        self._engine = RealEngine(quick)

    def reset(self, task: Task) -> Step:
        """Start an episode of `task`.

        Raises:
            UserError: the source has no files for it.
        """
        content = self.source.content(task)
        seen = self._engine.start(content)
        return self._first(seen.text, seen.admissible, seen.won)

    def step(self, action: str) -> Step:
        """Play one action, admissible or not. Raises ValueError before the first reset or after the end."""
        self._check_running()
        seen = self._engine.step(action)
        return self._next(seen.text, seen.admissible, seen.won)

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()


@contextmanager
def _own_arguments() -> Iterator[None]:
    """Restore sys.argv: Fast Downward's translator overwrites the arguments of the whole process."""
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        yield
    finally:
        sys.argv = arguments


class _Shortcuts:
    """Inside the context, equivalent parsers and copies that do no work twice replace TextWorld's."""

    def __init__(self):
        from textworld.envs.pddl import textgen
        from textworld.logic import Rule

        self._parse, self._query = textgen._parse_and_convert, Rule.parse_conjunctive_query
        self._texts: dict[str, list] = {}
        self._queries: dict[str, Rule] = {}
        self._changes = [
            (textgen, "_parse_and_convert", self._parse_once),
            (textgen, "copy_context", self._copy_context),
            (Rule, "parse_conjunctive_query", self._query_once),
        ]
        self._before: list[tuple[object, str, object]] = []

    def __enter__(self) -> None:
        self._before = [(owner, name, vars(owner)[name]) for owner, name, _ in self._changes]
        for owner, name, value in self._changes:
            setattr(owner, name, value)

    def __exit__(self, *_: object) -> None:
        for owner, name, value in self._before:
            setattr(owner, name, value)

    def _parse_once(self, text: str, **options: object) -> list:
        if text not in self._texts:
            self._texts[text] = self._parse(text, **options)
        return [copy.copy(symbol) for symbol in self._texts[text]]  # the engine writes the context into them

    def _query_once(self, text: str) -> object:
        if text not in self._queries:
            self._queries[text] = self._query(text)
        return self._queries[text]

    @staticmethod
    def _copy_context(context: dict) -> dict:
        return {**context, "variables": dict(context["variables"]), "mapping": dict(context["mapping"])}
