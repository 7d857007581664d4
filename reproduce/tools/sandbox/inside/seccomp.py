"""A seccomp filter, assembled by hand: which system calls a program may make.

We refuse with EPERM, unless noted: new processes and programs, sockets, namespaces and mounts, reading or signalling
other processes, kernel services with a history of holes, memory that no limit counts, and every change of a file's
metadata (Landlock does not stop those). A supervisor is asked about threads, new names and writes (`gate.py`). Ways to
write whose size is not in a register do not exist (ENOSYS), nor do writable mappings of files (ENODEV). Instruction
set: linux/filter.h; data layout: `struct seccomp_data` in linux/seccomp.h.
"""

import errno
import os
import re
import struct
from functools import cache

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the table, AUDIT_ARCH_*


def _calls(table: str) -> dict[str, tuple[int, int | None]]:
    """Read `name x86_64 aarch64, ...`: the numbers of system calls; "-" where an architecture has no such call."""
    found = re.findall(r"(\w+) (\d+) (\d+|-)", table)
    return {name: (int(first), None if second == "-" else int(second)) for name, first, second in found}


CALLS = _calls(
    """
    openat 257 56, open 2 -, fcntl 72 25, ioctl 16 29, prctl 157 167, prlimit64 302 261, kill 62 129,
    tgkill 234 131, clone 56 220, clone3 435 435, openat2 437 437, mmap 9 222, write 1 64, pwrite64 18 68,
    fallocate 285 47, mkdir 83 -, mkdirat 258 34, link 86 -, linkat 265 37, symlink 88 -, symlinkat 266 36,
    unlink 87 -, unlinkat 263 35, rename 82 -, renameat 264 38, renameat2 316 276
    """
)
WRITES = {"write": 2, "pwrite64": 2, "fallocate": 3}  # name: which argument is the number of bytes
MAKES = ("mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat")  # and "open", "openat" with O_CREAT
REMOVES = ("unlink", "unlinkat", "rename", "renameat", "renameat2")
ABSENT = _calls(
    """
    creat 85 -, writev 20 66, pwritev 296 70, pwritev2 328 287, sendfile 40 71, splice 275 76, vmsplice 278 75,
    tee 276 77, copy_file_range 326 285, io_setup 206 0, io_submit 209 2
    """
)
REFUSED = _calls(
    """
    processes and programs:
        fork 57 -, vfork 58 -, execve 59 221, execveat 322 281
    sockets:
        socket 41 198, socketpair 53 199, connect 42 203, bind 49 200, listen 50 201, accept 43 202,
        accept4 288 242
    namespaces, mounts, other roots:
        unshare 272 97, setns 308 268, mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51,
        open_tree 428 428, move_mount 429 429, fsopen 430 430, fsconfig 431 431, fsmount 432 432,
        fspick 433 433, mount_setattr 442 442, name_to_handle_at 303 264, open_by_handle_at 304 265,
        quotactl 179 60, quotactl_fd 443 443
    other processes:
        ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, kcmp 312 272, tkill 200 130,
        rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, pidfd_send_signal 424 424,
        pidfd_open 434 434, pidfd_getfd 438 438, process_madvise 440 440, process_mrelease 448 448,
        migrate_pages 256 238, move_pages 279 239, sched_setaffinity 203 122, sched_setscheduler 144 119,
        sched_setparam 142 118, sched_setattr 314 274, setpriority 141 140, ioprio_set 251 30
    kernel services:
        bpf 321 280, perf_event_open 298 241, userfaultfd 323 282, io_uring_setup 425 425,
        io_uring_enter 426 426, io_uring_register 427 427, fanotify_init 300 262, seccomp 317 277,
        add_key 248 217, request_key 249 218, keyctl 250 219, init_module 175 105, finit_module 313 273,
        delete_module 176 106, kexec_load 246 104, kexec_file_load 320 294, reboot 169 142,
        swapon 167 224, swapoff 168 225, acct 163 89, settimeofday 164 170, clock_settime 227 112,
        adjtimex 159 171, clock_adjtime 305 266, syslog 103 116, sethostname 170 161,
        setdomainname 171 162, personality 135 92, capset 126 91, iopl 172 -, ioperm 173 -,
        modify_ldt 154 -, vhangup 153 58
    memory and state that outlives the call or that RLIMIT_AS does not count:
        shmget 29 194, shmat 30 196, shmctl 31 195, semget 64 190, msgget 68 186, mq_open 240 180,
        memfd_create 319 279, memfd_secret 447 447
    metadata of files:
        chmod 90 -, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452, chown 92 -, fchown 93 55,
        lchown 94 -, fchownat 260 54, utime 132 -, utimes 235 -, futimesat 261 -, utimensat 280 88,
        setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7, removexattr 197 14, lremovexattr 198 15,
        fremovexattr 199 16, truncate 76 45, mknod 133 -, mknodat 259 33
    """
)
NEWEST = 453  # calls from here on came after this table (x32 calls too): ENOSYS

