"""`make plan TABLE=2 PROFILE=paper`: what a table costs, before anything of it starts.

assumptions.py   data sheets, and every number that was not measured, with its source
cost.py          tokens, operations, seconds and bytes of each row
report.py        the command: terminal, CSV file, the README's block
"""
