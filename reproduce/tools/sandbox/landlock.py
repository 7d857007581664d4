"""Backend 2: Landlock for files, seccomp for the rest. It needs no namespace and no installed program.

The server itself is not confined. Each call confines itself before it runs the program (`inside/confine.py`). Landlock
cannot hide from code that asks the kernel itself whether a path exists (`stat`); it always hides the contents.
"""

import os
import sys
import tempfile

from reproduce.tools.sandbox import runtime
from reproduce.tools.sandbox.backend import Backend, Launch, Unavailable
from reproduce.tools.sandbox.inside.confine import landlock_version
from reproduce.tools.sandbox.limits import Limits


def prepare(limits: Limits) -> Launch:
    """Make a folder of the host with `site` (links to the packages) and `tmp` (the only place where a program may
    write).

    Raises:
        Unavailable: this is not Linux, or the kernel has no Landlock.
    """
    if not sys.platform.startswith("linux"):
        raise Unavailable("it needs Linux")
    if landlock_version() < 1:
        raise Unavailable("the kernel has no Landlock (Linux 5.13 or later, with `landlock` in its list of LSMs)")
    folder = os.path.realpath(tempfile.mkdtemp(prefix="reproduce-sandbox-"))
    tmp, site = os.path.join(folder, "tmp"), os.path.join(folder, "site")
    os.mkdir(tmp, 0o700)
    os.mkdir(site, 0o700)
    packages = runtime.packages()
    for name, target in packages.items():
        os.symlink(target, os.path.join(site, name))
    settings = {
        "tmp": tmp,
        "site": site,
        "read": [*runtime.libraries(), *packages.values(), site],
        "write": [tmp, "/dev/null"],
        "visible": [*runtime.libraries(), *packages.values(), "/dev/null"],
        "hide": [(tmp, "/tmp"), (site, "/site"), *runtime.hidden_paths()],
        "folder": folder,
    }
    return Launch(runtime.server_command(str(runtime.INSIDE)), runtime.environment(tmp), settings, folder)


LANDLOCK = Backend("landlock", "Landlock and a seccomp filter on each call", prepare)
