"""Compare the memory estimate with the real step on fake tensors and with real peaks on a CPU.

python -m reproduce.commands.memory_check [--only fake,cpu] [--csv FILE]
"""

import sys

from reproduce.commands.memory_check.cli import main
from reproduce.errors import UserError

try:
    sys.exit(main(sys.argv[1:]))
except UserError as error:
    sys.exit(f"error: {error}")
