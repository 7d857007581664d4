"""`make plan TABLE=2 PROFILE=paper`: what a table costs, before anything of it starts.

GPU- or CPU-hours, sampled and trained tokens, tool calls, search cost and disk, per row and in total. The numbers come
from the table's resolved config and four models, each a file of pure functions:

    shapes.py     how long a trajectory is: measured in runs of the table, on demonstrations, or assumed
    workload.py   what a run samples and trains on, from the settings of method and profile
    flops.py      2 operations per weight and token forward, 6 forward and backward, and the attention
    speed.py      seconds of that work: from measured runs of the same model, or from a GPU's data sheet

`measured.py` reads what was measured (own runs, the committed results, `figures/bench.csv`); `assumptions.py` lists
what was not, each value with its source and replaceable by `--assume name=value`.
"""
