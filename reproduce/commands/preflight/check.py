"""One check of the list: its name, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass

from reproduce.errors import UserError

OK, FAIL, NOT_NEEDED = "ok", "FAIL", "not needed"


class NotNeeded(Exception):
    """Raised by a check that these runs do not need; its text says why."""


@dataclass(frozen=True)
class Check:
    """name: of the check. state: OK, FAIL or NOT_NEEDED. said: what was found; for FAIL, what to do."""

    name: str
    state: str
    said: str

    def __str__(self) -> str:
        return f"{self.state:10}  {self.name:10}  {self.said}"


def checked(name: str, look: Callable[[], str]) -> Check:
    """The outcome of `look`, which returns what it found, or raises UserError or `NotNeeded`."""
    try:
        return Check(name, OK, _line(look()))
    except NotNeeded as reason:
        return Check(name, NOT_NEEDED, _line(reason))
    except UserError as problem:
        return Check(name, FAIL, _line(problem))
    except (ModuleNotFoundError, OSError) as problem:
        return Check(name, FAIL, _line(f"{type(problem).__name__}: {problem}"))


def _line(text: object) -> str:
    return " ".join(str(text).split())
