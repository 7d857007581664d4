"""Generates ALFWorld-style games offline: all six task types, seen and unseen rooms, from the tables in the wheel.

Rooms, furniture classes, what fits where, goals and sentences are ALFWorld's; where things lie is drawn here, so these
are not ALFWorld's published games and no published number may be claimed on them. A game is a function of (seed, size,
split, kind, index) alone. Train and IID games are in ALFWorld's training rooms, OOD games in its test rooms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reproduce.errors import UserError
from reproduce.seeding import stream
from reproduce.tasks.envs import alfworld_wheel as wheel
from reproduce.tasks.envs.alfworld_fast.game import KINDS
from reproduce.tasks.envs.alfworld_problem import House, Receptacle, SourceGame, Thing, source_game
from reproduce.tasks.envs.interface import OOD, SPLITS

ROOMS = {"pick_heat_then_place_in_recep": ("Kitchen",), "pick_cool_then_place_in_recep": ("Kitchen",)}
APPLIANCE = {
    "pick_clean_then_place_in_recep": ("Cleanable", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("Heatable", "Microwave"),
    "pick_cool_then_place_in_recep": ("Coolable", "Fridge"),
}
LAMP_STANDS = ("Desk", "SideTable", "Dresser", "CoffeeTable", "DiningTable", "TVStand", "Shelf")
NESTED = ("Microwave", "CoffeeMachine", "Toaster", "SinkBasin", "StoveBurner")
"""Furniture that may stand on a counter top: what is in it is then also on the counter top, as in ALFRED's rooms."""
ATTEMPTS = 2000


@dataclass(frozen=True)
class Size:
    """How much of a room a game holds; None: all. instances: most copies of one class. untidy: also furniture on
    furniture, things in bowls, open doors and clean or cool things at the start, which ALFWorld's games have."""

    name: str
    receptacles: int | None
    things: int | None
    instances: int
    untidy: bool


SIZES = {size.name: size for size in (Size("full", None, None, 3, True), Size("mini", 7, 6, 2, False))}


def generate(seed: int, size: Size, split: str, kind: str, index: int) -> SourceGame:
    """Game `index` of a task type and split. UserError without the extra, or if no game fits the size."""
    if kind not in KINDS or split not in SPLITS:
        raise UserError(f"there is no task type {kind!r} or split {split!r}; types: {', '.join(KINDS)}")
    rng = stream(seed, "alfworld", size.name, split, kind, index)
    for _ in range(ATTEMPTS):
        house = _draw(rng, size, split, kind)
        if house is not None:
            return source_game(house, rng, f"{size.name}-{seed}-{split}-{kind}-{index}", kind, split)
    raise UserError(f"size {size.name}: no game of type {kind} fits {size.receptacles} receptacles; allow more")


def rooms_of(split: str, kind: str) -> list[int]:
    """Numbers of the rooms in which games of a split and task type may be."""
    tables = wheel.constants()
    numbers = tables.TEST_SCENE_NUMBERS if split == OOD else tables.TRAIN_SCENE_NUMBERS
    return [n for n in numbers if any(n in tables.SCENE_TYPE[name] for name in tables.GOALS_VALID[kind])]


def furniture(number: int) -> list[Receptacle]:
    """All receptacles of a room, always the same: the measured ones at their places, the others at drawn ones."""
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


def _draw(rng: np.random.Generator, size: Size, split: str, kind: str) -> House | None:
    """A house with a goal, None if this draw does not work out."""
    tables = wheel.constants()
    number = int(rng.choice(rooms_of(split, kind)))
    every = furniture(number)
    fits = tables.VAL_RECEPTACLE_OBJECTS
    present = {r.kind for r in every}
    classes = sorted(c for c in wheel.room(number).classes & set(tables.OBJECTS) if any(c in fits[r] for r in present))
    property, appliance = APPLIANCE.get(kind, (None, None))
    wanted = [c for c in classes if property is None or c in tables.VAL_ACTION_OBJECTS[property]]
    lamps = sorted(wheel.room(number).classes & tables.VAL_ACTION_OBJECTS["Toggleable"])
    stands = [r for r in every if r.kind in LAMP_STANDS]
    look = kind == "look_at_obj_in_light"
    if not wanted or (appliance and appliance not in present) or (look and not (lamps and stands)):
        return None
    goal = str(rng.choice(wanted))
    targets = sorted(r for r in present if goal in fits[r] and r != appliance)
    if not look and not targets:
        return None
    target = None if look else str(rng.choice(targets))
    lamp = str(rng.choice(lamps)) if look else None
    needed = [_one(rng, every, name) for name in (target, appliance) if name]
    stand = (
        stands[int(rng.integers(len(stands)))] if stands and (look or (lamps and size.receptacles is None)) else None
    )
    receptacles = _subset(rng, every, [*needed, *([stand] if stand else [])], size)
    copies = 2 if kind == "pick_two_obj_and_place" else 1
    counts = {goal: int(rng.integers(copies, max(copies, size.instances) + 1))}
    others = [c for c in classes if c != goal and any(c in fits[r.kind] for r in receptacles)]
    for name in rng.permutation(others):
        left = (size.things or 10**6) - sum(counts.values())
        if left > 0:
            counts[str(name)] = int(rng.integers(1, min(left, size.instances) + 1))
    things = []
    for name, count in sorted(counts.items()):
        free = [r for r in receptacles if name in fits[r.kind]]
        if name == goal and kind in ("pick_and_place_simple", "pick_two_obj_and_place"):
            free = [r for r in free if r.kind != target and not (size.untidy and r.parent and target == "CounterTop")]
        if not free:
            return None
        things += [_thing(rng, name, free[int(rng.integers(len(free)))], size, things) for _ in range(count)]
    if stand:
        things += [_thing(rng, str(name), stand, size, things) for name in ([lamp] if look else lamps)]
    return House(
        number, tuple(receptacles), tuple(things), _start(rng, number, receptacles), goal, target, lamp, size.untidy
    )


def _one(rng: np.random.Generator, receptacles: Sequence[Receptacle], kind: str) -> Receptacle:
    found = [r for r in receptacles if r.kind == kind]
    return found[int(rng.integers(len(found)))]


def _subset(
    rng: np.random.Generator, every: list[Receptacle], needed: list[Receptacle], size: Size
) -> list[Receptacle]:
    """All receptacles, or the needed ones with others drawn up to the size; no two at one place in a small game."""
    if size.receptacles is None:
        return every
    kept = {r.place: r for r in needed}
    for rank in rng.permutation(len(every)):
        if len(kept) < size.receptacles:
            kept.setdefault(every[rank].place, every[rank])
    return sorted(kept.values(), key=lambda r: r.id)


def _thing(rng: np.random.Generator, kind: str, where: Receptacle, size: Size, others: list[Thing]) -> Thing:
    """A thing in a receptacle, with an id that no other thing has; in an untidy house it may lie in a bowl there."""
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
    """A place where no receptacle is: games begin in the middle of the room."""
    points_N2, taken = wheel.room(number).points_N2, {r.place for r in receptacles}
    while True:
        x, z = points_N2[rng.integers(len(points_N2))]
        place = _place(x, z, 90 * int(rng.integers(4)), 30)
        if place not in taken:
            return place
