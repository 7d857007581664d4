"""One time limit for all that a request needs: name, connection, headers, body, redirects, reading what came.

A library limits each read of a socket, and a server that sends a byte a second passes that. Here every wait of a thread
asks how much of the whole is left.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_now = threading.local()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """While open, `seconds_left` of this thread counts down from `seconds`."""
    _now.end = time.monotonic() + seconds
    try:
        yield
    finally:
        del _now.end


def seconds_left() -> float | None:
    """Seconds left of the thread's limit, above 0; None without one. TimeoutError once it is over."""
    end = getattr(_now, "end", None)
    if end is None:
        return None
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("timeout")
    return left
