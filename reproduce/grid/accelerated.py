"""`accelerate launch`, whose processes end with the process that started it, even after kill -9.

    python -m reproduce.grid.accelerated <the words of accelerate launch>

`accelerate launch` runs inside this process, which ends with its parent; the processes that it starts watch this one.
"""

import os
import sys

from reproduce.environment import LAUNCHED
from reproduce.parent import PARENT, die_with_parent


def main() -> None:
    """Run `accelerate launch` with the words of the command line."""
    die_with_parent()
    os.environ |= {PARENT: str(os.getpid()), LAUNCHED: "1"}
    from accelerate.commands.launch import main as launch

    launch()


if __name__ == "__main__":
    sys.exit(main())
