"""Table 1: reasoning with Python and with knowledge search, trained on both; score columns are the families."""

from analysis.reported import Reported
from analysis.table import Spec

SPEC = Spec(
    table="1",
    subject="{sets}",
    columns="family",
    reported=Reported(
        tuple("AIME24 AIME25 MATH500 GSM8K MATH WebWalkerQA HotpotQA 2WikiMultihopQA MuSiQue Bamboogle".split()),
        "mathematical and knowledge-intensive benchmarks",
    ),
)
