"""A rate limit that all threads of a process share, and all processes that name the same file."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reproduce.locks import locked

FORGET_SECONDS = 600.0  # a place further ahead than this was left by a clock that has been set back since


class RateLimiter:
    """At most `per_second` requests a second, evenly spaced, in order of arrival.

    Args:
        per_second: 0: no limit.
        path: a small file that holds the next free time (seconds since the epoch), under a file lock. Processes that
            name the same file share the limit. None limits this process alone.
        clock: seconds since the epoch, for tests.
    """

    def __init__(self, per_second: float, path: Path | None = None, clock: Callable[[], float] = time.time):
        self.per_second, self.path, self.clock = per_second, path, clock
        self._next = 0.0
        self._lock = threading.Lock()

    def reserve(self) -> float:
        """Take the next free place. Returns the seconds until it comes, 0 if that is now."""
        if self.per_second <= 0:
            return 0.0
        now = self.clock()
        with self._place() as (free, set_free):
            place = max(now, free if free < now + FORGET_SECONDS else now)
            set_free(place + 1.0 / self.per_second)
        return place - now

    def push_back(self, seconds: float) -> None:
        """Leave no place free for the next `seconds`: the service has asked everyone to wait."""
        if self.per_second > 0:
            with self._place() as (free, set_free):
                set_free(max(free, self.clock() + seconds))

    @contextmanager
    def _place(self) -> Iterator[tuple[float, Callable[[float], None]]]:
        with self._lock:
            if self.path is None:
                yield self._next, lambda value: setattr(self, "_next", value)
                return
            with locked(self.path, None, "search.cache_dir") as file:
                file.seek(0)
                yield _number(file.read()), lambda value: _write(file, value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # new, or cut short by a crash: there is no place to keep
        return 0.0


def _write(file, value: float) -> None:
    file.truncate(0)
    file.write(repr(value))
    file.flush()
