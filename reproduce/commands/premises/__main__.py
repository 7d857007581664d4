"""`python -m reproduce.commands.premises`, with the arithmetic of a run: one thread, nothing inherited."""

import sys

from reproduce.environment import settle

if __name__ == "__main__":
    settle()
    from reproduce.commands.premises.cli import main

    sys.exit(main())
