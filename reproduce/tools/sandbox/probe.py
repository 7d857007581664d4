"""Find the backend that works on this machine: each is tried with a program that tests its walls."""

import logging
from collections.abc import Sequence
from functools import cache

from reproduce.errors import UserError
from reproduce.tools.sandbox.backend import Backend, Unavailable
from reproduce.tools.sandbox.bubblewrap import BUBBLEWRAP
from reproduce.tools.sandbox.landlock import LANDLOCK
from reproduce.tools.sandbox.limits import Limits
from reproduce.tools.sandbox.worker import Worker

BACKENDS = (BUBBLEWRAP, LANDLOCK)  # in order of preference: bubblewrap also hides which files exist
HELP = (
    "install bubblewrap (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap) and allow"
    " unprivileged user namespaces, or use Linux 5.13 or later with Landlock and seccomp on x86_64 or aarch64"
)
WALLS = """
import _io, posix, socket  # the kernel's own answers, not those of `inside/view.py`
held = []
for attempt in (lambda: _io.open("/etc/passwd").read(), lambda: posix.listdir("/proc"), lambda: _io.open("/probe", "w"),
                lambda: socket.socket(), lambda: posix.fork() or posix._exit(0)):
    try:
        attempt()
        held.append("open")
    except OSError:
        held.append("shut")
print(*held)
"""


def reason_against(backend: Backend) -> str | None:
    """Return None if the backend holds on this machine, else why it does not, in one line."""
    worker = Worker(backend, Limits(), warm_up=())
    try:
        worker.send(WALLS)
        result = worker.receive()
    except Unavailable as problem:
        return str(problem)
    finally:
        worker.stop()
    return None if result.output == "shut shut shut shut shut" else f"a test program got out: {result}"


@cache
def _choose(backends: tuple[Backend, ...]) -> Backend:
    reasons = []
    for backend in backends:
        reason = reason_against(backend)
        if reason is None:
            logging.getLogger(__name__).info("Python tool: %s (%s)", backend.name, backend.description)
            return backend
        reasons.append(f"{backend.name}: {reason}")
    raise UserError(f"the Python tool has no sandbox here ({'; '.join(reasons)}); {HELP}")


def probe(backends: Sequence[Backend] = BACKENDS) -> Backend:
    """Return the first backend that holds on this machine. Each is tried once per process.

    Raises:
        UserError: none holds; the message gives each backend's reason and what to install.
    """
    return _choose(tuple(backends))
