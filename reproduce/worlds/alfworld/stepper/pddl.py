"""Read the part of PDDL that ALFWorld uses: typed parameters, and/or/not/exists, simple effects.

Everything is lower-cased, as in Fast Downward. Anything else (forall, when with a condition that matters, type
hierarchies, ...) is refused with a UserError, never guessed.
"""

import re
from dataclasses import dataclass

from reproduce.errors import UserError

Expression = str | list


@dataclass(frozen=True)
class Literal:
    """`predicate(args)` or its negation. An argument that starts with "?" is a variable."""

    predicate: str
    args: tuple[str, ...]
    positive: bool = True


@dataclass(frozen=True)
class Disjunct:
    """One conjunction of a condition in disjunctive normal form. extra: the variables that its quantifiers bind."""

    extra: tuple[tuple[str, str], ...]
    literals: tuple[Literal, ...]


@dataclass(frozen=True)
class Action:
    """An action: parameters (variable, type), precondition in disjunctive normal form, effects; costs are dropped."""

    name: str
    parameters: tuple[tuple[str, str], ...]
    precondition: tuple[Disjunct, ...]
    effects: tuple[Literal, ...]
    conditional: tuple[Literal, ...]


@dataclass(frozen=True)
class Problem:
    """A problem: type of every object, facts true at the start, goal as a conjunction of disjunctive normal forms."""

    objects: dict[str, str]
    init: tuple[Literal, ...]
    goal: tuple[tuple[Disjunct, ...], ...]


def read(text: str) -> Expression:
    """Read the nested lists of one s-expression. Raises UserError if the brackets do not match."""
    tokens = re.findall(r"[()]|[^\s()]+", re.sub(r";[^\n]*", "", text).lower())
    stack: list[list] = [[]]
    for token in tokens:
        if token == "(":
            stack.append([])
        elif token == ")":
            if len(stack) == 1:
                raise UserError("PDDL: a closing bracket too many; the file is damaged")
            inner = stack.pop()
            stack[-1].append(inner)
        else:
            stack[-1].append(token)
    if len(stack) != 1 or len(stack[0]) != 1:
        raise UserError("PDDL: brackets do not match; the file is damaged")
    return stack[0][0]


def typed(items: list) -> tuple[tuple[str, str], ...]:
    """Read the pairs (name, type) of a typed list `a b - t c - u`; without a type, "object"."""
    pairs, waiting = [], []
    tokens = iter(items)
    for token in tokens:
        if token == "-":
            kind = next(tokens)
            pairs += [(name, kind) for name in waiting]
            waiting = []
        else:
            waiting.append(token)
    return tuple(pairs + [(name, "object") for name in waiting])


def normal_form(expression: Expression) -> tuple[Disjunct, ...]:
    """Bring a condition into disjunctive normal form; the empty condition is one empty disjunct."""
    if not expression:
        return (Disjunct((), ()),)
    head, *parts = expression
    if head == "and":
        result = [Disjunct((), ())]
        for part in parts:
            result = [_both(left, right) for left in result for right in normal_form(part)]
        return tuple(result)
    if head == "or":
        return tuple(disjunct for part in parts for disjunct in normal_form(part))
    if head == "exists":
        bound = typed(parts[0])
        return tuple(Disjunct(bound + inner.extra, inner.literals) for inner in normal_form(parts[1]))
    return (Disjunct((), (literal(expression),)),)


def _both(left: Disjunct, right: Disjunct) -> Disjunct:
    names = {name for name, _ in left.extra} & {name for name, _ in right.extra}
    if names:
        raise UserError(f"PDDL: {sorted(names)[0]} is quantified twice in one condition, which is not supported")
    return Disjunct(left.extra + right.extra, left.literals + right.literals)


def literal(expression: Expression) -> Literal:
    """Read a fact or its negation. Raises UserError for anything else."""
    positive = expression[0] != "not"
    atom = expression if positive else expression[1]
    if not all(isinstance(part, str) for part in atom) or atom[0] in ("forall", "when", "imply", "and", "or", "exists"):
        raise UserError(f"PDDL: {atom[0]!r} is not supported here; play this game with the real engine")
    return Literal(atom[0], tuple(atom[1:]), positive)


def _effects(expression: Expression) -> tuple[list[Literal], list[Literal]]:
    parts = expression[1:] if expression and expression[0] == "and" else [expression]
    plain, conditional = [], []
    for part in parts:
        if part[0] == "increase":
            continue
        if part[0] == "when":
            conditional.append(literal(part[2]))
        else:
            plain.append(literal(part))
    return plain, conditional


def read_domain(text: str) -> tuple[dict[str, tuple[str, ...]], dict[str, Action]]:
    """Read the argument types of every predicate, and every action by name.

    Raises:
        UserError: there are derived predicates or subtypes.
    """
    predicates: dict[str, tuple[str, ...]] = {}
    actions: dict[str, Action] = {}
    for section in read(text)[2:]:
        key, *body = section
        if key == ":types" and "-" in body:
            raise UserError("PDDL domain: a type hierarchy is not supported; play this game with the real engine")
        if key == ":predicates":
            predicates.update({name: tuple(kind for _, kind in typed(rest)) for name, *rest in body})
        elif key == ":action":
            fields = dict(zip(body[1::2], body[2::2], strict=True))
            parameters = typed(fields[":parameters"])
            precondition = normal_form(fields[":precondition"])
            plain, conditional = _effects(fields[":effect"])
            actions[body[0]] = Action(body[0], parameters, precondition, tuple(plain), tuple(conditional))
        elif key not in (":requirements", ":types", ":functions"):
            raise UserError(f"PDDL domain: section {key} is not supported; play this game with the real engine")
    return predicates, actions


def read_problem(text: str) -> Problem:
    """Read objects, initial facts (without numbers and costs) and goal of a problem file."""
    sections = {section[0]: section[1:] for section in read(text)[1:]}
    for name in (":objects", ":init", ":goal"):
        if name not in sections:
            raise UserError(f"PDDL problem: section {name} is missing; the file is damaged")
    init = tuple(literal(fact) for fact in sections[":init"] if fact[0] != "=")
    goal = sections[":goal"][0]
    parts = goal[1:] if goal and goal[0] == "and" else [goal]
    return Problem(dict(typed(sections[":objects"])), init, tuple(normal_form(part) for part in parts))
