"""Generate ALFWorld-style games offline: all six task types, seen and unseen rooms, from the tables in the wheel.

Rooms, furniture classes, what fits where, goals and sentences are ALFWorld's. We draw where things lie, so these are
not ALFWorld's published games, and you must not claim a published number on them. A game depends only on (seed, size,
split, kind, index). Train and IID games are in ALFWorld's training rooms, OOD games in its test rooms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reproduce.errors import UserError
from reproduce.seeding import stream
from reproduce.worlds.alfworld import wheel
from reproduce.worlds.alfworld.problem import House, Receptacle, SourceGame, Thing, source_game
from reproduce.worlds.alfworld.stepper.game import KINDS
from reproduce.worlds.text_environment import OOD, SPLITS

ROOMS = {"pick_heat_then_place_in_recep": ("Kitchen",), "pick_cool_then_place_in_recep": ("Kitchen",)}
APPLIANCE = {
    "pick_clean_then_place_in_recep": ("Cleanable", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("Heatable", "Microwave"),
    "pick_cool_then_place_in_recep": ("Coolable", "Fridge"),
}
LAMP_STANDS = ("Desk", "SideTable", "Dresser", "CoffeeTable", "DiningTable", "TVStand", "Shelf")
NESTED = ("Microwave", "CoffeeMachine", "Toaster", "SinkBasin", "StoveBurner")
"""Furniture that may be on a counter top: its contents are then also on the counter top, as in ALFRED's rooms."""
ATTEMPTS = 2000


@dataclass(frozen=True)
class Size:
    """How much of a room a game holds; None: all.

    instances: most copies of one class. untidy: also furniture on furniture, things in bowls, open doors and clean or
    cool things at the start, as in ALFWorld's games.
    """

    name: str
    receptacles: int | None
    things: int | None
    instances: int
    untidy: bool


SIZES = {size.name: size for size in (Size("full", None, None, 3, True), Size("mini", 5, 4, 2, False))}


def generate(seed: int, size: Size, split: str, kind: str, index: int) -> SourceGame:
    """Generate game `index` of a task type and split.

    Raises:
        UserError: the extra is missing, or no game fits the size.
    """
    if kind not in KINDS or split not in SPLITS:
        raise UserError(f"there is no task type {kind!r} or split {split!r}; types: {', '.join(KINDS)}")
    rng = stream(seed, "alfworld", size.name, split, kind, index)
    for _ in range(ATTEMPTS):
        house = _draw(rng, size, split, kind)
        if house is not None:
            return source_game(house, rng, f"{size.name}-{seed}-{split}-{kind}-{index}", kind, split)
    raise UserError(f"size {size.name}: no game of type {kind} fits; allow more receptacles, things or instances")


def rooms_of(split: str, kind: str) -> list[int]:
    """List the numbers of the rooms in which games of a split and task type may be."""
    tables = wheel.constants()
    numbers = tables.TEST_SCENE_NUMBERS if split == OOD else tables.TRAIN_SCENE_NUMBERS
    return [n for n in numbers if any(n in tables.SCENE_TYPE[name] for name in tables.GOALS_VALID[kind])]


def furniture(number: int) -> list[Receptacle]:
    """List all receptacles of a room, always the same: the measured ones at their places, the others at drawn ones."""
    tables, room, rng = wheel.constants(), wheel.room(number), stream(0, "alfworld furniture", number)
    found = []
    for id, (x, z, rotation, horizon) in sorted(room.measured.items()):
        kind = id.split("|")[0]
        basin = f"{kind}Basin" if kind in ("Sink", "Bathtub") else kind
        if basin in tables.VAL_RECEPTACLE_OBJECTS:
            found.append((f"{id}|{basin}" if basin != kind else id, basin, _place(x, z, rotation, horizon)))
    known = {kind for _, kind, _ in found}
    movable = set(tables.MOVABLE_RECEPTACLES)
    for kind in sorted(room.classes & set(tables.VAL_RECEPTACLE_OBJECTS) - movable - known):
        for _ in range(4 if kind == "StoveBurner" else 1):
            x, z = room.points_N2[rng.integers(len(room.points_N2))]
            name = kind.removesuffix("Basin")
            id = f"{name}|{x + rng.uniform(0.2, 0.7):+06.2f}|{rng.uniform(0.1, 1.5):+06.2f}|{z:+06.2f}"
            id += f"|{kind}" if name != kind else ""
            rotation, horizon = 90 * int(rng.integers(4)), int(rng.choice([0, 15, 30, 45, 60]))
            found.append((id, kind, _place(x, z, rotation, horizon)))
    tops = [id for id, kind, _ in found if kind == "CounterTop"]
    doors = tables.OPENABLE_CLASS_SET
    return [
        Receptacle(id, kind, place, kind in doors, str(rng.choice(tops)) if tops and kind in NESTED else None)
        for id, kind, place in found
    ]


def _place(x: float, z: float, rotation: float, horizon: float) -> str:
    return f"loc|{round(4 * x)}|{round(4 * z)}|{round(rotation) // 90 % 4}|{round(horizon)}"


@dataclass(frozen=True)
class _Goal:
    """Classes that a goal names: the thing, its target, what treats it, the lamp to hold it under."""

    thing: str
    target: str | None
    appliance: str | None
    lamp: str | None


