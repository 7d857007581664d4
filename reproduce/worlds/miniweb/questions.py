"""Questions over MiniWeb: three families, three levels, fixed panels.

- `mini-math`        arithmetic for the Python tool; level = number of operations;
- `mini-knowledge`   one to three hops; a search shows the best page at once; level = hops;
- `mini-deepsearch`  two or three pages to find and open, then a value, a sum or a maximum; 4 to 7 calls at best.

The families stand for the papers' columns (mathematical, knowledge-intensive, deep search). They never bear the
columns' names, since no number measured here is comparable with a number of a paper.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from reproduce.errors import UserError
from reproduce.seeding import stream
from reproduce.worlds.miniweb.generator import ATTRIBUTES, SPLITS, World

FAMILIES = ("mini-math", "mini-knowledge", "mini-deepsearch")
LEVELS = (1, 2, 3)


@dataclass(frozen=True)
class MiniQuestion:
    """A question, with the facts that the checks and the demonstrator need.

    path: entity ids from the named entity to the one that holds the value. relations: lead along it. operation: "read",
    "sum" or "max" over `attributes` of the last entity. minimum_calls: tool calls of a faultless solution.
    """

    id: str
    family: str
    level: int
    split: str
    text: str
    gold: str
    path: tuple[int, ...] = ()
    relations: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    operation: str = "read"
    expression: str = ""
    minimum_calls: int = 1


def make_questions(world: World, family: str, split: str, count: int, seed: int, levels=LEVELS) -> list[MiniQuestion]:
    """Draw `count` distinct questions of a family and split, levels in turn, from the named stream of `seed`.

    Raises:
        UserError: the family or split is unknown, or the split holds too few distinct questions.
    """
    if family not in FAMILIES:
        raise UserError(f"unknown task family {family!r}; choose one of {', '.join(FAMILIES)}")
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    rng = stream(seed, "questions", family, split)
    draw = _math_question if family == "mini-math" else _web_question
    starts = [entity.id for entity in world.entities if entity.split == split]
    seen: dict[str, MiniQuestion] = {}
    for _ in range(200 * count):
        if len(seen) == count:
            break
        question = draw(world, family, split, levels[len(seen) % len(levels)], starts, rng)
        if question is not None:
            seen.setdefault(question.id, question)
    if len(seen) < count:
        raise UserError(f"{family}/{split}: only {len(seen)} distinct questions found, {count} asked")
    return list(seen.values())


def _web_question(world: World, family: str, split: str, level: int, starts, rng) -> MiniQuestion | None:
    deep = family == "mini-deepsearch"
    hops = (2 if level == 3 else 1) if deep else level - 1
    entity = world.entities[int(rng.choice(starts))]
    path, relations, text = [entity.id], [], entity.label
    for _ in range(hops):
        relation = str(rng.choice(sorted(entity.relations)))
        entity = world.entities[entity.relations[relation]]
        path.append(entity.id)
        relations.append(relation)
        text = f"{text} {relation}"
    if len(set(path)) < len(path):
        return None
    operation = (
        str(rng.choice(["sum", "max"])) if deep and (level == 2 or (level == 3 and rng.random() < 0.5)) else "read"
    )
    if operation == "read":
        attributes = (str(rng.choice(ATTRIBUTES)),)
        gold = entity.attributes[attributes[0]]
        text = f"{text} {attributes[0]}"
    else:
        attributes = ATTRIBUTES
        values = [entity.attributes[a] for a in attributes]
        gold = sum(values) if operation == "sum" else max(values)
        text = f"{text} {operation} {' '.join(attributes)}"
    calls = (2 if deep else 1) * len(path) + (operation != "read")
    return MiniQuestion(
        _id(family, split, text),
        family,
        level,
        split,
        text,
        str(gold),
        tuple(path),
        tuple(relations),
        attributes,
        operation,
        "",
        calls,
    )


def _math_question(world: World, family: str, split: str, level: int, starts, rng) -> MiniQuestion | None:
    """Operands up to 60. A hash decides the split of an expression, so no expression is in two splits."""
    a, b, c, d = (int(v) for v in rng.integers(2, 60, size=4))
    expression = {1: f"{a} + {b}", 2: f"{a} + {b} - {c}", 3: f"max ( {a} + {b} , {c} + {d} )"}[level]
    share = hashlib.sha256(expression.encode()).digest()[0] / 256
    low, high = (0.0, world.settings.split_shares[0]), 1.0 - world.settings.split_shares[2]
    owner = "train" if share < low[1] else "validation" if share < high else "test"
    gold = {1: a + b, 2: a + b - c, 3: max(a + b, c + d)}[level]
    if owner != split or not 0 <= gold <= 200:
        return None
    text = f"value {expression}"
    return MiniQuestion(_id(family, split, text), family, level, split, text, str(gold), expression=expression)


def _id(family: str, split: str, text: str) -> str:
    return f"{family}-{split}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def panel_path(directory: Path, family: str, split: str) -> Path:
    """Return where the committed panel of a family and split lies."""
    return Path(directory) / "panels" / f"{family}-{split}.jsonl"


def save_panel(questions: list[MiniQuestion], path: Path) -> None:
    """Write a panel, sorted by id, one question per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = sorted((asdict(q) for q in questions), key=lambda row: row["id"])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def load_panel(path: Path) -> list[MiniQuestion]:
    """Read a panel.

    Raises:
        UserError: the file is missing or a row is malformed; the message names file, line and field.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot read the panel ({error.strerror}); run `make worlds` to write it") from None
    questions = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            tuples = {key: tuple(row[key]) for key in ("path", "relations", "attributes")}
            questions.append(MiniQuestion(**{**row, **tuples}))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}:{number}: malformed question row ({error}); fix the line or run `make worlds`"
            ) from None
        if questions[-1].family not in FAMILIES or questions[-1].level not in LEVELS or not questions[-1].gold:
            raise UserError(f"{path}:{number}: family, level or gold is not valid; fix the line or run `make worlds`")
    return questions
