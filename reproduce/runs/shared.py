"""Check that the runs of one table belong together: they differ in row and seed only."""

from collections.abc import Mapping
from pathlib import Path

from reproduce.config.tables import ROW
from reproduce.errors import UserError
from reproduce.runs.manifest import hashed


def table_config(configs: Mapping[Path, dict]) -> dict:
    """Merge the configs of a table's runs.

    Args:
        configs: run directory -> its resolved config, without the warm start.

    Returns:
        The shared sections, and `rows`: name -> method, algorithm, training and seeds of each row. `training` leaves
            out the settings in which the variants differ; each row holds its own.

    Raises:
        UserError: two runs do not belong in one table; the message names them.
    """
    varied = {key for config in configs.values() for key in config.get("training_changes") or {}}
    shared: dict | None = None
    rows: dict[str, dict] = {}
    for path, config in configs.items():
        parts = _split(config, varied)
        if shared is None:
            first, shared = path, parts
        for section in {**shared, **parts}:
            if hashed(section, parts.get(section)) != hashed(section, shared.get(section)):
                raise UserError(
                    f"{path} and {first} have different configs (section '{section}'): a table holds runs of one "
                    "config; move the old runs away and run again"
                )
        row = {
            "method": config["method"],
            "algorithm": config.get("algorithm") or {},
            "training": _varied(config["training"], varied),
        }
        name = config.get("variant") or config["method"]
        known = rows.setdefault(name, {**row, "seeds": []})
        if any(known[key] != value for key, value in row.items()):
            raise UserError(f"{path}: '{name}' has other settings than its other seeds; move it away and run it again")
        known["seeds"].append(config["seed"])
    return {**(shared or {}), "rows": rows}


def _varied(training: dict, varied: set[str]) -> dict:
    """Return a row's own part of `training`; an older config that lacks a setting has None, which is its default."""
    found = {key: value for key, value in training.items() if key in varied}
    return found | dict.fromkeys(sorted(varied - found.keys()))


def _split(config: dict, varied: set[str]) -> dict:
    shared = {section: value for section, value in config.items() if section not in ROW}
    shared["training"] = {key: value for key, value in config["training"].items() if key not in varied}
    return shared
