"""Enumerate the objects that satisfy a condition's static part; prepared once per condition, run for every place."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product

from reproduce.worlds.alfworld.stepper.pddl import Literal

Binding = dict[str, str]
Fact = tuple[str, ...]


class FactIndex:
    """Facts by predicate, and by predicate, place of an argument and its value. objects: type of every object."""

    def __init__(self, facts: set[Fact], objects: Mapping[str, str]):
        self.facts, self.objects = facts, objects
        self.rows: dict[tuple, list[Fact]] = {}
        for fact in sorted(facts):
            self.rows.setdefault((fact[0],), []).append(fact)
            for place, value in enumerate(fact[1:], start=1):
                self.rows.setdefault((fact[0], place, value), []).append(fact)
        self.of_type: dict[str, list[str]] = {}
        for id, kind in sorted(objects.items()):
            self.of_type.setdefault(kind, []).append(id)


class Join:
    """The static part of a condition, prepared.

    types: type of every variable. literals: all that a binding will be used for; those on dynamic predicates are not
    part of the join. known: variables that have a value before it starts.
    """

    def __init__(
        self,
        index: FactIndex,
        types: Mapping[str, str],
        literals: Sequence[Literal],
        dynamic: frozenset[str] = frozenset(),
        known: Collection[str] = (),
    ):
        self.index, self.types = index, types
        self.constants = {arg: arg for literal in literals for arg in literal.args if arg not in types}
        literals = [x for x in literals if x.predicate not in dynamic]
        self._equal = [x for x in literals if x.predicate == "="]
        self._denied = [x for x in literals if x.predicate != "=" and not x.positive]
        self._steps: list[tuple[str, list[tuple[int, str]], list[tuple[int, str]]]] = []
        waiting = [x for x in literals if x.predicate != "=" and x.positive]
        bound = {*known, *self.constants}
        while waiting:
            literal = min(waiting, key=lambda x: sum(arg not in bound for arg in x.args))
            waiting.remove(literal)
            places = list(enumerate(literal.args, start=1))
            old = [(place, arg) for place, arg in places if arg in bound]
            self._steps.append((literal.predicate, old, [pair for pair in places if pair not in old]))
            bound |= set(literal.args)
        self._free = [name for name in types if name not in bound]

    def __call__(self, known: Binding) -> Iterator[Binding]:
        """Yield all bindings of all variables (and constants to themselves) that extend `known`, in a fixed order."""
        for partial in self._extend(0, {**self.constants, **known}):
            for values in product(*(self.index.of_type.get(self.types[name], ()) for name in self._free)):
                found = {**partial, **dict(zip(self._free, values, strict=True))} if values else partial
                if all((found[x.args[0]] == found[x.args[1]]) == x.positive for x in self._equal) and not any(
                    (x.predicate, *(found[arg] for arg in x.args)) in self.index.facts for x in self._denied
                ):
                    yield found

    def _extend(self, depth: int, bound: Binding) -> Iterator[Binding]:
        if depth == len(self._steps):
            yield bound
            return
        predicate, old, new = self._steps[depth]
        key = (predicate, old[0][0], bound[old[0][1]]) if old else (predicate,)
        objects, types = self.index.objects, self.types
        for fact in self.index.rows.get(key, ()):
            if any(fact[place] != bound[arg] for place, arg in old[1:]):
                continue
            if not new:
                yield from self._extend(depth + 1, bound)
                continue
            extended = dict(bound)
            for place, arg in new:
                value = fact[place]
                if objects[value] != types[arg] or extended.setdefault(arg, value) != value:
                    break
            else:
                yield from self._extend(depth + 1, extended)
