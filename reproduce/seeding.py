"""Named random streams: one root seed, and one independent child stream per purpose.

Streams with different names never share draws, so a new draw in one place (say, branching) cannot shift another (say,
sampling). No module of this package uses a global random generator.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def child_seed(seed: int, *names: str | int) -> int:
    """Derive a 63-bit seed from the root seed and the stream's names, whose order matters."""
    text = "/".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Make a NumPy generator for a named stream of the root seed."""
    return np.random.default_rng(child_seed(seed, *names))


def torch_stream(seed: int, *names: str | int, device: str = "cpu") -> "torch.Generator":
    """Make a torch generator for a named stream of the root seed."""
    import torch  # here: what only draws NumPy's numbers, such as the tables, loads without it

    generator = torch.Generator(device=device)
    generator.manual_seed(child_seed(seed, *names))
    return generator
