"""Rows of a table that are not plain methods (variants, single or in a grid), and groups, which are lists of rows."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import field

from reproduce.config.sections import TrainingConfig
from reproduce.config.strict import Positive, section
from reproduce.errors import UserError


@section
class VariantConfig:
    """A row that is a method with other settings; its name becomes the directory of its runs."""

    method: str
    algorithm: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)

    def problems(self):
        if not self.algorithm and not self.training:
            yield "method", f"alone changes nothing: list the method {self.method} itself"


@section
class GridConfig:
    """The same grid of training settings for each method. Numbers are multiples of the profile's own settings."""

    methods: list[str]
    learning_rate: list[Positive]
    minibatches: list[Positive]  # updates per rollout batch = epochs x minibatches

    def problems(self):
        for key in ("methods", "learning_rate", "minibatches"):
            values = getattr(self, key)
            if not values or any(values.count(value) > 1 for value in values):
                yield key, f"must list one value or more, each once, not {values}"

    def cells(self, method: str, training: TrainingConfig, source: str) -> dict[str, VariantConfig]:
        """Make the variants of a method, one for every cell.

        Args:
            method: the method.
            training: the settings that the multiples refer to.
            source: the table's file, for the error.

        Returns:
            name -> variant.

        Raises:
            UserError: a number of mini-batches is not whole.
        """
        made = {}
        for cell in combinations({"rate": self.learning_rate, "batches": self.minibatches}):
            rate, batches = cell["rate"], cell["batches"]
            count = training.minibatches * batches
            if count != int(count):
                raise UserError(f"{source}: grid.minibatches {batches} of {training.minibatches} is not whole")
            changes = {"learning_rate": float(f"{training.learning_rate * rate:.6g}"), "minibatches": int(count)}
            made[f"{method}-lr{rate:g}x-minibatches{batches:g}x"] = VariantConfig(method, training=changes)
        return made


def combinations(values: Mapping[str, Sequence]) -> list[dict]:
    """List every combination of one value per key, in order; without keys there is one, empty."""
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def expanded(names: list[str], groups: dict, source: str, inside: tuple = ()) -> list[str]:
    """Replace every group among the names by its members.

    Raises:
        UserError: a group contains itself.
    """
    found = []
    for name in names:
        if name in inside:
            raise UserError(f"{source}: the group '{name}' contains itself")
        found += expanded(groups[name], groups, source, (*inside, name)) if name in groups else [name]
    return found
