"""Processes that end when the process that started them ends, even by kill -9."""

import ctypes
import os
import signal
import sys
import threading
import time

PARENT = "REPRODUCE_PARENT_PID"
"""The environment variable that tells a child which process to end with."""


def die_with_parent() -> None:
    """Ask to be killed when the process that started this one ends. Every child calls this first."""
    parent = os.environ.pop(PARENT, "")
    if parent.isascii() and parent.isdigit() and int(parent):  # anything else is not ours
        die_with(int(parent))


def die_with(parent: int) -> None:
    """Ask to be killed when the parent, of process id `parent`, ends, even by kill -9."""
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
