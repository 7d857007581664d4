"""Check which run a manifest says it is, against the run's config and the folder that it lies in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from reproduce.config.strict import Whole, build, section, settings
from reproduce.errors import UserError
from reproduce.runs import files
from reproduce.runs.schema import SCHEMA_VERSION


@section
class Identity:
    """The keys of a manifest that every reader asks for."""

    schema_version: Literal[SCHEMA_VERSION]
    status: Literal["running", "failed", "finished"]
    profile: str
    experiment: str
    method: str
    seed: Whole
    config_hash: str
    variant: str | None = None  # None: a plain method; manifests of old runs may lack it


def require_fields(data: Mapping, source: str, advice: str = files.MOVE) -> None:
    """Refuse a manifest that lacks a key of `Identity`, or holds a wrong value.

    Args:
        data: the manifest.
        source: its name in the message.
        advice: the end of the message.

    Raises:
        UserError: a key is missing or wrong.
    """
    try:
        build(Identity, {name: data[name] for name in settings(Identity) if name in data}, source)
    except UserError as error:
        raise UserError(f"{error}; {advice}") from None


def read_manifest(folder: Path) -> dict:
    """Read the manifest of a run directory. Raises UserError as `files.read_json` and `require_fields` do."""
    data = files.read_json(folder / "manifest.json")
    require_fields(data, f"{folder}/manifest.json")
    return data


def check_config(folder: Path, data: Mapping, config: Mapping) -> None:
    """Refuse a manifest that names another run than its config, where both name one.

    Raises:
        UserError: they differ.
    """
    for name in settings(Identity):
        said, meant = data.get(name), config.get(name)
        if name in config and said != meant:
            raise UserError(
                f"{folder}/manifest.json has {name} {said}, config.yaml has {meant}: one of them was changed; restore "
                f"it, or {files.MOVE}"
            )


def check_place(folder: Path, data: Mapping) -> None:
    """Refuse a run directory that lies where another run belongs.

    It belongs at `<experiment>/<variant or method>/<seed>`.

    Raises:
        UserError: it lies elsewhere.
    """
    expected = (data["experiment"], data.get("variant") or data["method"], str(data["seed"]))
    if folder.resolve().parts[-len(expected) :] != expected:
        raise UserError(
            f"{folder} holds the run {'/'.join(expected)}, says its manifest.json, so it belongs elsewhere: move it "
            "there, or away"
        )
