"""The public data of the papers: where the files come from, and their rows, checked.

    reading.py   JSON lines and parquet, with errors that name file, line and key
    rl.py        the RL sets, and the backspace in their prompts
    sft.py       the SFT set of the warm start
    sources.py   which hub repository each file and each model comes from, and what is not known of it
    lock.py      the pinned revisions (`data/hub.lock.json`), and `python -m reproduce pin-hub`
    fetch.py     files and models at their locked revisions
    overlap.py   questions that training and evaluation share

Evaluation sets are in `reproduce.worlds.benchmarks.questions`. No file is part of this repository.
"""
