"""Confine a call before it runs a program: resource limits, Landlock, no privileges, the seccomp filter.

Numbers are those of linux/landlock.h, linux/prctl.h and linux/seccomp.h.
"""

import ctypes
import os
import resource
import signal
import struct
import sys

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER = 1, 8
SECCOMP_CALL = {"x86_64": 317, "aarch64": 277}
CAPSET_CALL = {"x86_64": 126, "aarch64": 91}
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION, PATH_BENEATH = 1, 1  # LANDLOCK_CREATE_RULESET_VERSION, LANDLOCK_RULE_PATH_BENEATH
RIGHTS_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}  # how many file rights each Landlock ABI knows; 16 from 5 on
WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
MAKE_AND_REMOVE = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13  # dirs, files and links; no devices, no fifos
OPEN_FILES = 64

_libc = ctypes.CDLL(None, use_errno=True)


def system_call(number: int, *arguments) -> int:
    """Make a system call with longs and buffers. Raises OSError."""
    values = [ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_long(value) for value in arguments]
    answer = _libc.syscall(ctypes.c_long(number), *values)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
        raise OSError(ctypes.get_errno(), "prctl")


def die_with_parent(signal_number: int, parent: int) -> None:
    """Ask for a signal when the parent dies. parent: its process id, in case it has died already."""
    prctl(PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal_number)


def landlock_version() -> int:
    """Return the kernel's Landlock ABI, 0 if it has none."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        return system_call(CREATE_RULESET, 0, 0, VERSION)
    except OSError:
        return 0


def landlock_rules(read: list[str], write: list[str]) -> int:
    """Make a ruleset (file descriptor) that allows to read only `read`, and to read and change only `write`."""
    version = landlock_version()
    known = (1 << RIGHTS_BY_VERSION.get(version, 16)) - 1
    fields = [known]
    if version >= 4:
        fields.append(0b11)  # TCP: bind, connect
    if version >= 6:
        fields.append(0b11)  # scopes: abstract Unix sockets, signals
    attribute = struct.pack(f"={len(fields)}Q", *fields)
    rules = system_call(CREATE_RULESET, attribute, len(attribute), 0)
    changes = WRITE_FILE | READ_FILE | READ_DIR | TRUNCATE | MAKE_AND_REMOVE
    for rights, paths in ((READ_FILE | READ_DIR, read), (changes, write)):
        for path in paths:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = rights & known
            if not os.path.isdir(path):
                allowed &= WRITE_FILE | READ_FILE | TRUNCATE
            system_call(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", allowed, place), 0)
            os.close(place)
    return rules


def limit(settings: dict, idle_bytes: int) -> None:
    """Set the resource limits of this process. idle_bytes: the server's own address space."""
    memory, seconds = settings["memory_mb"] << 20, int(settings["seconds"]) + 2
    spare = 32 << 20  # with which the program's MemoryError is reported
    for what, soft, hard in (
        (resource.RLIMIT_CPU, seconds, seconds),  # only a net below the supervisor's clock
        (resource.RLIMIT_FSIZE, memory, memory),
        (resource.RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_AS, idle_bytes + memory, idle_bytes + memory + spare),
    ):
        resource.setrlimit(what, (soft, hard))


def lift_memory_limit() -> None:
    """Free the spare memory for the report of a MemoryError."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def restrict(rules: int | None, assemble) -> int | None:
    """Enter the Landlock ruleset, drop every capability, install the seccomp filter.

    Args:
        rules: the ruleset; None: there is none.
        assemble: assemble(process, supervised) -> the filter.

    Returns:
        The descriptor on which the supervisor is asked. None if the process already has such a supervisor, as in some
            containers: then threads and new files are refused.
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if rules is not None:
        system_call(RESTRICT_SELF, rules, 0)
        os.close(rules)
    machine = os.uname().machine
    system_call(CAPSET_CALL[machine], struct.pack("=Ii", 0x20080522, 0), bytes(24))
    for flags in (SECCOMP_FILTER_FLAG_NEW_LISTENER, 0):
        code = assemble(os.getpid(), bool(flags))
        buffer = ctypes.create_string_buffer(code, len(code))
        header = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
        try:
            listener = system_call(SECCOMP_CALL[machine], SECCOMP_SET_MODE_FILTER, flags, header)
            return listener if flags else None
        except OSError:
            if not flags:
                raise
    return None


def kill_with_parent(parent: int) -> None:
    """Ask to be killed when the server dies. The filter keeps programs from undoing this."""
    die_with_parent(signal.SIGKILL, parent)
