"""Read YAML files strictly: UTF-8, and no key twice in a mapping. Errors name the file.

The YAML library lets the last of two equal keys win, so a setting that is written twice would be lost in silence.
"""

from pathlib import Path

import yaml

from reproduce.errors import UserError


class _Strict(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice. A key beside `<<` may override what `<<` brings in."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                name = (key.tag, key.value)
                if name in seen:
                    problem = f"the key '{key.value}' is given twice"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add(name)
        return node


def read_yaml_value(path: Path | str) -> object:
    """Read a YAML file.

    Returns:
        Its contents, None for an empty file.

    Raises:
        UserError: the file is missing, a folder, unreadable, not UTF-8 or not YAML, or gives a key twice.
    """
    path = Path(path)
    try:
        return parsed(path.read_bytes().decode("utf-8-sig"), path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML: not UTF-8 at byte {error.start}") from None


def parsed(text: str, path: Path | str) -> object:
    """Parse YAML text. path: its source, for messages. UserError for text that is not YAML or gives a key twice."""
    try:
        return yaml.load(text, _Strict)
    except RecursionError:
        raise UserError(f"{path} is not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
        raise UserError(f"{path} is not valid YAML: {_said(error)}") from None


def read_yaml(path: Path | str) -> dict:
    """Read a YAML file that holds a mapping.

    Raises:
        UserError: as `read_yaml_value`, and for anything but a mapping.
    """
    data = read_yaml_value(path)
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold a mapping of keys to values")
    return data


def _said(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})"
