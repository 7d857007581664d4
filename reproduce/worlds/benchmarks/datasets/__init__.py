"""Loaders of the papers' public training data, with checks.

    rl.py        the RL sets, and the backspace in their prompts
    sft.py       the SFT set of the warm start

`reproduce.worlds.benchmarks.questions` loads evaluation sets. `reproduce.tools.hub` fetches files at locked revisions.
No file is part of this repository.
"""
