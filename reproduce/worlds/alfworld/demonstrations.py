"""A scripted player for demonstrations. It sees what a model sees: text and admissible actions, nothing hidden.

It searches the places in the order in which they are listed, from its own place on, and opens what is closed. It takes
what the task names, treats it, and brings it to its target. So its next action follows from the goal, the admissible
actions and the last few actions, which is all that a model with a short history sees. `noise` is the share of turns at
which it does something random instead, from which it has to recover.
"""

import re
from dataclasses import dataclass

import numpy as np

from reproduce.errors import UserError
from reproduce.worlds.text_environment import Step, Task, TextEnvironment

_TASKS = (
    (r"(?:put|find) two (\w+) (?:and put them )?in (\w+)", "two"),
    (r"(?:look at|examine the) (\w+) (?:under|with) the (\w+)", "use"),
    (r"put a (?:clean|hot|cool) (\w+) in (\w+)", ""),
    (r"(?:clean|heat|cool) some (\w+) and put it in (\w+)", ""),
    (r"put (?:a|some) (\w+) (?:in|on) (\w+)", "put"),
)
_TREATMENTS = {"clean": "clean", "hot": "heat", "heat": "heat", "cool": "cool"}
_DEVICES = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}


@dataclass(frozen=True)
class Errand:
    """Goal of a task sentence. treatment: clean, heat, cool or None. use: the target is a lamp to switch on."""

    thing: str
    target: str
    count: int = 1
    treatment: str | None = None
    use: bool = False


def read_errand(sentence: str) -> Errand:
    """Parse a task sentence ("Your task is to: ...").

    Raises:
        UserError: it is not one of ALFWorld's.
    """
    text = sentence.removeprefix("Your task is to: ").rstrip(".")
    for pattern, kind in _TASKS:
        if match := re.fullmatch(pattern, text):
            treatment = None if kind else next(_TREATMENTS[w] for w in text.split() if w in _TREATMENTS)
            return Errand(match[1], match[2], 2 if kind == "two" else 1, treatment, kind == "use")
    raise UserError(f"the task {sentence!r} is not one of ALFWorld's sentences")


class Player:
    """Plays one episode. Make a new one for every episode and give every step to `act`.

    first: the step that `reset` returned. noise: probability of a random action at a turn, in [0, 1].
    """

    def __init__(self, first: Step, rng: np.random.Generator, noise: float = 0.0):
        self.errand = read_errand(first.info["goal"])
        self.rng, self.noise = rng, noise
        self.here: str | None = None
        self.treated = False

    def act(self, step: Step) -> str:
        """Choose the next action, given the step that the last one returned."""
        choices = [action for action in step.admissible if action != "help"]
        action = self._plan(choices)
        if self.rng.random() < self.noise:
            action = str(self.rng.choice(choices))
        if action.startswith("go to "):
            self.here = action[6:]
        self.treated = self.treated or action.startswith(f"{self.errand.treatment} {self.errand.thing} ")
        return action

    def _plan(self, choices: list[str]) -> str:
        errand, at_target = self.errand, self.here is not None and self.here.split()[0] == self.errand.target
        held = next((a.split()[1] for a in choices if a.startswith("examine ") and a[8:] != self.here), None)
        opening = _first(choices, "open ")
        if held is None:
            found = _first(choices, f"take {errand.thing} ")
            in_place = at_target and errand.treatment is None
            return found if found and not in_place else opening or self._next_place(choices)
        if held != errand.thing:
            return _first(choices, "move ") or opening or self._next_place(choices)
        if errand.treatment and not self.treated:
            treat = _first(choices, f"{errand.treatment} ")
            return treat or _first(choices, f"go to {_DEVICES[errand.treatment]} ") or choices[0]
        if errand.use:
            return _first(choices, f"use {errand.target} ") or opening or self._next_place(choices)
        if at_target:
            return opening or _first(choices, "move ") or self._next_place(choices)
        return _first(choices, f"go to {errand.target} ") or choices[0]

    def _next_place(self, choices: list[str]) -> str:
        """The place that is listed after this one, the first after the last; at the start, any."""
        places = sorted(a[6:] for a in choices if a.startswith("go to "))
        if self.here is None:
            return f"go to {self.rng.choice(places)}"
        return "go to " + next((place for place in places if place > self.here), places[0])


def demonstrate(
    environment: TextEnvironment, task: Task, rng: np.random.Generator, noise: float, turns: int
) -> tuple[list[tuple[Step, str]], bool]:
    """Play one episode: (observation, action) per turn, and whether it was won within `turns`."""
    step = environment.reset(task)
    player = Player(step, rng, noise)
    played: list[tuple[Step, str]] = []
    for _ in range(turns):
        action = player.act(step)
        played.append((step, action))
        step = environment.step(action)
        if step.done:
            return played, True
    return played, False


def episode(*arguments) -> list[tuple[Step, str]]:
    """As `demonstrate`, the turns alone (`episode_task.Player`)."""
    return demonstrate(*arguments)[0]


def _first(choices: list[str], start: str) -> str | None:
    return next((action for action in choices if action.startswith(start)), None)
