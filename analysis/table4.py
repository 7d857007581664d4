"""Table 4: what each component of AEPO does; differences are to AEPO with none of them."""

from analysis.table import Spec

SPEC = Spec(
    table="4",
    subject="components of AEPO on mini-deepsearch",
    columns="level",
    rows=(
        "none", "dynamic-budget", "branch-penalty", "gradient-keeping-clip", "entropy-advantage", "aepo",
        "aepo-released",
    ),
    baseline="none",
    names={
        "none": "No component",
        "dynamic-budget": "Dynamic budget alone",
        "branch-penalty": "Branch penalty alone",
        "gradient-keeping-clip": "Gradient-keeping clip alone",
        "entropy-advantage": "Entropy-aware advantage alone",
        "aepo": "All four (AEPO)",
    },
)  # fmt: skip
