"""ARPO with hard advantage attribution (arXiv 2507.19849, section 3.2): `arpo` but for the tokens that leaves share.

A_t = the group z-score of leaf i at tokens that i alone has; the mean of d z-scores at a token of d leaves.

A shared token is part of each of its d leaves and is counted in each. Eq. 6 averages over leaves, each with its own
1/|y_i|, and the two attributions are to differ in the advantage alone: if the leaves are equally long and nothing is
clipped, the d copies add up to d times the mean, which is what they add up to in `arpo`, and the gradients are equal.
They differ by the leaves' lengths, and where a clip acts on copies with A > 0 and A < 0 differently. Counting a shared
token once would also take weight from early turns, which the paper does not speak of.
"""

from dataclasses import replace

from reproduce.algorithms.arpo import ARPO
from reproduce.algorithms.parts import HardAttribution

ARPO_HARD = replace(
    ARPO,
    name="arpo-hard",
    citation="Dong et al. 2025, ARPO, arXiv 2507.19849, section 3.2, hard attribution",
    advantage=HardAttribution(std_epsilon=1e-6),
)
