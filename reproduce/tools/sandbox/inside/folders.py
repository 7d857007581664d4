"""Remove what hostile programs leave: very deep trees, folders without permissions."""

import os
import shutil


def empty(folder: str) -> None:
    """Remove everything in `folder`, without recursion and without following links. Raises OSError."""
    number = 0
    while entries := list(os.scandir(folder)):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            for inner in list(os.scandir(entry.path)):
                if inner.is_dir(follow_symlinks=False):  # lift it one level, so that no path grows long
                    os.chmod(inner.path, 0o700)
                    while os.path.lexists(lifted := os.path.join(folder, f"lifted{number}")):
                        number += 1
                    os.rename(inner.path, lifted)
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)


def remove(folder: str) -> None:
    """Remove a server's folder, if it is still there: first what programs wrote in its `tmp`."""
    tmp = os.path.join(folder, "tmp")
    if os.path.isdir(tmp):
        empty(tmp)
    shutil.rmtree(folder, ignore_errors=True)
