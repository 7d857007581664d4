"""A scripted player that sees what a model sees, for demonstrations: text and admissible actions, nothing hidden.

It looks for what the task names, treats it, and brings it where it belongs. `noise` is the share of turns at which it
does something random instead, from which it has to recover.
"""

import re
from dataclasses import dataclass

import numpy as np

from reproduce.errors import UserError
from reproduce.tasks.envs.interface import Environment, Step, Task

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
    """What a task sentence asks for. treatment: clean, heat, cool or None; use: the target is a lamp to switch on."""

    thing: str
    target: str
    count: int = 1
    treatment: str | None = None
    use: bool = False


def read_errand(sentence: str) -> Errand:
    """The errand of a task sentence ("Your task is to: ..."). UserError if it is not one of ALFWorld's."""
    text = sentence.removeprefix("Your task is to: ").rstrip(".")
    for pattern, kind in _TASKS:
        if match := re.fullmatch(pattern, text):
            treatment = None if kind else next(_TREATMENTS[w] for w in text.split() if w in _TREATMENTS)
            return Errand(match[1], match[2], 2 if kind == "two" else 1, treatment, kind == "use")
    raise UserError(f"the task {sentence!r} is not one of ALFWorld's sentences")


class Player:
    """Plays one episode. Make a new one for every episode and give every step to `act`."""

    def __init__(self, first: Step, rng: np.random.Generator, noise: float = 0.0):
        """first: what `reset` returned. noise: probability of a random action at a turn, in [0, 1]."""
        self.errand = read_errand(first.info["goal"])
        self.rng, self.noise = rng, noise
        self.seen: dict[str, str] = {}
        self.left: list[str] = [str(a[6:]) for a in first.admissible if a.startswith("go to ")]
        self.here: str | None = None
        self.held: str | None = None
        self.treated: set[str] = set()
        self.placed: set[str] = set()
        rng.shuffle(self.left)

    def act(self, step: Step) -> str:
        """The next action, given what the last one returned."""
        choices = [action for action in step.admissible if action != "help"]
        action = str(self.rng.choice(choices)) if self.rng.random() < self.noise else self._plan(choices)
        self._remember(action)
        return action

    def look_at(self, text: str) -> None:
        """Takes in the answer to the last action: which things are where."""
        match = re.search(r"(?:On the (.+?)|The (.+?) is open\. In it), you see (.+)\.$", text)
        if match:
            where = match[1] or match[2]
            self.seen = {thing: place for thing, place in self.seen.items() if place != where}
            self.seen |= dict.fromkeys(re.findall(r"a (\S+ \d+)", match[3]), where)
        if match or "is closed" not in text:
            self.left = [place for place in self.left if place != self.here]

    def _plan(self, choices: list[str]) -> str:
        opening = next((a for a in choices if a.startswith("open ")), None)
        if self.held is None:
            return self._fetch(choices, opening)
        if self.held.split()[0] != self.errand.thing:
            return self._choose(choices, "move ") or self._go(choices, self._places(choices))
        verb = self.errand.treatment
        if verb and self.held not in self.treated:
            return self._choose(choices, f"{verb} ") or self._go(choices, self._places(choices, _DEVICES[verb]))
        if self.errand.use:
            lamps = [place for thing, place in self.seen.items() if thing.split()[0] == self.errand.target]
            switch = self._choose(choices, f"use {self.errand.target} ")
            return switch or (opening if not lamps and opening else self._go(choices, lamps or self.left))
        at_target = self.here and self.here.split()[0] == self.errand.target
        put = self._choose(choices, "move ") if at_target else None
        if put or (at_target and opening == f"open {self.here}"):
            return put or str(opening)
        done = [place for thing, place in self.seen.items() if thing in self.placed]
        return self._go(choices, done or self._places(choices, self.errand.target))

    def _fetch(self, choices: list[str], opening: str | None) -> str:
        takes = [a for a in choices if a.startswith(f"take {self.errand.thing} ")]
        takes = [a for a in takes if a[5:].split(" from ")[0] not in self.placed]
        if takes:
            return takes[0]
        known = [
            place for thing, place in self.seen.items()
            if thing.split()[0] == self.errand.thing and thing not in self.placed and place != self.here
        ]  # fmt: skip
        if not known and opening and opening[5:] in self.left:
            return opening
        return self._go(choices, known or self.left)

    def _places(self, choices: list[str], kind: str | None = None) -> list[str]:
        places = [a[6:] for a in choices if a.startswith("go to ")]
        return [place for place in places if kind is None or place.split()[0] == kind]

    def _go(self, choices: list[str], places: list[str]) -> str:
        found = [f"go to {place}" for place in places if f"go to {place}" in choices]
        if found:
            return found[0]
        return str(self.rng.choice([a for a in choices if a.startswith("go to ")] or choices))

    def _choose(self, choices: list[str], start: str) -> str | None:
        return next((a for a in choices if a.startswith(start)), None)

    def _remember(self, action: str) -> None:
        words = action.split(" ")
        if action.startswith("go to "):
            self.here = action[6:]
        elif words[0] == "take":
            self.held = " ".join(words[1:3])
            self.seen.pop(self.held, None)
            self.placed.discard(self.held)
        elif words[0] == "move" and self.held:
            place = " ".join(words[4:6])
            self.seen[self.held] = place
            if place.split()[0] == self.errand.target and self.held.split()[0] == self.errand.thing:
                self.placed.add(self.held)
            self.held = None
        elif words[0] in _DEVICES and self.held and words[0] == self.errand.treatment:
            self.treated.add(self.held)


def demonstrate(
    environment: Environment, task: Task, rng: np.random.Generator, noise: float, turns: int
) -> tuple[list[tuple[Step, str]], bool]:
    """One episode of the player: (what it saw, what it did) per turn, and whether it won within `turns`."""
    step = environment.reset(task)
    player = Player(step, rng, noise)
    played: list[tuple[Step, str]] = []
    for _ in range(turns):
        action = player.act(step)
        played.append((step, action))
        step = environment.step(action)
        if step.done:
            return played, True
        player.look_at(step.text)
    return played, False
