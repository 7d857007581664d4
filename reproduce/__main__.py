"""`python -m reproduce`: see `reproduce/cli.py`."""

import sys

from reproduce.cli import main

if __name__ == "__main__":  # a forked run imports this module under another name
    sys.exit(main())
