"""The limits of one call, and its result."""

from dataclasses import dataclass

from reproduce.errors import UserError

# The least values with which `print(1)` still works.
SMALLEST = {"seconds": 0.05, "memory_mb": 16, "processes": 1, "output_chars": 16}


@dataclass(frozen=True)
class Limits:
    """Limits of one call. The defaults are ours; the papers give none for their interpreter.

    seconds: wall-clock time. memory_mb: MiB of address space beyond the idle interpreter, and as much again for all
    files that it writes; beyond that, and beyond 2,000 names, it gets "OSError: [Errno 28] No space left on device".
    processes: the program itself plus the threads that it may start in total. Child processes are always refused, so
    that memory_mb holds for the whole call. output_chars: characters of `output` and of `error`.
    """

    seconds: float = 5
    memory_mb: int = 256
    processes: int = 16
    output_chars: int = 4000

    def __post_init__(self):
        for name, least in SMALLEST.items():
            if not getattr(self, name) >= least:
                raise UserError(f"sandbox limits: {name} is {getattr(self, name)}; set it to {least} or more")


DEFAULTS = Limits()


@dataclass(frozen=True)
class SandboxResult:
    """The result of a call.

    output: what the program printed, or the value of its last expression if it printed nothing. error: None, or one
    line "Type: message" as in the last line of a traceback. ok: whether error is None. A program that was stopped
    (time, crash) has the output "", because how far it came depends on the machine.
    """

    ok: bool
    output: str
    error: str | None
