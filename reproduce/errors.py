"""The error that users read, the names that it suggests, and the system errors of a full disk."""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Bad input. The message is one line that names the file, key or setting and says what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def closest(name, valid: Iterable[str]) -> str:
    """Find the name in `valid`, which is not empty, that has `name` as a part (`epo`: `ppo+epo`), or is spelt most
    like it.
    """
    known = list(valid)
    parts = [one for one in known if str(name) in re.split(r"[+-]", one)]
    return get_close_matches(str(name), parts or known, n=1, cutoff=0.0)[0]


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UserError if a setting's value is none of its choices."""
    if value not in choices:
        raise UserError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk; `reproduce.exits` has a line for them."""
