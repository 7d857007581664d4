"""What tests of the Python tool share: one fixture that opens each backend which works here."""

import pytest

from reproduce.tools.sandbox import BACKENDS
from reproduce.tools.sandbox.probe import reason_against

NAMES = [known.name for known in BACKENDS]


def usable(name: str) -> str:
    """`name`, or a skipped test if that backend does not work on this machine."""
    reason = reason_against(next(known for known in BACKENDS if known.name == name))
    if reason is not None:
        pytest.skip(f"{name} does not work on this machine: {reason}")
    return name
