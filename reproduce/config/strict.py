"""Mappings to dataclasses, strictly: an unknown, missing or mistyped key is a UserError that names it."""

import dataclasses
import difflib
import math
import re
import types
import typing

from reproduce.errors import UserError


def build(cls, data: dict, source: str, prefix: str = ""):
    """A dataclass from a mapping: unknown, missing and mistyped keys are UserErrors that name `source` and the key."""
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if not isinstance(data, dict):
        raise UserError(f"{source}: '{prefix.rstrip('.')}' must be a mapping, not {data!r}")
    for key in data:
        if key not in fields:
            raise UserError(f"{source}: unknown key '{prefix}{key}'{nearest(key, fields)}")
    values = {}
    for name, spec in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], source, prefix + name)
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise UserError(f"{source}: the key '{prefix}{name}' is missing")
    made = cls(**values)
    if hasattr(made, "problems"):
        for name, problem in made.problems():
            raise UserError(f"{source}: '{prefix}{name}' {problem}")
    return made


def _convert(kind, value, source: str, name: str):
    if isinstance(kind, types.UnionType):
        if value is None and type(None) in kind.__args__:
            return None
        kind = next(k for k in kind.__args__ if k is not type(None))
    if dataclasses.is_dataclass(kind):
        return build(kind, value, source, f"{name}.")
    if kind is float and isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)  # YAML 1.1 reads 1e-3 (without a point) as a string
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise UserError(f"{source}: '{name}' must be {_KINDS[kind]}, not {value!r}")
    return value


_KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
}


def nearest(key, valid) -> str:
    """The end of an error message that names the valid key nearest to `key`."""
    match = difflib.get_close_matches(str(key), list(valid), n=1, cutoff=0.0)
    return f"; did you mean '{match[0]}'?" if match else ""


def positive(config, *names: str):
    """The problems (name, text) of those fields of `config` that are not above 0."""
    for name in names:
        if getattr(config, name) <= 0:
            yield name, f"must be positive, not {getattr(config, name)}"
