"""A program's view of the machine, the same under every backend. These are only answers; the walls are the kernel's.

Paths: /tmp is its own folder, /site holds the packages, the Python runtime is where it is. Nothing else exists.
"""

import builtins
import errno
import io
import os
import posixpath
import socket
import sys

from replaced import replace

ONE_PATH = tuple(
    (
        "open stat lstat listdir scandir mkdir rmdir remove unlink readlink chdir access truncate utime chmod chown "
        "lchown statvfs mkfifo mknod listxattr getxattr"
    ).split()
)
TWO_PATHS = ("rename", "replace", "link", "symlink")
WORDS = ("path", "src", "dst", "file")  # what these functions call their paths
ON_THE_ROOT = ("stat", "lstat", "chdir", "access")  # what may be asked of "/"
NOBODY, OWN, PARENT = 65534, 2, 1
ANSWERS = {
    "getuid": NOBODY,
    "geteuid": NOBODY,
    "getgid": NOBODY,
    "getegid": NOBODY,
    "getgroups": [NOBODY],
    "getresuid": (NOBODY,) * 3,
    "getresgid": (NOBODY,) * 3,
    "getpid": OWN,
    "getppid": PARENT,
    "getpgrp": OWN,
    "cpu_count": 1,
    "getloadavg": (0.0, 0.0, 0.0),
    "uname": os.uname_result(("Linux", "sandbox", "6.0", "#1", os.uname().machine)),
}

_places: list[tuple[str, str]] = []  # (path that is shown, path that it is)
_visible: list[str] = []


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def shown(path):
    """Return the path as the program sees it. Anything but text stays as it is."""
    text = os.fsdecode(path) if isinstance(path, bytes) else path
    for name, real in _places if isinstance(text, str) else ():
        if _below(text, real):
            text = name + text[len(real) :]
            return os.fsencode(text) if isinstance(path, bytes) else text
    return path


def real(path, root: bool = False):
    """Return the path to give to the kernel. root: whether the program may ask about "/".

    Raises:
        OSError: the program does not see the path.
    """
    if isinstance(path, int) or path is None:
        return path
    given = os.fspath(path)
    text = os.fsdecode(given)
    try:
        here = shown(_getcwd())
    except OSError:  # the folder is gone, or its path too long
        return path
    if not text or "\0" in text or (text[0] != "/" and _below(here, "/tmp") and ".." not in text.split("/")):
        return path
    full = "/" + posixpath.normpath(posixpath.join(here, text)).lstrip("/")
    if any(_below(full, place) for _, place in _places) or any(_below(full, folder) for folder in _visible):
        return os.fsencode(full) if isinstance(given, bytes) else full
    for name, place in _places:
        if _below(full, name):
            text = place + full[len(name) :]
            return os.fsencode(text) if isinstance(given, bytes) else text
    if full != "/":
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if not root:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return full


def _with_paths(original, count: int, root: bool):
    """`original`, whose first `count` arguments are paths."""

    def answer(*arguments, **words):
        try:
            paths = [real(path, root) for path in arguments[:count]]
            words = {word: real(value, root) if word in WORDS else value for word, value in words.items()}
            return original(*paths, *arguments[count:], **words)
        except OSError as problem:
            if problem.errno == errno.EROFS:  # what bubblewrap says where Landlock says EACCES
                problem = PermissionError(errno.EACCES, os.strerror(errno.EACCES), problem.filename)
            for name in ("filename", "filename2"):
                if getattr(problem, name) is not None:
                    setattr(problem, name, shown(getattr(problem, name)))
            raise problem from None

    return answer


def _access(original):
    ask = _with_paths(original, 1, True)

    def answer(*arguments, **words):
        try:
            return ask(*arguments, **words)
        except OSError:
            return False

    return answer


_getcwd, _getpid = os.getcwd, os.getpid


def install() -> None:
    """Replace the functions of os, io and builtins, before other modules take them."""
    kinds = [getattr(os, name) for name in dir(os) if name.startswith("supports_")]
    sets = [kind for kind in kinds if isinstance(kind, set)]
    for names, count in ((ONE_PATH, 1), (TWO_PATHS, 2)):
        for name in names:
            before = getattr(os, name, None)
            replace(os, name, lambda f, n=name, c=count: _with_paths(f, c, n in ON_THE_ROOT))
            for kind in sets:
                if before in kind:
                    kind.add(getattr(os, name))
    os.access.answer = _access(os.access.__wrapped__)
    replace(io, "open", lambda original: _with_paths(original, 1, False))
    builtins.open = io.open
    replace(os, "getcwd", lambda original: lambda: shown(original()))
    replace(os, "getcwdb", lambda original: lambda: shown(original()))
    os.readlink.answer = lambda *arguments, _ask=os.readlink.answer, **words: shown(_ask(*arguments, **words))
    for name, value in ANSWERS.items():
        replace(os, name, lambda _, v=value: lambda: v)
    replace(os, "sched_getaffinity", lambda _: lambda process, /: {0})
    replace(os, "kill", lambda original: lambda process, sign: original(_getpid() if process == OWN else process, sign))
    replace(socket, "gethostname", lambda _: lambda: "sandbox")


def start(settings: dict) -> None:
    """Begin the life of a program. settings: as in `backend.Launch`."""
    _visible[:] = settings["visible"]
    _places[:] = [(name, place) for name, place in (("/tmp", settings["tmp"]), ("/site", settings["site"]))]
    for name in (b"HOME", b"TMPDIR"):
        os.environ._data[name] = b"/tmp"  # not the process's own environment, which libraries of C read
    sys.argv = [""]
    if "platform" in sys.modules:
        sys.modules["platform"]._uname_cache = None  # the server's
