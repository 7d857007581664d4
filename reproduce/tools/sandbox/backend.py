"""The common interface of the two backends."""

from collections.abc import Callable
from dataclasses import dataclass, field

from reproduce.tools.sandbox.limits import Limits


@dataclass
class Launch:
    """How to start one server: its command, its environment, and the settings in the first message.

    settings: tmp and site (the folders that a program sees as /tmp and /site), read and write (paths for Landlock, or
    None), visible (paths that exist for a program besides those two), hide (path, replacement) pairs. folder: a folder
    of the host that is removed with the server, or None.
    """

    command: list[str]
    environment: dict[str, str]
    settings: dict = field(default_factory=dict)
    folder: str | None = None


@dataclass(frozen=True)
class Backend:
    """A way to confine the server. `prepare(limits)` raises `Unavailable` if it cannot work here."""

    name: str
    description: str
    prepare: Callable[[Limits], Launch]

    def __str__(self) -> str:
        return self.name


class Unavailable(Exception):
    """The reason why a backend cannot be used on this machine, in one line."""
