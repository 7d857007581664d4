"""Settings that several tables share: a table's file names them as `base`, and its own keys win over them.

A profile that only the table has is called after one of the base, such as smoke-scienceworld, and builds on that.
"""

from dataclasses import field
from pathlib import Path

from reproduce.config.strict import build, nearest, section
from reproduce.errors import UserError
from reproduce.yaml_files import read_yaml


@section
class BaseConfig:
    """The file that `base` names. A table's `defaults` and `profiles` win over these key by key; its `groups` replace
    them."""

    defaults: dict
    profiles: dict
    groups: dict = field(default_factory=dict)


def with_base(data: dict, path: Path, folder: Path) -> tuple[dict, str]:
    """The table's mapping merged onto its base's, and what error messages call the two."""
    name = data["base"]
    if not isinstance(name, str) or Path(name).name != name:
        raise UserError(f"{path.name}: 'base' must be the name of a file beside it, not {name!r}")
    base = build(BaseConfig, read_yaml(folder / name), name)
    profiles = data.get("profiles") or {}
    below = {profile: changes or {} for profile, changes in base.profiles.items()}
    for profile in profiles:
        of = profile.rpartition("-")[0]
        if profile not in base.profiles and of not in base.profiles:
            raise UserError(f"{path.name}: 'profiles.{profile}' is not in {name}{nearest(profile, base.profiles)}")
        below.setdefault(profile, base.profiles.get(of) or {})
    merged = {
        **data,
        "groups": data.get("groups", base.groups),
        "defaults": _merged(base.defaults, data.get("defaults") or {}),
        "profiles": {p: _merged(changes, profiles.get(p) or {}) for p, changes in below.items()},
    }
    merged.pop("base")
    return merged, f"{path.name} with {name}"


def _merged(below: dict, above: dict) -> dict:
    """`above` over `below`; where both hold a mapping its keys are merged."""
    merged = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            merged[key] = {**below[key], **above[key]}
    return merged
