"""The unbiased pass@k estimator."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from reproduce.errors import UserError


def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> float | np.ndarray:
    """Estimate the probability that at least one of k samples is correct, from c correct among n samples.

    1 - C(n-c, k) / C(n, k), Chen et al. 2021 (arXiv 2107.03374), equation 1, as a product of k factors (n-c-j)/(n-j),
    which neither overflows nor loses digits. The mean over questions is the benchmark's pass@k.

    Args:
        n: samples drawn; integers of any shape.
        c: samples correct; integers that broadcast with n.
        k: samples that count.

    Returns:
        a float for scalars, otherwise a float64 array of the broadcast shape.

    Raises:
        UserError: not 1 <= k <= n and 0 <= c <= n everywhere.
    """
    n_array, c_array = np.broadcast_arrays(np.asarray(n), np.asarray(c))
    if n_array.dtype.kind not in "iu" or c_array.dtype.kind not in "iub":
        raise UserError("pass@k: n and c must be whole numbers (samples drawn, samples correct)")
    if n_array.size == 0:
        return np.zeros(n_array.shape)
    if k < 1 or k > int(n_array.min()):
        raise UserError(f"pass@{k} needs 1 <= k <= n, but a question has n = {int(n_array.min())} samples; draw more")
    n_float, c_float = n_array.astype(np.float64), c_array.astype(np.float64)
    if (c_float < 0).any() or (c_float > n_float).any():
        raise UserError("pass@k: the number of correct samples c must lie between 0 and n")
    all_wrong = np.ones(n_array.shape, dtype=np.float64)
    for j in range(k):
        all_wrong = all_wrong * (n_float - c_float - j) / (n_float - j)  # exactly 0 from j = n-c on
    result = 1.0 - all_wrong
    return float(result) if result.ndim == 0 else result