LOAD, EQUAL, AT_LEAST, ANY_OF, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
ALLOW, KILL, ERRNO, NOTIFY = 0x7FFF0000, 0x80000000, 0x00050000, 0x7FC00000
EPERM, ENOSYS, EAGAIN = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS, ERRNO | errno.EAGAIN
ENOSPC, ENODEV, EOPNOTSUPP = ERRNO | errno.ENOSPC, ERRNO | errno.ENODEV, ERRNO | errno.EOPNOTSUPP
PTHREAD_FLAGS = (0x3D0F00, 0x7D0F00)  # what pthread_create passes to clone: glibc, musl
ACCESS_AND_TRUNCATE, TRUNCATE_READ_ONLY = 0o1003, 0o1000  # open flags; Landlock before ABI 3 lets the second pass
CREATE, UNNAMED = 0o100, 0o20000000  # open flags: O_CREAT, the bit of O_TMPFILE that is its own
SHARED, SHARED_OR_ANONYMOUS = 0x01, 0x21  # mmap flags: MAP_SHARED, with MAP_ANONYMOUS
SET_OWNER = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: signals by way of file descriptors
IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
OWN_PROCESS = 0x7EEDBEEF  # stands for the process id, of which there are at most 2**22
THREAD_NAME = (15, 16)  # PR_SET_NAME, PR_GET_NAME


def _argument(number: int, keep: int | None = None) -> list:
    mask = [] if keep is None else [(AND, 0, 0, keep)]
    return [(LOAD, 0, 0, 16 + 8 * number), *mask]


def _switch(values, then: int, otherwise: int) -> list:
    chosen = [step for value in values for step in ((EQUAL, 0, 1, value), (RETURN, 0, 0, then))]
    return [*chosen, (RETURN, 0, 0, otherwise)]


def _opening(number: int, create: int) -> list:
    """The rule of an open call whose flags are argument `number`. create: the answer to O_CREAT."""
    return [
        *_argument(number, ACCESS_AND_TRUNCATE),
        (EQUAL, 0, 1, TRUNCATE_READ_ONLY),
        (RETURN, 0, 0, EPERM),
        *_argument(number),
        (ANY_OF, 0, 1, UNNAMED),
        (RETURN, 0, 0, EOPNOTSUPP),
        (ANY_OF, 0, 1, CREATE),
        (RETURN, 0, 0, create),
        (RETURN, 0, 0, ALLOW),
    ]


def program(process: int, supervised: bool) -> bytes:
    """Return the filter for the calling process, as an array of `struct sock_filter`.

    Args:
        process: its process id.
        supervised: ask the supervisor. False refuses threads with EAGAIN and new names with ENOSPC, so that there is no
            file to write to.

    Raises:
        KeyError: the table does not have this architecture.
    """
    return _assemble(supervised).replace(struct.pack("=I", OWN_PROCESS), struct.pack("=I", process))


@cache
def _assemble(supervised: bool) -> bytes:
    """The filter with OWN_PROCESS for the process id. The server makes it once, before it forks."""
    column, audit = ARCHITECTURES[os.uname().machine]
    own = _switch([OWN_PROCESS], ALLOW, EPERM)
    thread, create, change = (NOTIFY, NOTIFY, NOTIFY) if supervised else (EAGAIN, ENOSPC, ALLOW)
    rules = {name: [(RETURN, 0, 0, EPERM)] for name in REFUSED}
    rules |= {name: [(RETURN, 0, 0, ENOSYS)] for name in ABSENT}
    rules |= {name: [(RETURN, 0, 0, create)] for name in MAKES}
    rules |= {name: [(RETURN, 0, 0, change)] for name in (*WRITES, *REMOVES)}
    rules |= {
        "openat": _opening(2, create),
        "open": _opening(1, create),
        "mmap": [*_argument(3, SHARED_OR_ANONYMOUS), *_switch([SHARED], ENODEV, ALLOW)],
        "fcntl": [*_argument(1), *_switch(SET_OWNER, EPERM, ALLOW)],
        "ioctl": [*_argument(1), *_switch(IOCTLS, ALLOW, EPERM)],
        "prctl": [*_argument(0), *_switch(THREAD_NAME, ALLOW, EPERM)],
        "prlimit64": [*_argument(0), *_switch([0], ALLOW, EPERM)],
        "kill": [*_argument(0), *own],
        "tgkill": [*_argument(0), *own],
        "clone": [*_argument(0), *_switch(PTHREAD_FLAGS, thread, EPERM)],
        "clone3": [(RETURN, 0, 0, ENOSYS)],  # its flags lie in memory, out of a filter's sight; libc falls back
        "openat2": [(RETURN, 0, 0, ENOSYS)],
    }
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, audit), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    steps += [(AT_LEAST, 0, 1, NEWEST), (RETURN, 0, 0, ENOSYS)]
    for name, rule in rules.items():
        number = (CALLS | REFUSED | ABSENT)[name][column]
        if number is not None:
            steps += [(EQUAL, 0, len(rule), number), *rule]
    steps.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
