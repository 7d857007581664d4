"""One ALFWorld game as data: what the stepper needs of a problem file, without the rules."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from reproduce.errors import UserError
from reproduce.worlds.alfworld.stepper.join import Fact
from reproduce.worlds.alfworld.stepper.pddl import Disjunct, read_problem

Goal = tuple[tuple[Disjunct, ...], ...]
KINDS = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""ALFWorld's six task types (arXiv 2010.03768, table 1), by their names in its files."""

_ESCAPES = {"_bar_": "|", "_minus_": "-", "_plus_": "+", "_dot_": ".", "_comma_": ","}


@dataclass(frozen=True)
class Game:
    """A game without its rules.

    id: unique name. kind: one of `KINDS`. split: train, iid or ood. task: the sentence at the end of the first
    observation. objects: type of every object. names: the objects' names in texts. facts: (predicate, arguments...)
    true at the start. goal: all parts must hold; a part holds if one of its disjuncts does. plan: the expert's actions,
    empty if unknown.
    """

    id: str
    kind: str
    split: str
    task: str
    objects: Mapping[str, str]
    names: Mapping[str, str]
    facts: frozenset[Fact]
    goal: Goal
    plan: tuple[str, ...] = ()


def game_from_pddl(id: str, kind: str, split: str, problem: str, task: str, plan: tuple[str, ...] = ()) -> Game:
    """Make the game of a PDDL problem and a task sentence.

    Raises:
        UserError: the problem is damaged.
    """
    read = read_problem(problem)
    facts = frozenset((fact.predicate, *fact.args) for fact in read.init if fact.positive)
    unknown = {arg for fact in facts for arg in fact[1:]} - read.objects.keys()
    if unknown:
        raise UserError(f"game {id}: object {sorted(unknown)[0]} has no type; the file is damaged")
    return Game(id, kind, split, task, read.objects, display_names(facts), facts, read.goal, plan)


def display_names(facts: frozenset[Fact]) -> dict[str, str]:
    """Name all objects that facts mention: `Apple_bar__plus_01...` is "apple 2" if it is the second last of three.

    The numbers count down in the order of the ids, and "basin" anywhere in an id is part of the name, as in ALFWorld.
    """
    ids = sorted({arg for fact in facts for arg in fact[1:]})
    left = Counter(_class(id) for id in ids if "_bar_" in id)
    names = {}
    for id in ids:
        if "_bar_" in id:
            names[id] = f"{_class(id)} {left[_class(id)]}"
            left[_class(id)] -= 1
        else:
            names[id] = f"{_unescaped(id)} "
    return names


def _class(id: str) -> str:
    return id.split("_bar_", 1)[0] + ("basin" if "basin" in id else "")


def _unescaped(id: str) -> str:
    for code, character in _ESCAPES.items():
        id = id.replace(code, character)
    return id
