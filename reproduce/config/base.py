"""Settings that several tables share. A table's file names them as `base`, and its own keys win over them.

A profile that only one table has is named after one of the base, such as smoke-scienceworld, and builds on it.
"""

from pathlib import Path
from typing import Any

from reproduce.config.strict import build, nearest, section, settings
from reproduce.errors import UserError
from reproduce.yaml_files import read_yaml


@section
class Settings:
    """The part of a file that a table and its base both have.

    A table's `defaults` and `profiles` win over the base's key by key; its `groups` replace the base's.
    """

    defaults: dict[str, Any]
    profiles: dict[str, dict | None]
    groups: dict | None = None


def with_base(data: dict, path: Path, folder: Path) -> tuple[dict, str]:
    """Merge a table's mapping onto its base's.

    Args:
        data: the table's mapping; `base` is removed from it.
        path: the table's file.
        folder: where the base's file lies.

    Returns:
        The merged mapping, and the name of both files for error messages.

    Raises:
        UserError: the base is missing or malformed, or a profile belongs to neither.
    """
    name = data.pop("base")
    if not isinstance(name, str) or Path(name).name != name:
        raise UserError(f"{path.name}: 'base' must be the name of a file beside it, not {name!r}")
    base = build(Settings, read_yaml(folder / name), name)
    found = {key: data[key] for key in settings(Settings) if data.get(key) is not None}
    own = build(Settings, {"defaults": {}, "profiles": {}, **found}, path.name)
    below = {profile: changes or {} for profile, changes in base.profiles.items()}
    for profile in own.profiles:
        of = profile.rpartition("-")[0]
        if profile not in base.profiles and of not in base.profiles:
            raise UserError(f"{path.name}: 'profiles.{profile}' is not in {name}{nearest(profile, base.profiles)}")
        below.setdefault(profile, base.profiles.get(of) or {})
    merged = {
        "groups": base.groups if own.groups is None else own.groups,
        "defaults": _merged(base.defaults, own.defaults),
        "profiles": {p: _merged(changes, own.profiles.get(p) or {}) for p, changes in below.items()},
    }
    return {**data, **{key: value for key, value in merged.items() if value is not None}}, f"{path.name} with {name}"


def _merged(below: dict, above: dict) -> dict:
    """Put `above` over `below`; where both hold a mapping its keys are merged."""
    merged = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            merged[key] = {**below[key], **above[key]}
    return merged
