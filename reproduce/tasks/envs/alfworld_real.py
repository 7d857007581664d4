"""The real ALFWorld engine (`alfworld` and `textworld`, the extra) behind our interface.

An engine is one `PddlEnv` with ALFWorld's names (`AlfredDemangler`), as `AlfredTWEnv` builds it, without its batching
and its global random state.
"""

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from reproduce.tasks.envs.alfworld_source import Source
from reproduce.tasks.envs.alfworld_steps import SUCCESS_RULES, AlfworldSteps
from reproduce.tasks.envs.alfworld_wheel import check_versions
from reproduce.tasks.envs.interface import Step, Task


@dataclass(frozen=True)
class Seen:
    """What the engine says: feedback, admissible commands in its order, score and whether the game is won."""

    text: str
    admissible: tuple[str, ...]
    score: int
    won: bool


class RealEngine:
    """Plays one game file's content at a time.

    cache_parsing: remember, in this process, the parse of every grammar string. The engine parses the same strings in
    every step; with this it says the same about three times faster.
    """

    def __init__(self, cache_parsing: bool = False):
        check_versions()
        with _own_arguments():
            import textworld
            from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
            from textworld.envs import PddlEnv
        if cache_parsing:
            _cache_parsing()
        self._env = AlfredDemangler(PddlEnv(textworld.EnvInfos(admissible_commands=True)), shuffle=False)

    def start(self, content: dict) -> Seen:
        """Loads what a `.tw-pddl` file holds and starts an episode."""
        with _own_arguments():
            self._env.load(content)
        return self.restart()

    def restart(self) -> Seen:
        """Another episode of the loaded game."""
        with _own_arguments():
            state = self._env.reset()
        return Seen(state.feedback, tuple(state["admissible_commands"]), 0, bool(state["won"]))

    def step(self, command: str) -> Seen:
        """Plays a command."""
        state, score, _ = self._env.step(command)
        return Seen(state.feedback, tuple(state["admissible_commands"]), int(score), bool(state["won"]))

    def close(self) -> None:
        """Frees the engine."""
        self._env.close()


class RealAlfworld(AlfworldSteps):
    """The real engine as an `Environment`."""

    name = "alfworld (real engine)"
    success_rules = SUCCESS_RULES

    def __init__(self, source: Source, cache_parsing: bool = False):
        super().__init__(source)
        self._engine = RealEngine(cache_parsing)

    def reset(self, task: Task) -> Step:
        """Starts an episode of `task`. UserError if the source has no files for it."""
        content = self.source.content(task)
        seen = self._engine.start(content)
        return self._first(seen.text, seen.admissible, seen.won)

    def step(self, action: str) -> Step:
        """Plays one action, admissible or not. ValueError before the first reset or after the end."""
        self._check_running()
        seen = self._engine.step(action)
        return self._next(seen.text, seen.admissible, seen.won)

    def close(self) -> None:
        """Frees the engine."""
        self._engine.close()


@contextmanager
def _own_arguments() -> Iterator[None]:
    """Fast Downward's translator overwrites the arguments of the whole process; here they are put back."""
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        yield
    finally:
        sys.argv = arguments


def _cache_parsing() -> None:
    """Replaces the two parsers by ones that parse every string once; symbols are copied, since the engine writes to
    them."""
    from textworld.envs.pddl import textgen
    from textworld.logic import Rule

    if hasattr(textgen, "_parsed_once"):
        return
    parse, query = textgen._parse_and_convert, Rule.parse_conjunctive_query
    texts: dict[str, object] = {}
    queries: dict[str, Rule] = {}

    def parse_once(text: str, **options: object) -> object:
        if text not in texts:
            texts[text] = parse(text, **options)
        return copy.deepcopy(texts[text])

    def query_once(text: str) -> Rule:
        if text not in queries:
            queries[text] = query(text)
        return queries[text]

    textgen._parsed_once = True
    textgen._parse_and_convert = parse_once
    Rule.parse_conjunctive_query = staticmethod(query_once)
