"""Turn the errors of an action into an exit code and one line on the error stream.

0: done. 1: a run failed. 2: bad input; the line says what to do. 130: interrupted.
"""

import os
import sys
from collections.abc import Callable

from reproduce.errors import FULL, UserError


def exit_code(action: Callable[[], int | None]) -> int:
    """Call `action` and return its exit code, where None counts as 0. An error that the user can fix becomes one line
    and 2.

    All other errors are raised.
    """
    try:
        return action() or 0
    except UserError as error:
        return _refuse(str(error))
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name in ("reproduce", "analysis"):
            raise
        return _refuse(f"the package '{name}' is not installed: run `make .venv`, or pip install -r requirements.txt")
    except BrokenPipeError:  # the reader of our output (head, less) is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _refuse(_mended(error))
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to continue", file=sys.stderr)
        return 130


def _mended(error: OSError) -> str:
    """Advise on an error that names a file; raise any other."""
    if error.errno in FULL:
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}: free space and run the same command again; finished runs are untouched"
    if error.filename is None:
        raise error
    return f"{error.filename}: {error.strerror}"


def _refuse(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2
