"""Remove what hostile programs leave: very deep trees, folders without permissions, thousands of names."""

import os
import shutil
import time


def empty(folder: str, seconds: float = float("inf")) -> bool:
    """Remove everything in `folder`, without recursion and without following links.

    Returns:
        False if it would take longer than `seconds`: then the folder is half empty, and another call can go on.

    Raises:
        OSError: something cannot be removed.
    """
    number, deadline = 0, time.monotonic() + seconds
    while entries := list(os.scandir(folder)):
        for entry in entries:
            if time.monotonic() > deadline:
                return False
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            for inner in list(os.scandir(entry.path)):
                if time.monotonic() > deadline:
                    return False
                if inner.is_dir(follow_symlinks=False):  # lift it one level, so that no path grows long
                    os.chmod(inner.path, 0o700)
                    while os.path.lexists(lifted := os.path.join(folder, f"lifted{number}")):
                        number += 1
                    os.rename(inner.path, lifted)
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)
    return True


def remove(folder: str) -> None:
    """Remove a server's folder if it is still there, beginning with what programs wrote below it."""
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            empty(os.path.join(folder, name))
    shutil.rmtree(folder, ignore_errors=True)
