"""The real ALFWorld engine (`alfworld` and `textworld`, the extra) behind our interface.

One object is one `PddlEnv` with ALFWorld's names (`AlfredDemangler`), as `AlfredTWEnv` builds it, without its batching
and its global random state.
"""

from collections.abc import Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from reproduce.errors import UserError
from reproduce.tasks.envs.alfworld_wheel import check_versions
from reproduce.tasks.envs.interface import Step, Task
from reproduce.tasks.envs.alfworld_source import GameSource


class RealEngine:
    """Plays one game file's content at a time: texts, admissible commands, score and `won` of TextWorld.

    cache_parsing: remember the parse of every grammar string. The engine parses the same strings in every step; with
    this it gives the same output about three times faster.
    """

    def __init__(self, cache_parsing: bool = False):
        check_versions()
        textworld, pddl, demangler = _engine()
        if cache_parsing:
            _cache_parsing()
        infos = textworld.EnvInfos(admissible_commands=True)
        self._env = demangler(pddl(infos), shuffle=False)

    def load(self, content: dict) -> None:
        """Loads what a `.tw-pddl` file holds."""
        self._env.load(content)

    def reset(self) -> SimpleNamespace:
        """text, admissible, score and won at the start."""
        state = self._env.reset()
        return _seen(state)

    def step(self, command: str) -> SimpleNamespace:
        """text, admissible, score and won after a command."""
        state, _, _ = self._env.step(command)
        return _seen(state)
