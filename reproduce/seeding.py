"""Named random streams: one root seed, one independent child stream per purpose.

Two streams with different names never share draws, so adding a draw in one place (say, branching) cannot shift
another (say, sampling). No module in this package touches a global random generator.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def child_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed derived from the root `seed` and the stream's `names` (order matters)."""
    text = "/".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the stream `names` of the root `seed`."""
    return np.random.default_rng(child_seed(seed, *names))


def torch_stream(seed: int, *names: str | int, device: str = "cpu") -> "torch.Generator":
    """A torch generator for the stream `names` of the root `seed`."""
    import torch  # here: what only draws NumPy's numbers, such as the tables, loads without it

    generator = torch.Generator(device=device)
    generator.manual_seed(child_seed(seed, *names))
    return generator
