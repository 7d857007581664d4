"""Write a drawn house as a PDDL problem, with its task sentence and the actions of an expert that knows the house."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reproduce.worlds.alfworld import wheel
from reproduce.worlds.alfworld.stepper.compile import task_sentence
from reproduce.worlds.alfworld.stepper.game import Game, display_names, game_from_pddl

GAP = "UNKNOWN GOAL"
"""Words in ALFWorld's grammar file that the goal's sentence replaces."""
_CODES = {"-": "_minus_", "|": "_bar_", "+": "_plus_", ".": "_dot_", ",": "_comma_"}


@dataclass(frozen=True)
class Receptacle:
    """Furniture with a place from which it is used. parent: id of the counter top that it is on; None: the floor."""

    id: str
    kind: str
    place: str
    openable: bool
    parent: str | None


@dataclass(frozen=True)
class Thing:
    """A thing in receptacle `where`. inside: id of the bowl, box, ... there that it lies in, or None."""

    id: str
    kind: str
    where: str
    inside: str | None


@dataclass(frozen=True)
class House:
    """A room with its contents, the player's first place and the classes that the goal names."""

    room: int
    receptacles: tuple[Receptacle, ...]
    things: tuple[Thing, ...]
    start: str
    goal: str
    target: str | None
    lamp: str | None
    untidy: bool


@dataclass(frozen=True)
class SourceGame:
    """A game as the real engine takes it: problem in PDDL, task sentence, the expert's actions."""

    id: str
    kind: str
    split: str
    room: int
    problem: str
    task: str
    plan: tuple[str, ...]

    def fast(self) -> Game:
        """Make the same game for the stepper."""
        return game_from_pddl(self.id, self.kind, self.split, self.problem, self.task, self.plan)

    def content(self) -> dict:
        """Return the contents of a `.tw-pddl` file."""
        domain, grammar = wheel.rule_files()
        sentence = task_sentence(grammar)
        return {
            "pddl_domain": domain,
            "grammar": grammar.replace(sentence, self.task),
            "pddl_problem": self.problem,
            "walkthrough": list(self.plan),
            "solvable": True,
        }

    def save(self, path: Path) -> None:
        """Write the file that the real engine loads."""
        path.write_text(json.dumps(self.content()))


def source_game(house: House, rng: np.random.Generator, id: str, kind: str, split: str) -> SourceGame:
    """Make the game of a house. `rng` decides the sentence, and what is open, clean or cool at the start."""
    gaps = dict(obj=house.goal, recep=house.target or "", toggle=house.lamp or "")
    goal = wheel.goals()[kind]
    sentence = str(rng.choice(goal["templates"])).format(**{name: value.lower() for name, value in gaps.items()})
    task = task_sentence(wheel.rule_files()[1]).replace(GAP, sentence)
    facts = _facts(house, rng)
    names = display_names(frozenset(tuple(fact.lower().split()) for fact in facts))
    objects = _objects(house)
    problem = "\n".join(
        [f"(define (problem {id})", "(:domain alfred)", "(:objects"]
        + [f"    {name} - {type}" for name, type in sorted(objects.items())]
        + [")", "(:init"]
        + [f"    ({fact})" for fact in sorted(facts)]
        + [")"]
        + [goal["pddl"].format(**gaps).replace("#", "-")]
    )
    return SourceGame(id, kind, split, house.room, problem, task, _plan(house, kind, names))


def code(id: str) -> str:
    """Write an id in the characters that PDDL allows, as ALFWorld does."""
    for character, name in _CODES.items():
        id = id.replace(character, name)
    return id


def _objects(house: House) -> dict[str, str]:
    things, receptacles = house.things, house.receptacles
    return (
        {"agent1": "agent"}
        | {code(thing.id): "object" for thing in things}
        | {code(r.id): "receptacle" for r in receptacles}
        | {code(place): "location" for place in {house.start, *(r.place for r in receptacles)}}
        | {f"{thing.kind}Type": "otype" for thing in things}
        | {f"{r.kind}Type": "rtype" for r in receptacles}
    )


