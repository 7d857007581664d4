"""Remove a call's files between calls, or in another process if there are many: nobody waits for a slow disk."""

import os
import signal

import confine
import folders

SOON = 0.2  # seconds that a next call may wait
MOST = 4
"""Folders that may wait for their removal at a time; each holds what one call may make (`gate.MOST_NAMES`)."""


class Leftovers:
    """The folder that programs write to: `tmp`, on the host in `folder`, or in a mount of its own (folder None)."""

    def __init__(self, tmp: str, folder: str | None):
        self.tmp, self.folder = tmp, folder
        self.removers: list[int] = []  # process ids
        self.number = 0

    def clear(self) -> bool:
        """Empty `tmp`. True if it is now another folder than before, so that Landlock rules must be made again."""
        if folders.empty(self.tmp, SOON if self.folder else float("inf")):
            return False
        self.removers = [process for process in self.removers if os.waitpid(process, os.WNOHANG) == (0, 0)]
        while len(self.removers) >= MOST:
            os.waitpid(self.removers.pop(0), 0)
        self.number += 1
        aside = os.path.join(self.folder, f"old{self.number}")
        os.rename(self.tmp, aside)
        os.mkdir(self.tmp, 0o700)
        server = os.getpid()
        process = os.fork()
        if process == 0:
            try:
                confine.kill_with_parent(server)
                os.closerange(0, 1 << 16)  # the owner takes the end of its channel for the end of the server
                folders.empty(aside)
                os.rmdir(aside)
            finally:
                os._exit(0)
        self.removers.append(process)
        return True

    def close(self) -> None:
        """Stop all removals, and remove the server's folder with all that is left."""
        for process in self.removers:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        if self.folder:
            folders.remove(self.folder)
