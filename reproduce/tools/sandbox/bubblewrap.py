"""Backend 1, bubblewrap: new user, mount, process, network and IPC namespaces around the server."""

import os
import shutil
import subprocess
from functools import cache

from reproduce.tools.sandbox import runtime
from reproduce.tools.sandbox.backend import Backend, Launch, Unavailable
from reproduce.tools.sandbox.limits import Limits

NOBODY = "65534"


@cache
def _has_size_option(bwrap: str) -> bool:
    """Whether this version can limit the size of a tmpfs (`--size`, bubblewrap 0.7 and later)."""
    shown = subprocess.run([bwrap, "--help"], capture_output=True, text=True, env={}, check=False)
    return "--size" in shown.stdout + shown.stderr


def prepare(limits: Limits) -> Launch:
    """Build the bwrap command: an empty root, the runtime read-only, a private /tmp, no /proc and no device but null.

    Raises:
        Unavailable: bwrap is not installed.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise Unavailable("bwrap is not installed")
    command = [bwrap, "--unshare-all", "--unshare-user", "--uid", NOBODY, "--gid", NOBODY]
    command += ["--die-with-parent", "--new-session", "--hostname", "sandbox", "--chdir", "/"]
    for path in runtime.libraries():
        if os.path.islink(path) and not os.path.isfile(path):
            command += ["--symlink", os.readlink(path), path]
        else:
            command += ["--ro-bind", path, path]
    for name, folder in runtime.packages().items():
        command += ["--ro-bind", folder, f"/site/{name}"]
    command += ["--ro-bind", str(runtime.INSIDE), "/sandbox"]
    command += ["--dev-bind", "/dev/null", "/dev/null"]
    if _has_size_option(bwrap):
        command += ["--size", str(limits.memory_mb << 20)]
    command += ["--tmpfs", "/tmp", "--remount-ro", "/"]
    settings = {"tmp": "/tmp", "site": "/site", "read": None, "write": None, "hide": runtime.hidden_paths()}
    settings["visible"] = [*runtime.libraries(), "/dev/null"]
    return Launch(command + runtime.server_command("/sandbox"), runtime.environment("/tmp"), settings)


BUBBLEWRAP = Backend("bubblewrap", "namespaces by bubblewrap, with a seccomp filter on each call", prepare)
