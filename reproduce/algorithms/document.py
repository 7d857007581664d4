"""Write the methods and their settings as Markdown: the generated blocks of this folder's README."""

import json
import math

from reproduce.algorithms import load, module_of, names
from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import PARTS, part_name
from reproduce.algorithms.settings import flat_settings
from reproduce.errors import UserError


def methods() -> str:
    """Write a table with one row per method: its parts and its citation."""
    head = ("method", "rollout", "advantage", "ratio", "surrogate", "aggregation", "further parts", "citation")
    return _table(head, [_method_row(load(name)) for name in names()])


def settings() -> str:
    """Write a section per method: each setting with its published value and that value's source.

    Raises:
        UserError: a setting has no source, or `sources` names a setting that the method does not have.
    """
    return "\n\n".join(_section(load(name)) for name in names())


def _method_row(algorithm: Algorithm) -> tuple[str, ...]:
    chosen = algorithm.settings
    low, high = algorithm.clip_range
    bounds = "" if (low, high) == (0, math.inf) else f" {low:g} to {high:g}"
    acting = [
        part_name(slot, part) for slot, part in algorithm.loss_parts() if slot in ("token_weight", "regularisers")
    ]
    others = [chosen[slot] for slot in ("group_filter", "reward_shaping") if chosen[slot] != "none"]
    critic = ["critic"] if algorithm.critic is not None else []
    return (
        f"[`{algorithm.name}`]({module_of(algorithm.name)}.py)",
        f"`{chosen['rollout']}`",
        f"`{chosen['advantage']}`",
        f"`{chosen['ratio']}`",
        f"`{chosen['surrogate']}`{bounds}",
        f"`{chosen['aggregation']}`",
        ", ".join(f"`{name}`" for name in [*acting, *others, *critic]),
        algorithm.citation,
    )


def _section(algorithm: Algorithm) -> str:
    parts = algorithm.parts()
    chosen = algorithm.settings
    rows = [_row(slot, chosen[slot], algorithm.sources[slot]) for slot in PARTS if slot in algorithm.sources]
    for key, (slot, index, value) in flat_settings(parts).items():
        of_part = getattr(parts[slot][index], "sources", {})
        source = algorithm.sources.get(key) or of_part.get(key)
        if not source:
            raise UserError(f"{algorithm.name}: the setting {key} has no source; add one to the method's `sources`")
        rows.append(_row(key, value, source))
    unknown = sorted(algorithm.sources.keys() - chosen.keys())
    if unknown:
        raise UserError(f"{algorithm.name}: `sources` names {unknown[0]!r}, which is no setting of the method")
    file = f"{module_of(algorithm.name)}.py"
    return f"### {algorithm.name}\n\n{algorithm.citation}; equations: [{file}]({file}).\n\n" + _table(
        ("setting", "value", "source"), rows
    )


def _row(key: str, value, source: str) -> tuple[str, str, str]:
    return f"`{key}`", f"`{json.dumps(value)}`", source


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
