"""Locks between processes, held on files. The kernel releases a lock when its process ends, however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from reproduce.errors import FULL, UserError


@contextmanager
def locked(path: Path, busy: str | None, setting: str = "--runs-root") -> Iterator[IO[str]]:
    """Hold an exclusive lock on a file, which stays afterwards.

    Args:
        path: the file, made with its folder if it is missing.
        busy: the error if another process holds the lock; None waits for it.
        setting: the setting that names the folder, for the error of a folder that cannot be used.

    Yields:
        The file, open for reading and appending.

    Raises:
        UserError: another process holds the lock, the folder cannot be written, or its file system cannot lock.
        OSError: the disk is full.
    """
    with _opened(path, setting) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise UserError(busy) from None
        except OSError as error:
            raise UserError(
                f"{path}: this file system cannot lock files ({error.strerror}); set {setting} to one that can"
            ) from None
        yield file


def is_locked(path: Path) -> bool:
    """Tell whether a living process holds the lock of `locked(path)`."""
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or a file system without locks
        return False
    return False


def _opened(path: Path, setting: str) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a+")
    except OSError as error:
        if error.errno in FULL:
            raise
        where = error.filename or path
        raise UserError(f"{where}: cannot write here ({error.strerror}); set {setting} to another folder") from None
