"""One time limit for all of a request: name, connection, headers, body, redirects, and reading the text.

Libraries limit each read of a socket, which a server that sends a byte a second never exceeds. Here every wait of a
thread asks how much of the whole limit is left.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_now = threading.local()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Count `seconds_left` of this thread down from `seconds` while the context is open."""
    _now.end = time.monotonic() + seconds
    try:
        yield
    finally:
        del _now.end


def seconds_left() -> float | None:
    """Return the seconds left of the thread's limit, above 0; None without a limit.

    Raises:
        TimeoutError: the limit is over.
    """
    end = getattr(_now, "end", None)
    if end is None:
        return None
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("timeout")
    return left
