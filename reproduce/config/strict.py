"""Sections of configs as pydantic dataclasses. A bad setting is one line that names its key.

The annotation of a setting holds its type, its range, and whether a config's hash covers it.
"""

import functools
import re
import typing
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo
from pydantic.types import StrictBool, StrictFloat, StrictInt
from pydantic_core import PydanticCustomError

from reproduce.errors import UserError, closest


class InHash(Enum):
    """Whether a config's hash covers a setting. It does unless the annotation says otherwise."""

    NEVER = "it says where things are or how services are asked, not what they answer"
    IF_SET = "older configs lack it, and None is what they mean"


def _number(value):
    """Read 1e-3 as a number: YAML 1.1 takes it for a string where the point is missing."""
    text = isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value)
    return float(value) if text else value


T = TypeVar("T")
Unhashed = Annotated[T, InHash.NEVER]
Later = Annotated[T, InHash.IF_SET]
Flag = StrictBool
Whole = Annotated[StrictInt, Field(ge=0)]
Count = Annotated[StrictInt, Field(gt=0)]
Number = Annotated[StrictFloat, BeforeValidator(_number)]
Amount = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, le=1)]


@typing.dataclass_transform(frozen_default=True)
def section(cls):
    """Make the class a frozen pydantic dataclass that takes no unknown key.

    Its method `problems`, if it has one, yields (key, problem) for settings that do not go together.
    """
    if hasattr(cls, "problems"):
        cls.checked = model_validator(mode="after")(_checked)
    return dataclass(cls, frozen=True, config=_STRICT)


_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True, defer_build=True)


def _checked(self):
    for key, problem in self.problems():
        raise PydanticCustomError("setting", "{problem}", {"key": key, "problem": problem})
    return self


def build(cls, data: dict, source: str, prefix: str = ""):
    """Build a section from a mapping.

    Args:
        cls: the section's class.
        data: the mapping.
        source: the file's name, for the error.
        prefix: put before the keys in the error.

    Raises:
        UserError: a setting is unknown, missing or does not fit; the message names `source` and the key.
    """
    try:
        return _adapter(cls).validate_python(data)
    except ValidationError as error:
        found = sorted(error.errors(include_url=False), key=lambda one: one["type"] not in _UNKNOWN)
        raise UserError(f"{source}: {_said(found[0], cls, prefix)}") from None


_adapter = functools.cache(TypeAdapter)
_UNKNOWN = ("unexpected_keyword_argument", "invalid_key")
_MUST = {
    "int_type": "be a whole number, not {input!r}",
    "float_type": "be a number, not {input!r}",
    "finite_number": "be a number, not {input!r}",
    "string_type": "be a text, not {input!r}",
    "bool_type": "be true or false, not {input!r}",
    "list_type": "be a list, not {input!r}",
    "dict_type": "be a mapping, not {input!r}",
    "dataclass_type": "be a mapping, not {input!r}",
    "literal_error": "be one of {choices}, not {input!r}",
    "greater_than": "be positive, not {input!r}",
    "greater_than_equal": "not be negative",
    "less_than": "be below {lt}, not {input!r}",
    "less_than_equal": "be at most {le}, not {input!r}",
}


def _said(error, cls, prefix: str) -> str:
    kind, context = error["type"], error.get("ctx", {})
    place = (*error["loc"], *([context["key"]] if kind == "setting" else []))
    name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in (prefix.rstrip("."), *place)).strip(".")
    if kind in _UNKNOWN:
        return f"unknown key '{name}'{nearest(place[-1], _inside(cls, place[:-1]))}"
    if kind == "missing":
        return f"the key '{name}' is missing"
    if kind == "setting":
        return f"'{name}' {context['problem']}"
    if kind not in _MUST:
        return f"'{name}': {error['msg']}"
    choices = context.get("expected", "").replace("'", "").replace(" or ", ", ")
    return f"'{name}' must {_MUST[kind].format(**context, input=error['input'], choices=choices)}"


def _inside(cls, place: tuple) -> list[str]:
    """List the keys of a place inside a section."""
    for key in place:
        cls = typing.get_args(cls)[-1] if typing.get_origin(cls) else settings(cls)[key].annotation
        cls = bare(cls)
    return list(settings(cls))


def settings(cls) -> dict[str, FieldInfo]:
    """Map the name of each setting of a section to its annotation and marks; {} for anything but a section."""
    return getattr(cls, "__pydantic_fields__", {})


def bare(annotation):
    """Strip None, range and marks from a setting's type."""
    if typing.get_origin(annotation) in (UnionType, typing.Union):
        annotation = next(kind for kind in typing.get_args(annotation) if kind is not NoneType)
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation


def hashed(value, annotation):
    """Return the part of a setting's value (a mapping, where it is a section) that a config's hash covers."""
    known = settings(bare(annotation))
    if not known or not isinstance(value, dict):
        return value
    kept = {}
    for key, item in value.items():
        marks = known[key].metadata if key in known else ()
        if InHash.NEVER not in marks and (item is not None or InHash.IF_SET not in marks):
            kept[key] = hashed(item, known[key].annotation) if key in known else item
    if kept.get("revision"):  # the revision alone identifies the model
        kept.pop("name_or_path", None)
    return kept


def nearest(key, valid) -> str:
    """End an error message with the valid key nearest to `key`; "" without valid keys."""
    names = list(valid)
    return f"; did you mean '{closest(key, names)}'?" if names else ""
