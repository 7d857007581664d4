"""`make evaluate`: what a checkpoint scores on question sets, over several samples, with intervals; nothing is trained.

presets.yaml   released checkpoints of ARPO and AEPO, and the names that papers and others have for them (presets.py)
settings.py    the words of the command -> one run for each question set
cost.py        what it costs, before it starts
reported.py    what papers and others report for the checkpoint
scores.py      the numbers of one set, from its run directory
table.py       the table that the command ends with
replay.py      whether a replay gave the bytes of the recorded run
cli.py         the command
"""
