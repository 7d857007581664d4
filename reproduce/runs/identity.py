"""Which run a manifest says it is, checked against the run's config and against the folder that it lies in."""

from collections.abc import Mapping
from pathlib import Path

from reproduce.errors import UserError
from reproduce.runs import files, manifest

FIELDS = {"profile": str, "experiment": str, "method": str, "seed": int, "config_hash": str}
"""Keys of every manifest. `variant` too, None for a plain method; manifests of old runs may lack it."""
NAMES = ("profile", "experiment", "method", "variant", "seed")


def require_fields(data: Mapping, source: str, advice: str = files.MOVE) -> None:
    """UserError if a manifest lacks one of `FIELDS` or holds another type. source: what the message calls the file."""
    for name, kind in FIELDS.items():
        if name not in data:
            raise UserError(f"{source} lacks '{name}'; {advice}")
        if type(data[name]) is not kind:
            raise UserError(f"{source}: '{name}' is {data[name]!r}, not {_KINDS[kind]}; {advice}")


_KINDS = {str: "a text", int: "a whole number"}


def check_config(folder: Path, data: Mapping, config: Mapping) -> None:
    """UserError if the manifest of a run directory names another run than its config, where both name one."""
    for name in NAMES:
        said, meant = data.get(name), config.get(name)
        if name in config and said != meant:
            raise UserError(
                f"{folder}/manifest.json has {name} {said}, config.yaml has {meant}: one of them was changed; restore "
                f"it, or {files.MOVE}"
            )


def check_place(folder: Path, data: Mapping) -> None:
    """UserError if a run directory lies where another run belongs: `<experiment>/<variant or method>/<seed>`, or
    `<experiment>/warm_start`."""
    warm_start = data["method"] == manifest.WARM_START
    name = data.get("variant") or data["method"]
    expected = (data["experiment"], name) if warm_start else (data["experiment"], name, str(data["seed"]))
    if folder.resolve().parts[-len(expected) :] != expected:
        raise UserError(
            f"{folder} holds the run {'/'.join(expected)}, says its manifest.json, so it belongs elsewhere: move it "
            "there, or away"
        )
