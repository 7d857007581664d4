"""The fidelity audit: where papers and released code differ, what each method here does, and by how much it matters.

This package is the only part of analysis/ that imports `reproduce.algorithms`: it compares
losses and rollout policies on a real batch (`batch`), not logged results. `data/papers/discrepancies.yaml` holds the
rows (`rows`), `trees`, `losses`, `epo` and `family` the functions that measure them, `table` and `figures` write what
is shown.
"""

from analysis.fidelity import epo, family, losses, trees  # noqa: F401  they register their measures
from analysis.fidelity.batch import Batch, load_batch
from analysis.fidelity.losses import together
from analysis.fidelity.measures import MEASURES, values

__all__ = ["MEASURES", "Batch", "load_batch", "together", "values"]
