"""Count how much a call has put into its folder: an upper bound that needs no root, no quota and no trust in the
program.
"""

import os


class Ledger:
    """Grants bytes and names of one call's folder before the call uses them, so that no race can overrun it.

    Every grant is added up. When the sum reaches a limit, we measure the folder, and the sum falls to what is there
    plus what other threads were granted and may be about to use. After the first removal or renaming the folder no
    longer shows all that is held (an open file lives on without a name), so from then on nothing is given back.
    """

    def __init__(self, folder: str, most_bytes: int, most_names: int):
        self.folder, self.most_bytes, self.most_names = folder, most_bytes, most_names
        self.block = os.statvfs(folder).f_bsize
        self.bytes = self.names = 0
        self.last: dict[int, tuple[int, int]] = {}  # thread -> its last grant, which it may not have used yet
        self.removed = False

    def grant(self, thread: int, size: int = 0, names: int = 0) -> bool:
        """Whether `thread` may write `size` bytes and make `names` new names. If so, both are counted."""
        size += 2 * self.block  # the blocks at both ends, or the name's own inode
        if not self._fits(size, names):
            self._measure(thread)
            if not self._fits(size, names):
                return False
        self.bytes += size
        self.names += names
        self.last[thread] = (size, names)
        return True

    def removal(self, thread: int) -> None:
        """Record that `thread` is about to remove or rename something: the last moment at which the folder shows
        everything.
        """
        if not self.removed:
            self._measure(thread)
            self.removed = True

    def _fits(self, size: int, names: int) -> bool:
        return self.bytes + size <= self.most_bytes and self.names + names <= self.most_names

    def _measure(self, thread: int) -> None:
        if self.removed:
            return
        self.last.pop(thread, None)  # it asks again, so its last call is over
        try:
            size, names = measure(self.folder)
        except OSError:  # the path is too long or the folder unreadable: keep the sum
            return
        self.bytes = min(self.bytes, size + sum(granted for granted, _ in self.last.values()))
        self.names = min(self.names, names + sum(granted for _, granted in self.last.values()))


def measure(folder: str) -> tuple[int, int]:
    """Measure (bytes, names) in `folder`. Raises OSError.

    A file counts with the larger of its length and its blocks, as some file systems count blocks late.
    """
    size, inodes, names, folders = 0, set(), 0, [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                names += 1
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                if entry.inode() not in inodes:
                    inodes.add(entry.inode())
                    status = entry.stat(follow_symlinks=False)
                    size += max(status.st_size, 512 * status.st_blocks)
    return size, names
