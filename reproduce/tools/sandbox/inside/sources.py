"""A program's clock and randomness. Both follow from its text, so its output does too.

The clock starts at a fixed date and advances by one millisecond each time it is read, and by what a program sleeps.
Everything random is drawn from generators that are seeded with a hash of the text.
"""

import ctypes
import gc
import hashlib
import os
import sys
import time

from replaced import Replaced, replace

START, STEP = 1_735_689_600 * 10**9, 10**6  # ns: 2025-01-01 00:00 UTC, and between two looks at the clock
WAITING = ("threading", "queue", "concurrent.futures._base")  # they wait in real time, and measure how long
CLOCKS = {"time": START, "monotonic": 0, "perf_counter": 0, "process_time": 0, "thread_time": 0}

_elapsed = 0
_stream = None


def now(start: int = START) -> int:
    """Return the program's time in nanoseconds, and advance its clock."""
    global _elapsed
    _elapsed += STEP
    return start + _elapsed


def _real(function):
    """`function` if a module that waits is asking, else None."""
    caller = sys._getframe(2).f_back
    return function if caller is not None and caller.f_globals.get("__name__") in WAITING else None


def _sleep(original):
    def sleep(seconds, /):
        global _elapsed
        original(seconds)
        _elapsed += int(seconds * 10**9)

    return sleep


def _at_now(original, before: int = 0, convert=None):
    """`original`, whose optional last argument, behind `before` others, is a time that defaults to now."""

    def answer(*arguments):
        if len(arguments) <= before or arguments[before] is None:
            moment = now() // 10**9
            arguments = (*arguments[:before], moment if convert is None else convert(moment))
        return original(*arguments)

    return answer


def install_clock() -> None:
    """Replace the functions that Python code reads the time with: the module time, and `now`, `utcnow`, `today` of
    datetime.
    """
    localtime = time.localtime
    for name, start in CLOCKS.items():
        replace(time, name, lambda real, s=start: lambda: (_real(real) or (lambda: now(s) / 10**9))())
        replace(time, name + "_ns", lambda real, s=start: lambda: (_real(real) or (lambda: now(s)))())
    realtime = time.CLOCK_REALTIME
    replace(time, "clock_gettime", lambda _: lambda clock: now(START if clock == realtime else 0) / 10**9)
    replace(time, "clock_gettime_ns", lambda _: lambda clock: now(START if clock == realtime else 0))
    replace(time, "sleep", _sleep)
    for name in ("gmtime", "localtime", "ctime"):
        replace(time, name, _at_now)
    replace(time, "asctime", lambda original: _at_now(original, convert=localtime))
    replace(time, "strftime", lambda original: _at_now(original, 1, localtime))
    import datetime

    kinds = ((datetime.datetime, "now"), (datetime.datetime, "utcnow"), (datetime.date, "today"))
    for kind, name in kinds:  # types of C, whose methods no assignment reaches
        gc.get_referents(kind.__dict__)[0][name] = _moment(kind.__dict__[name], name)
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


def _moment(original, name: str) -> classmethod:
    def moment(cls, tz=None):
        if not Replaced.on:
            return original.__get__(None, cls)(*(() if tz is None else (tz,)))
        seconds = now() / 10**9
        return cls.fromtimestamp(seconds) if name == "today" or tz is None else cls.fromtimestamp(seconds, tz)

    moment.__name__ = name
    return classmethod(moment)


def install_chance() -> None:
    """Replace the functions that Python code takes randomness from; numpy, secrets, uuid and tempfile all use one of
    these.
    """
    replace(os, "urandom", lambda _: lambda size, /: _stream.randbytes(size))
    replace(os, "getrandom", lambda _: lambda size, flags=0: _stream.randbytes(size))
    import random
    import uuid

    seed = random.Random.seed

    def seeded(self, a=None, version=2):
        if a is None and Replaced.on:
            a = _stream.getrandbits(256)
        return seed(self, a, version)

    random.Random.seed = seeded
    random.seed = random._inst.seed
    uuid._generate_time_safe = None  # of C; the other way asks the two sources above


def start(code: str) -> None:
    """Begin the life of a program, in its own process."""
    random = sys.modules["random"]
    global _elapsed, _stream
    _elapsed = 0
    number = int.from_bytes(hashlib.sha512(code.encode("utf-8", "surrogatepass")).digest()[:32], "big")
    _stream = random.Random(number)
    random.seed(number)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(number % 2**32)
    if "sympy.core.random" in sys.modules:
        sys.modules["sympy.core.random"].rng.seed(number)