def _facts(house: House, rng: np.random.Generator) -> set[str]:
    tables = wheel.constants()
    facts = {f"atLocation agent1 {code(house.start)}"}
    by_id = {r.id: r for r in house.receptacles}
    for r in house.receptacles:
        id = code(r.id)
        facts |= {f"receptacleType {id} {r.kind}Type", f"receptacleAtLocation {id} {code(r.place)}"}
        facts |= {f"openable {id}"} if r.openable else set()
        if house.untidy and r.openable and rng.random() < 0.1:
            facts.add(f"opened {id}")
    fits = tables.VAL_RECEPTACLE_OBJECTS
    for left in {r.kind for r in house.receptacles}:
        facts |= {f"canContain {left}Type {t.kind}Type" for t in house.things if t.kind in fits[left]}
    places = sorted({r.place for r in house.receptacles})
    for thing in house.things:
        id, where = code(thing.id), by_id[thing.where]
        facts |= {f"objectType {id} {thing.kind}Type", f"inReceptacle {id} {code(where.id)}"}
        if house.untidy and where.parent in by_id:
            facts.add(f"inReceptacle {id} {code(where.parent)}")
        if thing.inside:
            facts.add(f"inReceptacleObject {id} {code(thing.inside)}")
        elsewhere = house.untidy and rng.random() < 0.2
        place = places[int(rng.integers(len(places)))] if elsewhere else where.place
        facts.add(f"objectAtLocation {id} {code(place)}")
        for property in ("Cleanable", "Heatable", "Coolable", "Toggleable", "Sliceable"):
            if thing.kind in tables.VAL_ACTION_OBJECTS[property]:
                facts.add(f"{property[0].lower()}{property[1:]} {id}")
        if thing.kind not in tables.VAL_ACTION_OBJECTS["Toggleable"]:
            facts.add(f"pickupable {id}")
        if thing.kind in tables.MOVABLE_RECEPTACLES:
            facts.add(f"isReceptacleObject {id}")
        if house.untidy and thing.kind != house.goal and rng.random() < 0.1:
            facts.add(f"{rng.choice(['isClean', 'isHot', 'isCool'])} {id}")
    return facts


def _plan(house: House, kind: str, names: dict[str, str]) -> tuple[str, ...]:
    """The actions of an expert that knows where everything is: the first fitting thing and receptacle, no detour."""
    by_kind: dict[str, list[Receptacle]] = {}
    for r in house.receptacles:
        by_kind.setdefault(r.kind, []).append(r)
    by_id = {r.id: r for r in house.receptacles}
    plan: list[str] = []
    here, opened = house.start, set()

    def name(id: str) -> str:
        return names[code(id).lower()]

    def visit(r: Receptacle, inside: bool) -> None:
        nonlocal here
        if r.place != here:
            plan.append(f"go to {name(r.id)}")
            here = r.place
        if inside and r.openable and r.id not in opened:
            plan.append(f"open {name(r.id)}")
            opened.add(r.id)

    things = [thing for thing in house.things if thing.kind == house.goal]
    for thing in things[: 2 if kind == "pick_two_obj_and_place" else 1]:
        visit(by_id[thing.where], inside=True)
        plan.append(f"take {name(thing.id)} from {name(thing.where)}")
        for verb, device in (("clean", "SinkBasin"), ("heat", "Microwave"), ("cool", "Fridge")):
            if f"pick_{verb}" in kind:
                visit(by_kind[device][0], inside=False)
                plan.append(f"{verb} {name(thing.id)} with {name(by_kind[device][0].id)}")
        if house.target:
            visit(by_kind[house.target][0], inside=True)
            plan.append(f"move {name(thing.id)} to {name(by_kind[house.target][0].id)}")
    if house.lamp:
        lamp = next(thing for thing in house.things if thing.kind == house.lamp)
        visit(by_id[lamp.where], inside=False)
        plan.append(f"use {name(lamp.id)}")
    return tuple(plan)
