"""Committed games: a JSON-lines file. Its first line states what the games share, then each line is a game.

Header: "facts", true in every game that has their objects, as predicate to strings of arguments; "goals", conditions
with `$0`, `$1`, ... for the constants. Game: id, kind, split, task and plan; "objects", per type the names in the order
of the ids; "facts"; "goal", its number in the header and its constants. An object's id is the first letter of its type
and its rank, which keeps the order of the ids by which the real engine would sort; types of things have their own
names.
"""

import json
from pathlib import Path

from reproduce.errors import UserError
from reproduce.worlds.alfworld.stepper.game import Game, Goal
from reproduce.worlds.alfworld.stepper.join import Fact
from reproduce.worlds.alfworld.stepper.pddl import Disjunct, Literal
from reproduce.worlds.alfworld.stepper.rules import Rules

CLASSES = ("otype", "rtype")
SHARED = "cancontain"


def shortened(game: Game, rules: Rules) -> Game:
    """Return the same game with short object ids in the same order, and without facts that nothing reads."""
    goal = {x.predicate for part in game.goal for disjunct in part for x in disjunct.literals}
    facts = {fact for fact in game.facts if fact[0] in rules.read_predicates | goal}
    used = sorted({arg for fact in facts for arg in fact[1:]})
    short = {id: id for id in used if game.objects[id] in CLASSES}
    for kind in {game.objects[id] for id in used} - set(CLASSES):
        short |= {id: _id(kind, rank) for rank, id in enumerate(id for id in used if game.objects[id] == kind)}
    return Game(
        game.id,
        game.kind,
        game.split,
        game.task,
        {short[id]: game.objects[id] for id in used},
        {short[id]: game.names[id] for id in used},
        frozenset((fact[0], *(short[arg] for arg in fact[1:])) for fact in facts),
        game.goal,
        game.plan,
    )


def write_games(path: Path, games: list[Game]) -> None:
    """Write games that `shortened` returned."""
    shared = {fact for game in games for fact in game.facts if fact[0] == SHARED}
    goals: list[list] = []
    lines = []
    for game in games:
        form, constants = _split(game.goal)
        if form not in goals:
            goals.append(form)
        objects: dict[str, list[str]] = {}
        for id, kind in sorted(game.objects.items()):
            if kind not in CLASSES:
                objects.setdefault(kind, []).append(game.names[id])
        lines.append(
            {
                "id": game.id,
                "kind": game.kind,
                "split": game.split,
                "task": game.task,
                "plan": game.plan,
                "objects": objects,
                "facts": _grouped(game.facts - shared),
                "goal": [goals.index(form), *constants],
            }
        )
    header = {"facts": _grouped(shared), "goals": goals}
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in [header, *lines]))


def read_games(path: Path, rules: Rules) -> list[Game]:
    """Read games that `write_games` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    if not path.is_file():
        raise UserError(f"{path.parent.name}/{path.name} is missing; restore it from the repository")
    try:
        header, *values = [json.loads(line) for line in path.read_text().splitlines()]
        shared = _ungrouped(header["facts"])
        return [_game(value, shared, header["goals"], rules) for value in values]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(
            f"{path.parent.name}/{path.name} is damaged ({error!r}); restore it from the repository"
        ) from None


def _game(value: dict, shared: set[Fact], goals: list, rules: Rules) -> Game:
    objects, names = {}, {}
    for kind, found in value["objects"].items():
        for rank, name in enumerate(found):
            objects[_id(kind, rank)], names[_id(kind, rank)] = kind, name
    facts = _ungrouped(value["facts"])
    for predicate, *args in facts:
        for arg, kind in zip(args, rules.predicates[predicate], strict=True):
            if kind in CLASSES:
                objects[arg], names[arg] = kind, f"{arg} "
    facts |= {fact for fact in shared if all(arg in objects for arg in fact[1:])}
    number, *constants = value["goal"]
    goal = _joined(goals[number], constants)
    return Game(
        value["id"],
        value["kind"],
        value["split"],
        value["task"],
        objects,
        names,
        frozenset(facts),
        goal,
        tuple(value["plan"]),
    )


def _id(kind: str, rank: int) -> str:
    return f"{kind[0]}{rank:02d}"


def _grouped(facts: set[Fact] | frozenset[Fact]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for predicate, *args in sorted(facts):
        found.setdefault(predicate, []).append(" ".join(args))
    return found


def _ungrouped(value: dict[str, list[str]]) -> set[Fact]:
    return {(predicate, *text.split()) for predicate, texts in value.items() for text in texts}


def _split(goal: Goal) -> tuple[list, list[str]]:
    """The goal with its constants replaced by `$0`, `$1`, ... in order of appearance, and the constants."""
    literals = [x for part in goal for disjunct in part for x in disjunct.literals]
    constants = list(dict.fromkeys(arg for x in literals for arg in x.args if not arg.startswith("?")))
    names = {constant: f"${rank}" for rank, constant in enumerate(constants)}
    form = [
        [
            [
                [list(pair) for pair in d.extra],
                [[x.predicate, [names.get(a, a) for a in x.args], x.positive] for x in d.literals],
            ]
            for d in part
        ]
        for part in goal
    ]
    return form, constants


def _joined(form: list, constants: list[str]) -> Goal:
    values = {f"${rank}": constant for rank, constant in enumerate(constants)}

    def literal(predicate: str, args: list[str], positive: bool) -> Literal:
        return Literal(predicate, tuple(values.get(arg, arg) for arg in args), positive)

    return tuple(
        tuple(
            Disjunct(tuple((name, kind) for name, kind in extra), tuple(literal(*x) for x in literals))
            for extra, literals in part
        )
        for part in form
    )