def _draw(rng: np.random.Generator, size: Size, split: str, kind: str) -> House | None:
    """A house with a goal; None if this draw does not work out."""
    number = int(rng.choice(rooms_of(split, kind)))
    every = furniture(number)
    goal = _goal(rng, number, every, kind)
    if goal is None:
        return None
    needed = [_one(rng, [r for r in every if r.kind == name]) for name in (goal.target, goal.appliance) if name]
    lamps = [goal.lamp] if goal.lamp else _lamps(number) if size.receptacles is None else []
    stands = [r for r in every if r.kind in LAMP_STANDS]
    stand = _one(rng, stands) if lamps and stands else None
    receptacles = _subset(rng, every, [*needed, *([stand] if stand else [])], size)
    things = receptacles and _things(rng, number, receptacles, goal, kind, size)
    if not receptacles or not things:
        return None
    if stand:
        things += [_thing(rng, name, stand, size, things) for name in lamps]
    start = _start(rng, number, receptacles)
    return House(number, tuple(receptacles), tuple(things), start, goal.thing, goal.target, goal.lamp, size.untidy)


def _goal(rng: np.random.Generator, number: int, every: list[Receptacle], kind: str) -> _Goal | None:
    """A goal that the room allows; None if it allows none of this type."""
    tables = wheel.constants()
    fits, present = tables.VAL_RECEPTACLE_OBJECTS, {r.kind for r in every}
    treatment, appliance = APPLIANCE.get(kind, (None, None))
    wanted = [c for c in _classes(number, every) if treatment is None or c in tables.VAL_ACTION_OBJECTS[treatment]]
    if not wanted or (appliance and appliance not in present):
        return None
    look = kind == "look_at_obj_in_light"
    if look and not (_lamps(number) and present & set(LAMP_STANDS)):
        return None
    thing = str(rng.choice(wanted))
    if look:
        return _Goal(thing, None, None, str(rng.choice(_lamps(number))))
    targets = sorted(r for r in present if thing in fits[r] and r != appliance)
    return _Goal(thing, str(rng.choice(targets)), appliance, None) if targets else None


def _classes(number: int, receptacles: Sequence[Receptacle]) -> list[str]:
    """Classes of the room's things that fit into one of these receptacles."""
    tables = wheel.constants()
    fits, kinds = tables.VAL_RECEPTACLE_OBJECTS, {r.kind for r in receptacles}
    return sorted(c for c in wheel.room(number).classes & set(tables.OBJECTS) if any(c in fits[kind] for kind in kinds))


def _lamps(number: int) -> list[str]:
    return sorted(wheel.room(number).classes & wheel.constants().VAL_ACTION_OBJECTS["Toggleable"])


def _things(
    rng: np.random.Generator, number: int, receptacles: list[Receptacle], goal: _Goal, kind: str, size: Size
) -> list[Thing] | None:
    """The goal's things and others, each in a receptacle where it fits, so that the goal does not hold at the start."""
    fits = wheel.constants().VAL_RECEPTACLE_OBJECTS
    copies = 2 if kind == "pick_two_obj_and_place" else 1
    most = min(size.instances, size.things or size.instances)
    if copies > most:
        return None
    counts = {goal.thing: int(rng.integers(copies, most + 1))}
    for name in rng.permutation([c for c in _classes(number, receptacles) if c != goal.thing]):
        left = size.instances if size.things is None else size.things - sum(counts.values())
        if left > 0:
            counts[str(name)] = int(rng.integers(1, min(left, size.instances) + 1))
    things: list[Thing] = []
    for name, count in sorted(counts.items()):
        free = [r for r in receptacles if name in fits[r.kind]]
        if name == goal.thing and kind in ("pick_and_place_simple", "pick_two_obj_and_place"):
            on_top = size.untidy and goal.target == "CounterTop"
            free = [r for r in free if r.kind != goal.target and not (on_top and r.parent)]
        if not free:
            return None
        things += [_thing(rng, name, _one(rng, free), size, things) for _ in range(count)]
    return things


def _one(rng: np.random.Generator, receptacles: Sequence[Receptacle]) -> Receptacle:
    return receptacles[int(rng.integers(len(receptacles)))]


def _subset(
    rng: np.random.Generator, every: list[Receptacle], needed: list[Receptacle], size: Size
) -> list[Receptacle] | None:
    """All receptacles; or the needed ones and others up to the size, no two at one place (None if impossible)."""
    if size.receptacles is None:
        return every
    kept = {r.place: r for r in needed}
    if len(kept) < len(needed) or len(kept) > size.receptacles:
        return None
    for rank in rng.permutation(len(every)):
        if len(kept) < size.receptacles:
            kept.setdefault(every[rank].place, every[rank])
    return sorted(kept.values(), key=lambda r: r.id)


def _thing(rng: np.random.Generator, kind: str, where: Receptacle, size: Size, others: list[Thing]) -> Thing:
    """A thing in a receptacle, with an id that no other thing has. In an untidy house it may lie in a bowl there."""
    taken = {thing.id for thing in others}
    while True:
        id = f"{kind}|{rng.uniform(-4, 4):+06.2f}|{rng.uniform(0, 2):+06.2f}|{rng.uniform(-4, 4):+06.2f}"
        if id not in taken:
            break
    tables = wheel.constants()
    bowls = [o for o in others if o.where == where.id and kind in tables.VAL_RECEPTACLE_OBJECTS.get(o.kind, ())]
    inside = bowls[0].id if size.untidy and bowls and rng.random() < 0.2 else None
    return Thing(id, kind, where.id, inside)


def _start(rng: np.random.Generator, number: int, receptacles: Sequence[Receptacle]) -> str:
    """A place without a receptacle: games begin in the middle of the room."""
    points_N2, taken = wheel.room(number).points_N2, {r.place for r in receptacles}
    while True:
        x, z = points_N2[rng.integers(len(points_N2))]
        place = _place(x, z, 90 * int(rng.integers(4)), 30)
        if place not in taken:
            return place
