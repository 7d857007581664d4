"""Keys of hosted services: read from the environment, kept out of everything that is shown, logged or stored."""

import os
from collections.abc import Iterable
from urllib.parse import quote

from reproduce.errors import UserError

HIDDEN = "[key]"
SHORTEST_HIDDEN = 8  # a shorter value ("EMPTY", a local server's stand-in) is no secret and occurs in ordinary text


class Secret:
    """A key that only `reveal` shows: not repr, str, formatting, pickles or dataclass dumps."""

    __slots__ = ("_value",)

    def __init__(self, value: str):
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    def __reduce__(self):
        raise TypeError("a Secret is not written anywhere: read it from the environment where it is needed")

    def __deepcopy__(self, memo) -> "Secret":
        return self


def read_key(variable: str, setting: str) -> Secret:
    """Read a key from an environment variable; outer blanks are removed.

    Args:
        variable: the environment variable.
        setting: what needs the key, for the error.

    Raises:
        UserError: the variable is not set, or holds a character that no key has. (A line break in the middle would
            otherwise appear, with the key, in the message of an HTTP library.)
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise UserError(f"{setting} needs a key: set the environment variable {variable}")
    if not all("!" <= character <= "~" for character in value):
        raise UserError(f"the environment variable {variable} holds a blank or a special character: copy the key again")
    return Secret(value)


def hide(data: bytes, secrets: Iterable[Secret]) -> bytes:
    """Replace every secret of at least `SHORTEST_HIDDEN` characters in `data`: as it is, and as URLs and JSON escape
    it.

    All that a service echoes passes this before anything reads it.
    """
    for secret in secrets:
        value = secret.reveal()
        if len(value) >= SHORTEST_HIDDEN:
            for form in {value, quote(value, safe=""), value.replace("/", "\\/")}:
                data = data.replace(form.encode(), HIDDEN.encode())
    return data
