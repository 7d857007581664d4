"""MiniWeb: a seeded closed web of pages about people, places, works and organisations.

We make it hard on purpose (each share is a field of `WorldSettings`):

- names are ambiguous: every name belongs to several entities of different kinds;
- many page titles hide the kind, so a list of hits does not tell which page is the right one;
- pages that merely mention an entity compete with its own page under BM25;
- some pages have a stale twin, marked `archived` only in its body, with other values;
- some kinds are written with a synonym in the body, so a query that names the kind misses the page;
- a search may time out (decided per question, query and attempt; see `tools.py`).

Entities are split into train, validation and test. Relations never cross a split, names do. So a test question is about
entities that no training question touched, while every word of it occurs in training.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from reproduce.errors import UserError
from reproduce.seeding import stream
from reproduce.worlds.miniweb.messages import LARGEST_NUMBER, TAGS, WORDS

KINDS = {  # kind -> (class, synonym used in the body of some pages)
    "painter": ("person", "artist"),
    "chemist": ("person", "scientist"),
    "pilot": ("person", "aviator"),
    "town": ("place", "city"),
    "island": ("place", "isle"),
    "novel": ("work", "book"),
    "opera": ("work", "play"),
    "museum": ("organisation", "gallery"),
    "bank": ("organisation", "lender"),
    "guild": ("organisation", "union"),
}
RELATIONS = {  # class -> {relation: class of its object}
    "person": {"employer": "organisation", "birthplace": "place"},
    "place": {"mayor": "person", "archive": "organisation"},
    "work": {"author": "person", "setting": "place"},
    "organisation": {"head": "person", "treasure": "work"},
}
ATTRIBUTES = ("year", "count")
SPLITS = ("train", "validation", "test")
STALE = "archived"


@dataclass(frozen=True)
class WorldSettings:
    """All that decides a world besides its seed. Shares are probabilities in [0, 1]."""

    names: int = 140
    kinds_per_name: int = 3
    split_shares: tuple[float, float, float] = (0.55, 0.2, 0.25)
    hidden_title_share: float = 0.4
    stale_share: float = 0.3
    stale_changed_share: float = 0.7
    synonym_share: float = 0.15
    value_low: int = 10
    value_high: int = 99


@dataclass(frozen=True)
class Entity:
    """One thing of the world. relations: relation -> id of its object."""

    id: int
    name: str
    kind: str
    split: str
    relations: dict[str, int]
    attributes: dict[str, int]

    @property
    def label(self) -> str:
        """Its name in questions and pages: name and kind."""
        return f"{self.name} {self.kind}"


@dataclass(frozen=True)
class Page:
    """A page. title: shown in a list of hits. body: shown when the page is opened."""

    id: int
    entity: int
    stale: bool
    title: str
    body: str
    facts: dict[str, str] = field(compare=False)


@dataclass(frozen=True)
class World:
    """All entities and pages, in id order."""

    seed: int
    settings: WorldSettings
    entities: tuple[Entity, ...]
    pages: tuple[Page, ...]

    def words(self) -> list[str]:
        """List every word that a title or body can hold, sorted."""
        return sorted({word for page in self.pages for word in f"{page.title} {page.body}".split()})

    def vocabulary(self) -> list[str]:
        """List every word that a prompt, a result or an answer can hold: tags, the templates' words, 0 to 200, the
        web's.
        """
        return [*TAGS, *WORDS, *(str(n) for n in range(LARGEST_NUMBER + 1)), *KINDS, *self.words()]


def make_names(count: int) -> list[str]:
    """Make `count` distinct pronounceable names in lower case, none of which is another word of the world.

    They are the same for every world seed: worlds differ in who bears a name and in their facts, never in their words.
    """
    rng = stream(0, "miniweb", "names")
    taken = {word for kind, (_, synonym) in KINDS.items() for word in (kind, synonym)}
    names: list[str] = []
    while len(names) < count:
        name = "".join(str(rng.choice(list(part))) for part in ("bdfgklmnprstvz", "aeiou", "lnrsdk", "aeiou", "lnrskx"))
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names


def generate_world(seed: int = 0, settings: WorldSettings = WorldSettings()) -> World:
    """Generate the world of a root seed. The same seed and settings give the same world on any machine.

    Raises:
        UserError: a split has no entity of some class.
    """
    rng = stream(seed, "miniweb", "world")
    kinds = list(KINDS)
    identities = [
        (name, kinds[k])
        for name in make_names(settings.names)
        for k in sorted(rng.choice(len(kinds), size=settings.kinds_per_name, replace=False))
    ]
    splits = [SPLITS[i] for i in rng.choice(3, size=len(identities), p=settings.split_shares)]
    pool: dict[tuple[str, str], list[int]] = {}
    for i, ((_, kind), split) in enumerate(zip(identities, splits, strict=True)):
        pool.setdefault((split, KINDS[kind][0]), []).append(i)
    entities = []
    for i, ((name, kind), split) in enumerate(zip(identities, splits, strict=True)):
        relations = {}
        for relation, target in RELATIONS[KINDS[kind][0]].items():
            others = [j for j in pool.get((split, target), []) if j != i]
            if not others:
                raise UserError(f"world: the {split} split has no {target}; raise `names` or `kinds_per_name`")
            relations[relation] = int(rng.choice(others))
        values = {a: int(rng.integers(settings.value_low, settings.value_high + 1)) for a in ATTRIBUTES}
        entities.append(Entity(i, name, kind, split, relations, values))
    pages = []
    for entity in entities:
        has_twin = rng.random() < settings.stale_share
        twin_first = rng.random() < 0.5
        for stale in [twin_first, not twin_first] if has_twin else [False]:
            pages.append(_write_page(len(pages), entity, stale, entities, pool, settings, rng))
    return World(seed, settings, tuple(entities), tuple(pages))


def _write_page(page_id: int, entity: Entity, stale: bool, entities, pool, settings: WorldSettings, rng) -> Page:
    facts: dict[str, str] = {}
    for relation, target in RELATIONS[KINDS[entity.kind][0]].items():
        other = entities[entity.relations[relation]]
        if stale and rng.random() < settings.stale_changed_share:
            other = entities[int(rng.choice(pool[(entity.split, target)]))]
        facts[relation] = other.label
    for attribute, value in entity.attributes.items():
        if stale and rng.random() < settings.stale_changed_share:
            value = int(rng.integers(settings.value_low, settings.value_high + 1))
        facts[attribute] = str(value)
    kind = KINDS[entity.kind][1] if rng.random() < settings.synonym_share else entity.kind
    title = entity.name if rng.random() < settings.hidden_title_share else f"{entity.name} {kind}"
    head = [entity.name, kind, *([STALE] if stale else [])]
    body = " ".join(head + [f"{key} {value}" for key, value in facts.items()])
    return Page(page_id, entity.id, stale, title, body, facts)


def save_world(world: World, path: Path) -> None:
    """Write a world as JSON, one entity or page per line, so that a change shows as a small diff."""
    lines = [json.dumps({"seed": world.seed, "settings": asdict(world.settings)})]
    lines += [json.dumps({"entity": asdict(entity)}) for entity in world.entities]
    lines += [json.dumps({"page": asdict(page)}) for page in world.pages]
    path.write_text("\n".join(lines) + "\n")


def load_world(path: Path) -> World:
    """Read a world that `save_world` wrote.

    Raises:
        UserError: the file is missing or malformed; the message has file and line.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot read the world ({error.strerror}); run `make worlds` to write it") from None
    entities, pages, header = [], [], None
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if number == 1:
                row["settings"]["split_shares"] = tuple(row["settings"]["split_shares"])
                header = (row["seed"], WorldSettings(**row["settings"]))
            elif "entity" in row:
                entities.append(Entity(**row["entity"]))
            else:
                pages.append(Page(**row["page"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}:{number}: not a row of a world file ({error}); run `make worlds`") from None
    if header is None or not pages:
        raise UserError(f"{path}: holds no world; run `make worlds` to write it again")
    return World(*header, tuple(entities), tuple(pages))
