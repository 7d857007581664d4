"""Processes that end with the one that started them, even by kill -9."""

import ctypes
import os
import signal
import sys
import threading
import time

PARENT = "REPRODUCE_PARENT_PID"
"""The environment variable by which a child learns whose end is its own."""


def die_with_parent() -> None:
    """Called first by a child: from now on it is killed when the process that started it ends, even by kill -9."""
    parent = os.environ.pop(PARENT, "")
    if parent.isascii() and parent.isdigit() and int(parent):  # anything else is not ours
        die_with(int(parent))


def die_with(parent: int) -> None:
    """From now on this process is killed when its parent, of process id `parent`, ends, even by kill -9."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before the call above
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
