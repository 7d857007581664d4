"""Table 2: deep-search methods on the mini world, at equal budget; score columns are the levels of mini-deepsearch."""

from analysis.reported import Reported
from analysis.table import Spec

SPEC = Spec(
    table="2",
    subject="{sets}",
    columns="level",
    reported=Reported(
        ("GAIA", "HLE", "WebWalkerQA", "xbench-DeepSearch"), "GAIA, HLE, WebWalkerQA and xbench-DeepSearch"
    ),
)
