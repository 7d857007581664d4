"""Table 4: what each component of AEPO does; differences are to AEPO with none of them."""

from analysis import style
from analysis.table import Spec

NAMES = {
    "none": "No component",
    "dynamic-budget": "Dynamic budget alone",
    "branch-penalty": "Branch penalty alone",
    "gradient-keeping-clip": "Gradient-keeping clip alone",
    "entropy-advantage": "Entropy-aware advantage alone",
    "aepo": "All four (AEPO)",
    "aepo-released": "AEPO (released)",
}
SPEC = Spec(
    table="4",
    subject="Components of AEPO on {sets}",
    columns="level",
    rows=tuple(NAMES),
    core=tuple(NAMES),
    ranking=(style.WARM_START, *NAMES),
    baseline="none",
    names=NAMES,
)
