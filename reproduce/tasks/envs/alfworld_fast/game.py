"""One ALFWorld game as data: from the real engine's files, or from the compact JSON that this repository commits."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from reproduce.errors import UserError
from reproduce.tasks.envs.alfworld_fast.join import Fact
from reproduce.tasks.envs.alfworld_fast.pddl import Disjunct, Literal, read_problem
from reproduce.tasks.envs.alfworld_fast.rules import Rules

Goal = tuple[tuple[Disjunct, ...], ...]
KINDS = (
    "pick_and_place_simple", "look_at_obj_in_light", "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep", "pick_cool_then_place_in_recep", "pick_two_obj_and_place",
)  # fmt: skip
"""ALFWorld's six task types (arXiv 2010.03768, table 1), by their names in its files."""

_ESCAPES = {"_bar_": "|", "_minus_": "-", "_plus_": "+", "_dot_": ".", "_comma_": ","}


@dataclass(frozen=True)
class Game:
    """A game without its rules.

    id: unique name. kind: one of `KINDS`. split: train, iid or ood. task: the sentence that the first observation ends
    with. objects: type of every object. names: what texts call it. facts: (predicate, arguments...) true at the start.
    goal: all parts must hold, a part holds if one of its disjuncts does. plan: the expert's actions, empty if unknown.
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
    """The game of a PDDL problem and a task sentence. UserError if the problem is damaged."""
    read = read_problem(problem)
    facts = frozenset((fact.predicate, *fact.args) for fact in read.init if fact.positive)
    unknown = {arg for fact in facts for arg in fact[1:]} - read.objects.keys()
    if unknown:
        raise UserError(f"game {id}: object {sorted(unknown)[0]} has no type; the file is damaged")
    return Game(id, kind, split, task, read.objects, display_names(facts), facts, read.goal, plan)


def display_names(facts: frozenset[Fact]) -> dict[str, str]:
    """Names of all objects that facts mention: `Apple_bar__plus_01...` is "apple 2" if it is the second last of three.

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


def shortened(game: Game, rules: Rules) -> Game:
    """The same game with short object ids in the same order, and without facts that nothing reads.

    Ids decide in which order texts list objects of one type, so new ids keep that order. Types keep their ids, since
    actions name some of them.
    """
    read = {literal.predicate for a in rules.actions for d in a.precondition for literal in d.literals}
    read |= {literal.predicate for part in game.goal for d in part for literal in d.literals}
    read |= {name.removeprefix("not_") for name in rules.text_predicates}
    facts = {fact for fact in game.facts if fact[0] in read}
    used = sorted({arg for fact in facts for arg in fact[1:]})
    kept = {id for id in used if game.objects[id] in ("otype", "rtype")}
    short = {id: id for id in kept}
    for kind in sorted({game.objects[id] for id in used} - {"otype", "rtype"}):
        ids = [id for id in used if game.objects[id] == kind]
        short |= {id: f"{kind[0]}{rank:02d}" for rank, id in enumerate(ids)}
    return Game(
        game.id, game.kind, game.split, game.task,
        {short[id]: game.objects[id] for id in used}, {short[id]: game.names[id] for id in used},
        frozenset((fact[0], *(short[arg] for arg in fact[1:])) for fact in facts), game.goal, game.plan,
    )  # fmt: skip


def game_to_json(game: Game, shared: frozenset[Fact] = frozenset()) -> dict:
    """A JSON value without the facts in `shared`, which a file states once for all of its games."""
    facts: dict[str, list] = {}
    for predicate, *args in sorted(game.facts - shared):
        facts.setdefault(predicate, []).append(" ".join(args))
    named = {id: [kind, game.names[id]] for id, kind in sorted(game.objects.items()) if kind not in ("otype", "rtype")}
    goal = [[[d.extra, [[x.predicate, x.args, x.positive] for x in d.literals]] for d in part] for part in game.goal]
    return {
        "id": game.id, "kind": game.kind, "split": game.split, "task": game.task, "plan": game.plan,
        "types": {kind: sorted(id for id, k in game.objects.items() if k == kind) for kind in ("otype", "rtype")},
        "objects": named, "facts": facts, "goal": goal,
    }  # fmt: skip


def game_from_json(value: dict, shared: frozenset[Fact] = frozenset()) -> Game:
    """Reads what `game_to_json` wrote; of the shared facts those whose objects the game has."""
    objects = {id: kind for id, (kind, _) in value["objects"].items()}
    names = {id: name for id, (_, name) in value["objects"].items()}
    for kind, ids in value["types"].items():
        objects |= dict.fromkeys(ids, kind)
        names |= {id: f"{id} " for id in ids}
    facts = {(predicate, *text.split()) for predicate, texts in value["facts"].items() for text in texts}
    facts |= {fact for fact in shared if all(arg in objects for arg in fact[1:])}
    goal = tuple(
        tuple(
            Disjunct(
                tuple((name, kind) for name, kind in extra),
                tuple(Literal(predicate, tuple(args), positive) for predicate, args, positive in literals),
            )
            for extra, literals in part
        )
        for part in value["goal"]
    )
    return Game(
        value["id"], value["kind"], value["split"], value["task"], objects, names, frozenset(facts), goal,
        tuple(value["plan"]),
    )  # fmt: skip
