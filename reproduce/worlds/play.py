"""Play whole episodes with a policy that is a plain function, and start lost ones again."""

from collections.abc import Callable
from dataclasses import dataclass

from reproduce.worlds.text_environment import EpisodeLost, Step, Task, TextEnvironment


@dataclass(frozen=True)
class Episode:
    """A finished episode: the first observation's step, then one per action. `len(actions) == len(steps) - 1`."""

    task: Task
    steps: tuple[Step, ...]
    actions: tuple[str, ...]

    @property
    def last(self) -> Step:
        """The last step: its `success` holds the episode's value under every rule."""
        return self.steps[-1]


Policy = Callable[[list[Step], list[str]], str | None]
"""(steps so far, actions so far) -> the next action, or None to stop."""


def play(environment: TextEnvironment, task: Task, policy: Policy, turns: int) -> Episode:
    """Play one episode of at most `turns` actions. A lost one is played again from its start; see `EpisodeLost`."""
    while True:
        try:
            return _play_once(environment, task, policy, turns)
        except EpisodeLost:
            continue


def _play_once(environment: TextEnvironment, task: Task, policy: Policy, turns: int) -> Episode:
    steps, actions = [environment.reset(task)], []
    while len(actions) < turns and not steps[-1].done:
        action = policy(steps, actions)
        if action is None:
            break
        actions.append(action)
        steps.append(environment.step(action))
    return Episode(task, tuple(steps), tuple(actions))


def replay(actions: tuple[str, ...]) -> Policy:
    """Make the policy that plays `actions` in order, then stops."""
    return lambda steps, played: actions[len(played)] if len(played) < len(actions) else None
