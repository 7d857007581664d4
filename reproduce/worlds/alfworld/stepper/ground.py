"""Ground the rules on one game piece by piece: the operators that could apply at a place, and with a thing in hand.

Static facts (predicates that no action changes) are used up here. What is left of an operator's precondition is a set
of dynamic facts that must be true and one that must be false, as small integers.
"""

from collections.abc import Callable
from dataclasses import dataclass

from reproduce.worlds.alfworld.stepper.game import Game
from reproduce.worlds.alfworld.stepper.join import Binding, Fact, FactIndex, Join
from reproduce.worlds.alfworld.stepper.pddl import Action, Disjunct, Literal
from reproduce.worlds.alfworld.stepper.rules import Rules

Condition = tuple[frozenset[int], frozenset[int]]


@dataclass(frozen=True, slots=True)
class Operator:
    """A ground action.

    binding: object of every parameter, by name. positive, negative: numbers of facts that must be true and false,
    besides the keys. add, delete: numbers of the facts that it changes and that something reads.
    """

    command: str
    action: Action
    binding: Binding
    positive: frozenset[int]
    negative: frozenset[int]
    add: tuple[int, ...]
    delete: tuple[int, ...]


class _Form:
    """One disjunct of an action, prepared: the key facts that it needs, its static join and its dynamic literals."""

    def __init__(self, rules: Rules, index: FactIndex, action: Action, disjunct: Disjunct):
        self.action = action
        self.types = dict(action.parameters + disjunct.extra)
        literals = disjunct.literals
        self.keys = [
            next((x for x in literals if x.positive and x.predicate == predicate), None) for predicate in rules.keys
        ]
        known = {arg for literal in self.keys if literal for arg in literal.args}
        self.join = Join(index, self.types, literals + action.effects, rules.dynamic, known)
        dynamic = [x for x in literals if x.predicate in rules.dynamic and x not in self.keys]
        self.positive = [x for x in dynamic if x.positive]
        self.negative = [x for x in dynamic if not x.positive]
        self.add = [x for x in action.effects if x.positive]
        self.delete = [x for x in action.effects if not x.positive]


class Grounder:
    """Numbers facts and grounds operators. facts: the numbered facts."""

    def __init__(self, rules: Rules, game: Game):
        self.rules, self.game = rules, game
        self.facts: list[Fact] = []
        self._numbers: dict[Fact, int] = {}
        self.index = FactIndex({fact for fact in game.facts if fact[0] not in rules.dynamic}, game.objects)
        goal = {x.predicate for part in game.goal for disjunct in part for x in disjunct.literals}
        self._read = rules.read_predicates | goal
        self._forms = [_Form(rules, self.index, action, d) for action in rules.actions for d in action.precondition]

    def number(self, fact: Fact) -> int:
        """Return the number of a fact, a new one if it has none."""
        found = self._numbers.get(fact)
        if found is None:
            found = self._numbers[fact] = len(self.facts)
            self.facts.append(fact)
        return found

    def conditions(self, disjunct: Disjunct) -> list[Condition]:
        """List the ways to satisfy a condition without parameters: facts that must be true, and that must be false."""
        literals, dynamic = disjunct.literals, self.rules.dynamic
        join = Join(self.index, dict(disjunct.extra), literals, dynamic)
        true, false = ([x for x in literals if x.predicate in dynamic and x.positive is p] for p in (True, False))
        return [(self._set(true, found), self._set(false, found)) for found in join({})]

    def operators(self, keys: tuple[int | None, ...], command: Callable[[str, Binding], str]) -> list[Operator]:
        """List the operators that need exactly these key facts.

        An operator whose every effect is already part of its precondition is dropped, as the real engine's planner
        does: you cannot go to where you are.

        Args:
            keys: fact numbers, None where the operator needs no fact of that predicate.
            command: command(action, binding) -> the text that the player types.
        """
        found = []
        for form in self._forms:
            if any((literal is None) != (key is None) for literal, key in zip(form.keys, keys, strict=True)):
                continue
            known = self._unified(form, keys)
            if known is None:
                continue
            needed = {key for key in keys if key is not None}
            for bound in form.join(known):
                positive, negative = self._set(form.positive, bound), self._set(form.negative, bound)
                add = self._set(form.add, bound)
                delete = self._set(form.delete, bound) - add
                if negative & (positive | needed):
                    continue
                if not form.action.conditional and add <= positive | needed and delete <= negative:
                    continue
                binding = {name[1:]: bound[name] for name, _ in form.action.parameters}
                text = command(form.action.name, binding)
                effects = (tuple(n for n in sorted(ns) if self.facts[n][0] in self._read) for ns in (add, delete))
                found.append(Operator(text, form.action, binding, positive, negative, *effects))
        return found

    def _unified(self, form: _Form, keys: tuple[int | None, ...]) -> Binding | None:
        """Values of the variables in the key literals; None if types or values do not fit together."""
        known: Binding = {}
        for literal, key in zip(form.keys, keys, strict=True):
            for arg, value in zip(literal.args, self.facts[key][1:], strict=True) if literal else ():
                if self.game.objects[value] != form.types.get(arg) or known.setdefault(arg, value) != value:
                    return None
        return known

    def _set(self, literals: list[Literal], bound: Binding) -> frozenset[int]:
        return frozenset([self.number((x.predicate, *[bound[arg] for arg in x.args])) for x in literals])
