"""`make plan TABLE=2 PROFILE=paper`: what a table costs, before anything of it starts.

GPU- or CPU-hours, sampled and trained tokens, tool calls, search cost and disk, per row and in total:

    assumptions.py   data sheets of cards, and every number that was not measured, with its source
    measured.py      tokens and seconds of runs (own ones, the committed results) and of `make bench`
    work.py          tokens and operations of a run, from its settings and the length of a trajectory
    speed.py         seconds of that work: fitted to runs of the same model, or from a data sheet
    cost.py          the rows of a table
    report.py, readme.py   the terminal, the CSV file, and the README's block
"""
