"""Conditions on a game under which the stepper equals the real engine. A game that breaks one does not load."""

import re
from collections import Counter

from reproduce.errors import UserError
from reproduce.worlds.alfworld.stepper.game import Game
from reproduce.worlds.alfworld.stepper.pddl import Action, Literal
from reproduce.worlds.alfworld.stepper.rules import Rules, variables

_NAME = re.compile(r"\S+ \d*")


def check_game(rules: Rules, game: Game) -> None:
    """Check all conditions.

    Raises:
        UserError: the message names the game and the first condition that does not hold.
    """
    for check in (_check_objects, _check_goal, _check_types, _check_commands):
        reason = check(rules, game)
        if reason:
            raise UserError(f"game {game.id}: {reason}; play it with the real engine")


def _check_objects(rules: Rules, game: Game) -> str | None:
    unnamed = {arg for fact in game.facts for arg in fact[1:]} - game.names.keys()
    if unnamed:
        return f"object {sorted(unnamed)[0]} has no name"
    twice = [name for name, count in Counter(game.names.values()).items() if count > 1]
    if twice:
        return f"two objects are called {twice[0]!r}"
    odd = [name for name in game.names.values() if not _NAME.fullmatch(name)]
    if odd:
        return f"the name {odd[0]!r} is not a word and a number, so commands could be ambiguous"
    if {"i", "p"} & game.objects.keys():
        return "an object is called i or p, which TextWorld takes for the player"
    if sum(fact[0] == rules.place for fact in game.facts) != 1:
        return f"{rules.place} must hold exactly once at the start"
    return None


def _check_goal(rules: Rules, game: Game) -> str | None:
    """The goal may ask for nothing that is left out of the state."""
    asked = {x.predicate for part in game.goal for disjunct in part for x in disjunct.literals}
    left_out = {effect.predicate for action in rules.actions for effect in action.conditional}
    unknown = (asked - rules.predicates.keys() - {"="}) | (asked & left_out)
    return f"the goal asks for {sorted(unknown)[0]}, which is not supported" if unknown else None


def _check_types(rules: Rules, game: Game) -> str | None:
    """No fact with objects of other types than its predicate declares may matter.

    For the real engine every type is a subtype of "object", so it may bind such objects where we do not. They cannot
    matter to a variable that also occurs in a positive atom whose facts all have the declared types.
    """
    loose = {
        (fact[0], place)
        for fact in game.facts
        for place, value in enumerate(fact[1:])
        if fact[0] in rules.predicates and game.objects[value] != rules.predicates[fact[0]][place]
    }
    if not loose:
        return None
    conditions = [d.literals for action in rules.actions for d in action.precondition]
    conditions += [disjunct.literals for part in game.goal for disjunct in part]
    atoms = [[(x.predicate, x.args) for x in literals if x.positive] for literals in conditions]
    for production in (production for found in rules.productions.values() for production in found):
        for query in (production.condition, *(s[2] for s in production.symbols if s[0] == "list")):
            atoms.append([(name.removeprefix("not_"), tuple(v for v, _ in pairs)) for name, pairs in query])
    for condition in atoms:
        for variable in {variable for _, args in condition for variable in args}:
            places = {(name, i) for name, args in condition for i, v in enumerate(args) if v == variable}
            if places <= loose:
                return f"objects of several types in {sorted(places)[0][0]} could matter"
    return None


def _check_commands(rules: Rules, game: Game) -> str | None:
    """At any place a command means one operator, or several between which there is no difference."""
    shapes = Counter(_shape(rules, action) for action in rules.actions)
    shape, count = shapes.most_common(1)[0]
    if count > 1:
        return f"{count} actions have the command {' '.join(part for _, part in shape)!r}"
    for action in rules.actions:
        changed = {arg for effect in action.effects + action.conditional for arg in effect.args}
        matter = (rules.text_variables(action) | changed) & {name for name, _ in action.parameters}
        open_ = matter - _determined(rules, game, action)
        if open_:
            return f"the command of {action.name} does not tell which {sorted(open_)[0][1:]} is meant"
    return None


def _shape(rules: Rules, action: Action) -> tuple[tuple[str, str], ...]:
    """The command with its variables replaced by their types."""
    types = {name[1:]: kind for name, kind in action.parameters}
    parts = []
    for symbol in rules.commands[action.name]:
        inner = symbol[1] if symbol[0] == "list" else symbol
        parts.append(("type", types[next(variables(inner[1]))]) if inner[0] == "value" else inner)
    return tuple(parts)


def _determined(rules: Rules, game: Game, action: Action) -> set[str]:
    """Parameters that command, place and static facts determine."""
    counts = Counter(game.objects.values())
    known = {name for name, kind in action.parameters if counts[kind] <= 1}
    for symbol in rules.commands[action.name]:
        inner = symbol[1] if symbol[0] == "list" else symbol
        known |= {f"?{name}" for name in variables(inner[1])} if inner[0] == "value" else set()
    if all(any(x.predicate == rules.place and x.positive for x in d.literals) for d in action.precondition):
        literals = [x for d in action.precondition for x in d.literals if x.predicate == rules.place and x.positive]
        known |= {arg for arg in literals[0].args if all(x.args == literals[0].args for x in literals)}
    shared = set.intersection(*(set(d.literals) for d in action.precondition))
    static = [x for x in shared if x.positive and x.predicate not in rules.dynamic]
    while True:
        more = {arg for x in static for arg in x.args if arg not in known and _function(game, x, arg, known)}
        if not more:
            return known
        known |= more


def _function(game: Game, literal: Literal, arg: str, known: set[str]) -> bool:
    """Whether the known arguments of a static literal leave at most one value for `arg`."""
    places = [place for place, name in enumerate(literal.args) if name in known or not name.startswith("?")]
    rows = [fact[1:] for fact in game.facts if fact[0] == literal.predicate]
    pairs = {(tuple(row[place] for place in places), row[literal.args.index(arg)]) for row in rows}
    return len(pairs) == len({keys for keys, _ in pairs})
