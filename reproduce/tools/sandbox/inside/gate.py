"""The supervisor's side of the seccomp filter: a program must ask before the kernel makes a thread, a name or a write.

The kernel holds the calling thread until the answer (seccomp_unotify(2)). We read only numbers in registers, which no
other thread can change meanwhile.
"""

import contextlib
import errno
import fcntl
import os
import struct

import seccomp
from ledger import Ledger

RECEIVE, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1  # ioctls on struct seccomp_notif and its response
QUESTION = struct.Struct("=QIIiIQ6Q")  # seccomp_notif: id, thread, flags, then seccomp_data
ANSWER = struct.Struct("=QqiI")  # seccomp_notif_resp: id, value, error, flags
MOST_NAMES = 2000
"""Files, folders and links that a call may have in its folder; removing them takes well under a second."""


class Gate:
    """Answers the questions of one call."""

    def __init__(self, listener: int, settings: dict):
        self.listener, self.threads_left = listener, settings["processes"] - 1
        self.ledger = Ledger(settings["tmp"], settings["memory_mb"] << 20, MOST_NAMES)
        column = seccomp.ARCHITECTURES[os.uname().machine][0]
        self.names = {numbers[column]: name for name, numbers in seccomp.CALLS.items()}

    def answer(self) -> None:
        """Answer one question; there must be one."""
        question = bytearray(QUESTION.size)
        with contextlib.suppress(OSError):  # the asking thread was killed meanwhile
            fcntl.ioctl(self.listener, RECEIVE, question)
            identity, thread, _, number, _, _, *arguments = QUESTION.unpack(question)
            error = self.refusal(self.names.get(number), thread, arguments)
            fcntl.ioctl(self.listener, SEND, ANSWER.pack(identity, 0, -error, 0 if error else CONTINUE))

    def refusal(self, name: str | None, thread: int, arguments: list[int]) -> int:
        """Return the error number with which the call `name` fails, 0 if it may go on."""
        if name == "clone":
            self.threads_left -= self.threads_left >= 0
            return errno.EAGAIN if self.threads_left < 0 else 0
        if name in seccomp.WRITES:
            return 0 if self.ledger.grant(thread, size=arguments[seccomp.WRITES[name]]) else errno.ENOSPC
        if name in seccomp.REMOVES:
            self.ledger.removal(thread)
            return 0
        return 0 if self.ledger.grant(thread, names=1) else errno.ENOSPC
