"""Where the Python runtime lies: the only files that a sandboxed program can read."""

import importlib.util
import os
import sys
import sysconfig
from pathlib import Path

PACKAGES = ("numpy", "scipy", "sympy", "mpmath")  # what programs may import beside the standard library
WARM_UP = (  # run once by each server, so that a call does not pay for imports, also those that sympy does lazily
    "import numpy.random, numpy.linalg",
    "import sympy; x = sympy.Symbol('x'); sympy.solve(x**2 - 2); sympy.integrate(x**2, x); sympy.factor(x**2 - 1)",
)
SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/nix/store", "/gnu/store")
INSIDE = Path(__file__).parent / "inside"  # the server's own source


def interpreter() -> str:
    """Return the path of the interpreter below the virtual environment, if there is one."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def libraries() -> list[str]:
    """List the files and folders with the interpreter, the standard library and the system's shared libraries."""
    prefixes = {sys.base_prefix, os.path.realpath(sys.base_prefix)}
    found = {interpreter(), sysconfig.get_path("stdlib"), *SYSTEM_LIBRARIES}
    found |= {os.path.join(prefix, name) for prefix in prefixes for name in ("lib", "lib64")}
    kept: list[str] = []
    for path in sorted(path for path in found if os.path.exists(path)):
        if not any(path.startswith(parent + os.sep) and not os.path.islink(parent) for parent in kept):
            kept.append(path)
    return kept


def packages() -> dict[str, str]:
    """Map folder name to path for the importable packages, each with the shared libraries of its wheel."""
    found = {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        for folder in (spec and spec.submodule_search_locations) or []:
            found[name] = folder
            if os.path.isdir(folder + ".libs"):
                found[name + ".libs"] = folder + ".libs"
    return found


def environment(tmp: str) -> dict[str, str]:
    """Return the whole environment of a server. Nothing comes from the parent: fixed hashes, one thread, UTC."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"HOME": tmp, "TMPDIR": tmp, "LANG": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0", **one_thread}


def server_command(inside: str) -> list[str]:
    """Return the server's command line, without the two file descriptors that the worker appends."""
    return [interpreter(), "-s", "-S", "-P", "-B", "-X", "utf8", os.path.join(inside, "server.py")]


def hidden_paths() -> list[tuple[str, str]]:
    """List (path of this machine, its replacement in a program's text), longest first."""
    pairs = {folder: f"/site/{name}" for name, folder in packages().items()}
    pairs |= {interpreter(): "/python/bin/python", sysconfig.get_path("stdlib"): "/python/lib/python"}
    for prefix in (sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)):
        if len(Path(prefix).parts) > 2:  # "/usr" is nobody's secret and part of many other words
            pairs[prefix] = "/python"
    return sorted(pairs.items(), key=lambda pair: -len(pair[0]))
